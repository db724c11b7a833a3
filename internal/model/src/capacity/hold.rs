//! A hold: a part of a pool that is set aside. And the mark that a closed one may leave.

use std::time::Duration;

use uuid::Uuid;

use crate::{Timestamp, Version};

/// A part of a pool that an entry has set aside: a reservation if a client holds it, and an allotment if a replica does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hold {
    /// Its identity.
    pub id: Uuid,
    /// The entry that wrote it last.
    pub version: Version,
    /// When it was given, by the journal's clock.
    pub created_at: Timestamp,
    /// The pool.
    pub pool: Uuid,
    /// How many units, 1 at least.
    pub amount: u64,
    /// The replica that holds it, by the id of this run of it; `None` for a client's.
    pub owner: Option<Uuid>,
    /// When it lapses. An allotment never does, and nor does a reservation that was confirmed.
    pub expires_at: Option<Timestamp>,
}

impl Hold {
    /// Returns true if it has lapsed by this clock.
    pub fn has_lapsed(&self, by: Timestamp) -> bool {
        self.expires_at.is_some_and(|end| end <= by)
    }

    /// Returns its status at a moment.
    pub fn status(&self, now: Timestamp) -> HoldStatus {
        match self.expires_at {
            None => HoldStatus::Confirmed,
            Some(_) if self.has_lapsed(now) => HoldStatus::Lapsed,
            Some(_) => HoldStatus::Held,
        }
    }
}

/// What is true of a reservation that is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HoldStatus {
    /// It lapses at a time to come.
    Held,
    /// It does not lapse.
    Confirmed,
    /// Its time is over: its units are available, and it is closed soon.
    Lapsed,
}

impl HoldStatus {
    /// Every status.
    pub const ALL: [Self; 3] = [Self::Held, Self::Confirmed, Self::Lapsed];

    /// Returns its name in the API.
    pub fn code(self) -> &'static str {
        match self {
            Self::Held => "held",
            Self::Confirmed => "confirmed",
            Self::Lapsed => "lapsed",
        }
    }
}

/// When a reservation is to lapse.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expires {
    /// Never: it is confirmed.
    Never,
    /// So long after it was decided.
    In(Duration),
}

/// Why a hold was closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CloseReason {
    /// Its holder closed it.
    Closed,
    /// It lapsed.
    Expired,
    /// Its replica has been gone for long, and may have used all of it.
    Forfeited,
    /// A replica has used units of a hold that the journal lost with a part of its history.
    Overrun,
    /// A tombstone that was kept long enough is dropped. Nothing was held.
    Forgotten,
}

impl CloseReason {
    /// Every reason, at the place of its stored number.
    pub const ALL: [Self; 5] =
        [Self::Closed, Self::Expired, Self::Forfeited, Self::Overrun, Self::Forgotten];

    /// Returns its stored number.
    pub(crate) fn number(self) -> u32 {
        self as u32
    }

    /// Returns the reason that is stored as this number.
    pub(crate) fn from_number(number: u32) -> Option<Self> {
        Self::ALL.into_iter().find(|reason| reason.number() == number)
    }

    /// Returns its name in the API.
    pub fn code(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Expired => "expired",
            Self::Forfeited => "forfeited",
            Self::Overrun => "overrun",
            Self::Forgotten => "forgotten",
        }
    }
}

/// The mark that a client's hold has been closed, or released before it was given, or that an overrun was counted. No hold can be given under its id while there is one: a request to give
/// it that was under way for longer than its release cannot reserve units for nobody.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tombstone {
    /// The id of the hold, which may never have been given.
    pub id: Uuid,
    /// The entry that closed it.
    pub version: Version,
    /// Until when it is kept, by the journal's clock.
    pub until: Timestamp,
    /// How many units were used.
    pub used: u64,
    /// Why it was closed.
    pub reason: CloseReason,
}
