//! What is asked of pools and holds. A command carries durations, and the decision makes instants of them.

use std::time::Duration;

use uuid::Uuid;

use super::form::{PoolPatch, ReservationSaid};
use super::hold::Expires;
use super::moves::Counted;
use super::pool::PoolSpec;
use crate::conditions::Conditions;
use crate::entry::{CAPACITY_LEVEL, Reason};
use crate::{Said, Version};

/// One thing asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// Creates a pool under an id that no pool has yet.
    CreatePool {
        /// Its id.
        id: Uuid,
        /// The pool.
        spec: PoolSpec,
    },
    /// Replaces all that clients set of a pool.
    ReplacePool {
        /// Which pool.
        id: Uuid,
        /// The precondition.
        only_if: Conditions,
        /// What is said of its read-only fields.
        said: Said,
        /// What it becomes.
        spec: PoolSpec,
    },
    /// Changes some of a pool's fields.
    PatchPool {
        /// Which pool.
        id: Uuid,
        /// The precondition.
        only_if: Conditions,
        /// What is said of its read-only fields.
        said: Said,
        /// What changes.
        patch: PoolPatch,
    },
    /// Deletes a paused pool of which nothing is held.
    DeletePool {
        /// Which pool.
        id: Uuid,
        /// The precondition.
        only_if: Conditions,
    },
    /// Reserves units for a client.
    Reserve {
        /// Under which id.
        hold: Uuid,
        /// Of which pool.
        pool: Uuid,
        /// How many units.
        amount: u64,
        /// For how long; without end if `None`.
        expires_in: Option<Duration>,
    },
    /// Changes a reservation: shrinks, grows, confirms or renews it.
    Change {
        /// Which reservation.
        hold: Uuid,
        /// The precondition.
        only_if: Conditions,
        /// What is said of its read-only fields.
        said: ReservationSaid,
        /// How many units it has from now on; as many as before if `None`.
        amount: Option<u64>,
        /// When it lapses from now on; as before if `None`.
        expires: Option<Expires>,
    },
    /// Closes a client's reservation, which releases what was not used. An unknown one that is released without any use
    /// leaves a tombstone.
    Close {
        /// Which reservation.
        hold: Uuid,
        /// The precondition.
        only_if: Conditions,
        /// How many of its units were used.
        used: u64,
    },
    /// Closes a reservation because it has lapsed, or drops a tombstone that was kept long enough.
    Lapse {
        /// Which.
        id: Uuid,
        /// Only if it is still at this version.
        version: Version,
    },
    /// Closes a replica's hold because the replica has been gone for long.
    Forfeit {
        /// Which hold.
        hold: Uuid,
    },
    /// Reports what a replica has done, and takes what it needs.
    Report(Report),
}

impl Command {
    /// Returns the format level that its entry needs, as far as the command itself says that.
    pub(crate) fn level(&self) -> u8 {
        match self {
            Self::CreatePool { spec, .. } | Self::ReplacePool { spec, .. } => {
                spec.targeting.level().max(CAPACITY_LEVEL)
            }
            _ => CAPACITY_LEVEL,
        }
    }

    /// Returns the reason that the resulting entry records.
    pub fn reason(&self) -> Reason {
        match self {
            Self::Lapse { .. } => Reason::Expired,
            Self::Forfeit { .. } | Self::Report(_) => Reason::Replica,
            _ => Reason::Client,
        }
    }

    /// Its preconditions, if a client could have given some.
    pub fn only_if(&self) -> Option<&Conditions> {
        match self {
            Self::ReplacePool { only_if, .. }
            | Self::PatchPool { only_if, .. }
            | Self::DeletePool { only_if, .. }
            | Self::Change { only_if, .. }
            | Self::Close { only_if, .. } => Some(only_if),
            _ => None,
        }
    }

    /// Bytes that it holds, about.
    pub(crate) fn bytes(&self) -> usize {
        size_of::<Self>()
            + match self {
                Self::CreatePool { spec, .. } | Self::ReplacePool { spec, .. } => spec.name.len(),
                Self::PatchPool { patch, .. } => patch.bytes(),
                Self::Report(report) => report.bytes(),
                _ => 0,
            }
    }

