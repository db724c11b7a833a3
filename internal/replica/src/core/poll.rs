//! The core's state of the head poll, and of work for a journal that it no longer follows.

use placard_model::Version;
use placard_model::entry::Position;

use super::io::{Moment, START};

/// The head poll: when the next is due, and where the engine stood when the one under way was sent.
#[derive(Debug)]
pub(super) struct Poll {
    pub(super) due: Moment,
    pub(super) under_way: bool,
    /// The number of polls that were sent.
    pub(super) number: u64,
    pub(super) sent_at: Moment,
    /// `None` if the engine has been given up since.
    pub(super) sent: Option<Position>,
    /// Whether the replica had entries when the poll was sent, whatever has become of them.
    pub(super) had_entries: bool,
    /// The applied version at the last poll that found the head ahead.
    pub(super) behind_at: Option<Version>,
    /// Whether the last one that has come back was sent with the state that there is now, and fits it.
    pub(super) compared: bool,
}

/// The work that was under way when the replica went over to another journal, and has not come back yet. At most one of
/// each kind is under way, so the next to come back is that one.
#[derive(Debug, Default)]
pub(super) struct StaleWork {
    /// Of the stream.
    pub(super) read: bool,
    pub(super) inspection: bool,
    pub(super) heal: bool,
    pub(super) commit: bool,
}

impl Poll {
    pub(super) fn new() -> Self {
        Self {
            due: START,
            under_way: false,
            number: 0,
            sent_at: START,
            sent: None,
            had_entries: false,
            behind_at: None,
            compared: false,
        }
    }
}
