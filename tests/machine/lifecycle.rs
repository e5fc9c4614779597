//! The lifecycle of a stop.

mod alphabet;
mod bare;
mod clauses;
mod compare;
mod faults;
mod liveness;
mod recording;
mod reference;
mod run;
mod safety;
mod search;
mod seeds;
