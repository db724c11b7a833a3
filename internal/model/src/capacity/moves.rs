//! What an entry does to holds, and the balances that it leaves.

use uuid::Uuid;

use super::hold::{CloseReason, Hold};
use super::pool::Balance;
use crate::Timestamp;

/// All that one entry does to holds. What it gives and what it closes are of different holds.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Moves {
    /// The new state of each hold that was given, confirmed, shrunk, grown or renewed.
    pub given: Vec<Hold>,
    /// Holds and tombstones that are gone, and ids that were released.
    pub closed: Vec<Closed>,
    /// What replicas have counted of ads.
    pub counted: Vec<Counted>,
    /// The balance of each pool that it touches, by the pool's id.
    pub after: Vec<After>,
}

impl Moves {
    /// Returns true if nothing moves.
    pub fn is_empty(&self) -> bool {
        self.given.is_empty() && self.closed.is_empty() && self.counted.is_empty()
    }
}

/// A hold or a tombstone that is gone, or an id that was released.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Closed {
    /// The hold.
    pub hold: Uuid,
    /// How many of its units were used.
    pub used: u64,
    /// How many of its units may have been used by a replica that was lost.
    pub lost: u64,
    /// Why.
    pub reason: CloseReason,
    /// Until when a tombstone is kept under its id; `None` if none is left.
    pub until: Option<Timestamp>,
}

/// What one replica has counted of an ad since its last report.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Counted {
    /// The ad.
    pub ad: Uuid,
    /// How often it was decided to show it.
    pub decisions: u64,
    /// How often it was seen.
    pub impressions: u64,
    /// How often it was clicked.
    pub clicks: u64,
}

/// A pool's balance after an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct After {
    /// The pool.
    pub pool: Uuid,
    /// Its balance.
    pub balance: Balance,
}
