//! What tests share: oracles that are simpler than what they check, contract suites, and the generator of
//! random input. A dev-dependency only; no product code may depend on it.

pub mod ledger;
pub mod process;
pub mod scan;
pub mod seed;
pub mod wait;
