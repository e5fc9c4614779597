//! The documents of the project: the specification and the table of faults.
//!
//! They are here so that the documentation can link to a clause where it cites
//! one.

#[doc = include_str!("../docs/spec.md")]
pub mod spec {}

#[doc = include_str!("../docs/faults.md")]
pub mod faults {}
