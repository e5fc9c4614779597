//! The sweep of one listener.

mod alphabet;
mod clauses;
mod compare;
mod faults;
mod reference;
mod run;
mod search;
mod seeds;
