//! What tests share: oracles that are simpler than what they check, models of the ports, and the contract
//! suites that every adapter and every model passes. A dev-dependency only; no product code may depend on it.

pub mod contract;
pub mod models;
pub mod proxy;
pub mod requests;
pub mod scan;
pub mod servers;
