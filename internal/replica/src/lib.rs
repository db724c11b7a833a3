//! The replication core: what a replica does with requests, commits, records and failures.
//!
//! - [`core`]: the pure state machine, which decides what to do next.
//! - `decision`: whether commands are accepted, those on pools and holds in [`capacity`]. It is pure, and runs inside the
//!   journal's transaction.
//! - `runtime`: the tokio tasks that carry the core's outputs out, and the handle for the rest of the process.
//! - [`mod@counters`]: how what is counted is declared.
//! - [`ports`]: what a replica needs from the outside.

pub mod core;
pub mod counters;
mod decision;
pub mod expiry;
pub mod ports;
mod reasons;
mod runtime;
pub mod spans;

pub use core::{Reply, histogram, restores};
pub use decision::{Batch, Current, Emptied, LogRow, Plan, capacity};
pub use expiry::Expiry;
pub use reasons::reasons;
pub use runtime::{
    Clock, Config, FeedError, Handle, LogFeed, Lost, Outage, Overloaded, ReadPermit, ReadPermits,
    Reading, Receipts, Replica, State, Stopped, Uptime, system_now,
};
