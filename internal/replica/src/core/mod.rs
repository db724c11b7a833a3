//! The replica as a state machine: inputs in, outputs out. It knows no task, socket, clock or random number. The
//! runtime carries its outputs out and brings their results back as inputs, and a simulation does the same with faults.
//! At most one output of each kind is under way, except `TrimStream`, whose result nothing waits for.
//!
//! `io` is what goes in and out, `state` what the core knows, and `step` what it does with an input: `following` is how
//! entries get in, `polling` how it follows the journal and the other replicas, `restoring` how it gets a state at all.
//! Each of the other files is a part that knows nothing of the whole.

mod checkpoint;
mod cluster;
mod committer;
mod counts;
mod following;
pub mod histogram;
mod io;
mod lease;
mod poll;
mod polling;
mod read_gate;
mod readiness;
mod relay;
pub mod restores;
mod restoring;
mod state;
mod step;
#[cfg(test)]
mod test_support;
mod waiters;

pub use cluster::{Awaited, Cluster};
pub use counts::Counts;
pub use io::{Input, Moment, Now, Output, Phase, Purpose, Reply, Ticket};
pub use read_gate::{Facts, Lag, Terms, Verdict, Why};
pub use readiness::{Condition, Readiness};
pub use state::{Core, Settings};
