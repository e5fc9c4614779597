//! The JSON Schemas of all documents.

use clap::ValueEnum;
use schemars::schema_for;

use super::check::CheckDocument;
use super::compare::CompareDocument;
use super::during::DuringDocument;
use super::json;
use crate::setup::Failure;

/// A document that has a schema.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Document {
    /// Of `check --json`
    Check,
    /// Of `compare --json`
    Compare,
    /// Of `during --json`
    During,
}

/// The schema of a document, as JSON.
pub(crate) fn schema(document: Document) -> Result<String, Failure> {
    json(&match document {
        Document::Check => schema_for!(CheckDocument),
        Document::Compare => schema_for!(CompareDocument),
        Document::During => schema_for!(DuringDocument),
    })
}
