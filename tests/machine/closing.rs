//! The lingering close of one connection.

mod alphabet;
mod clauses;
mod compare;
mod faults;
mod reference;
mod run;
mod search;
mod seeds;
