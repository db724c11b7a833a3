//! The decisions on pools and holds: each rule accepted and refused, and what is true after any sequence of commands,
//! whatever the clocks say. Everything is in one thread; a seed decides the sequences.

#![allow(clippy::print_stderr, reason = "a test that fails says how to repeat it")]

mod invariants;
mod ledger;
mod random;
mod rules_of_clocks;
mod rules_of_holds;
mod rules_of_pools;
mod rules_of_reports;
