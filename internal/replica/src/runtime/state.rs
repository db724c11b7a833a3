//! The status of a replica, as its shell shows it after each step.

use placard_model::Version;
use placard_model::entry::Position;

use crate::core::{Core, Counts, Phase};

/// The status of a replica.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct State {
    /// The phase that it is in.
    pub phase: Phase,
    /// Whether it is about to stop.
    pub draining: bool,
    /// Whether the journal was found to be empty although a replica has what it held.
    pub emptied: bool,
    /// The position that readers see.
    pub published: Position,
    /// The newest version known to be in the journal.
    pub head: Version,
    /// Requests that wait for a transaction.
    pub queued: usize,
    /// Bytes that they hold, about.
    pub queued_bytes: usize,
    /// Entries that are durable and that the stream is not known to have.
    pub unappended: usize,
    /// Requests that are durable and wait to be visible.
    pub unpublished: usize,
    /// The number of head polls that were sent.
    pub polls: u64,
    /// The number of states that were given up.
    pub history: u64,
    /// By how many microseconds this replica's clock was ahead of the journal's.
    pub clock_ahead: i64,
    /// How often each event has happened.
    pub counts: Counts,
}

impl State {
    pub(super) fn of(core: &Core, draining: bool) -> Self {
        Self {
            phase: core.phase(),
            draining,
            emptied: core.is_emptied(),
            published: core.reader().published(),
            head: core.head(),
            queued: core.queued(),
            queued_bytes: core.queued_bytes(),
            unappended: core.unappended(),
            unpublished: core.unpublished(),
            polls: core.polls(),
            history: core.history(),
            clock_ahead: core.clock_ahead(),
            counts: core.counts(),
        }
    }
}
