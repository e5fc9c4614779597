//! The machine, by its public interface alone: the clauses of the design by
//! their numbers, a reference model beside it, and a checker over every step.

mod alphabet;
mod checker;
mod clauses;
mod compare;
mod faults;
mod liveness;
mod reference;
mod replay;
mod run;
mod scenario;
mod search;
mod seeds;
mod strategies;
mod table;
