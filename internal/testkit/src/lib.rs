//! What tests share: oracles that are simpler than what they check, models of the ports, and the contract
//! suites that every adapter and every model passes. A dev-dependency only; no product code may depend on it.

#![allow(clippy::disallowed_methods, reason = "tests use clocks, chance and tasks as they like")]

pub use placard_cluster::{cluster, control, directory, replica, servers};

pub mod authority;
pub mod capacity;
pub mod contract;
pub mod ledger;
pub mod log;
pub mod models;
pub mod port;
pub mod process;
pub mod proxy;
pub mod requests;
pub mod scan;
pub mod seed;
pub mod sqlite;
pub mod wait;
pub mod wire;
