//! Results in the forms that others read: JSON, JUnit, a page, a line of a log.

pub(crate) mod check;
pub(crate) mod compare;
pub(crate) mod during;
pub(crate) mod junit;
pub(crate) mod page;
pub(crate) mod schema;
pub(crate) mod summary;

use serde::Serialize;

use crate::setup::Failure;

/// The version of all documents. A field may be added without a new version; one
/// that goes, or changes its meaning, gives the next version.
pub(crate) const VERSION: u32 = 1;

/// A document as text.
pub(crate) fn json(document: &impl Serialize) -> Result<String, Failure> {
    let text = serde_json::to_string_pretty(document);
    let text = text.map_err(|error| Failure::Other(format!("cannot write JSON: {error}")))?;
    Ok(text + "\n")
}