    /// Adds the ids that it names: a transaction reads what has them.
    pub fn names(&self, named: &mut Named) {
        match self {
            Self::CreatePool { id, .. }
            | Self::ReplacePool { id, .. }
            | Self::PatchPool { id, .. }
            | Self::DeletePool { id, .. } => named.pools.push(*id),
            Self::Reserve { hold, pool, .. } => {
                named.holds.push(*hold);
                named.pools.push(*pool);
                named.takes += 1;
            }
            Self::Change { hold, .. } => {
                named.holds.push(*hold);
                named.takes += 1;
                named.parents += 1;
            }
            Self::Close { hold, .. } | Self::Forfeit { hold } => named.holds.push(*hold),
            Self::Lapse { id, .. } => named.holds.push(*id),
            Self::Report(report) => {
                named.holds.extend(report.closes.iter().map(|item| item.hold));
                named.holds.extend(report.overruns.iter().map(|item| item.hold));
                named.holds.extend(report.gives.iter().map(|item| item.hold));
                named.pools.extend(report.overruns.iter().map(|item| item.pool));
                named.pools.extend(report.gives.iter().map(|item| item.pool));
                named.ads.extend(report.counts.iter().map(|item| item.ad));
                named.takes += report.gives.len();
            }
        }
    }
}

/// What commands name. Of a hold its pool is read too.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Named {
    /// Pools.
    pub pools: Vec<Uuid>,
    /// Holds, or tombstones.
    pub holds: Vec<Uuid>,
    /// Ads of which something was counted.
    pub ads: Vec<Uuid>,
    /// How many holds are to be given or to grow: each may need lapsed reservations to make room.
    pub takes: usize,
    /// How many of these are to grow: their pools are not named.
    pub parents: usize,
}

/// Why a command is refused, apart from what is refused of ads too.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Refusal {
    /// The pool is paused: nothing is given from it.
    Paused,
    /// The pool's window is over.
    Ended,
    /// The pool's window has not begun: replicas get nothing from it.
    Scheduled,
    /// The pool is not paused: only a paused one is deleted.
    NotPaused,
    /// Clients or replicas hold units of the pool.
    Held,
    /// Ads name the pool.
    Named,
    /// The reservation was closed.
    Closed,
    /// The reservation has lapsed.
    Lapsed,
    /// It has not lapsed yet.
    NotLapsed,
    /// Another one holds it: it is a replica's, and not a client's, or the other way round.
    Foreign,
    /// The replica that holds it is still registered, for all that is known.
    Registered,
    /// A registered replica is of a build that does not know pools. Nothing is decided, and a repetition may be accepted.
    NotYet,
}

impl Refusal {
    /// Every refusal, at the place of its stored number.
    pub const ALL: [Self; 12] = [
        Self::Paused,
        Self::Ended,
        Self::Scheduled,
        Self::NotPaused,
        Self::Held,
        Self::Named,
        Self::Closed,
        Self::Lapsed,
        Self::NotLapsed,
        Self::Foreign,
        Self::Registered,
        Self::NotYet,
    ];

    /// Returns its stored number.
    pub(crate) fn number(self) -> u32 {
        self as u32
    }

    /// Returns the refusal that is stored as this number.
    pub(crate) fn from_number(number: u32) -> Option<Self> {
        Self::ALL.into_iter().find(|refusal| refusal.number() == number)
    }
}

/// A replica's report. Each item is decided by itself: one that does not hold is left out.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Report {
    /// The replica, by the id of this run of it.
    pub owner: Uuid,
    /// Its holds that it closes.
    pub closes: Vec<Closing>,
    /// What it has used of holds that the journal has lost.
    pub overruns: Vec<Overrun>,
    /// The holds that it asks for.
    pub gives: Vec<Giving>,
    /// What it has counted.
    pub counts: Vec<Counted>,
}

impl Report {
    /// Returns how many items it has; with more than [`REPORT_ITEMS_MAX`](crate::limits::REPORT_ITEMS_MAX) it is refused.
    pub fn items(&self) -> usize {
        self.closes.len() + self.overruns.len() + self.gives.len() + self.counts.len()
    }

    fn bytes(&self) -> usize {
        size_of_val(&self.closes[..])
            + size_of_val(&self.overruns[..])
            + size_of_val(&self.gives[..])
            + size_of_val(&self.counts[..])
    }
}

/// A hold that a replica closes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Closing {
    /// Which.
    pub hold: Uuid,
    /// How many of its units were used.
    pub used: u64,
}

/// Units that a replica has used of a hold that is gone, because the journal has lost the entry that gave it. They are used
/// units all the same, whatever the capacity says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Overrun {
    /// The lost hold.
    pub hold: Uuid,
    /// Its pool.
    pub pool: Uuid,
    /// How many units were used.
    pub used: u64,
}

/// A hold that a replica asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Giving {
    /// Under which id.
    pub hold: Uuid,
    /// Of which pool.
    pub pool: Uuid,
    /// The fewest units that are worth having.
    pub least: u64,
    /// The most units.
    pub most: u64,
}
