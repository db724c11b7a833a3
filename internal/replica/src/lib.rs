//! The replication core: what a replica does with requests, commits, records and failures, as a pure state
//! machine ([`core`]), the tokio tasks that carry its decisions out (`shell`), and the ports that it needs
//! from the outside ([`ports`]).

mod batch;
mod clock;
mod committer;
pub mod core;
mod decide;
pub mod expiry;
mod freshness;
mod healing;
pub mod histogram;
mod lease;
mod outage;
pub mod ports;
mod reasons;
mod relay;
pub mod restores;
mod shell;
pub mod spans;
mod traced;
mod uptime;
mod waiting;

pub use batch::{Batch, Current, LogRow, Plan};
pub use clock::{Clock, Reading};
pub use expiry::Expiry;
pub use freshness::{Freshness, Leave};
pub use outage::Outage;
pub use reasons::reasons;
pub use shell::{Config, Handle, Lost, Overloaded, Receipts, Replica, State, Stopped};
pub use uptime::Uptime;

/// What a client's write is answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    /// Decided, durable if anything was written, and visible to readers of this replica.
    Applied(placard_model::command::Answer),
    /// Durable, but not yet visible here.
    Committed(placard_model::command::Answer),
    /// Nothing was written: the journal took no transaction in time, or the replica is about to stop.
    Unavailable,
    /// Nothing was written: the queue is full.
    Overloaded,
    /// A transaction was tried and its outcome is not known yet.
    Unknown,
}
