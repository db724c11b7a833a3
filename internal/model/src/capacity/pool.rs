//! A pool: a capacity that can be used up, its window, its pacing, and how much of it is out.

use uuid::Uuid;

use crate::limits::{ALLOTMENT_MAX, ALLOTMENT_MIN, ALLOTMENTS_OF_A_FLIGHT};
use crate::planted::Planted;
use crate::{Targeting, Timestamp, Version};

/// How a pool's capacity is to be used over its window.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash)]
pub enum Pacing {
    /// As soon as there is demand.
    #[default]
    Asap,
    /// Evenly, from its start to its end.
    Even,
}

impl Pacing {
    /// Every value.
    pub const ALL: [Self; 2] = [Self::Asap, Self::Even];

    /// Returns its name in the API.
    pub fn code(self) -> &'static str {
        match self {
            Self::Asap => "asap",
            Self::Even => "even",
        }
    }

    /// Returns the pacing with this name in the API.
    pub fn from_code(code: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|pacing| pacing.code() == code)
    }
}

/// The part of a pool that clients set; all of it can be changed later.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PoolSpec {
    /// Its name, 1 to 100 characters.
    pub name: String,
    /// How many units there are, up to [`CAPACITY_MAX`](crate::limits::CAPACITY_MAX).
    pub capacity: u64,
    /// From when replicas may use it (inclusive). Reservations may be made before.
    pub start_at: Option<Timestamp>,
    /// Until when anything is given from it (exclusive); after `start_at`, if it has both.
    pub end_at: Option<Timestamp>,
    /// How it is to be used over its window. Only a pool with both ends can be paced evenly.
    pub pacing: Pacing,
    /// Whether nothing is given from it for now.
    pub paused: bool,
    /// The visitors that it is for.
    pub targeting: Targeting,
}

impl PoolSpec {
    /// Returns how many units can be given, if this many are out. It is 0 while more is out than a lowered capacity.
    pub fn available(&self, balance: Balance) -> u64 {
        if Planted::LoweredCapacity.is_there() {
            return self.capacity.wrapping_sub(balance.out());
        }
        self.capacity.saturating_sub(balance.out())
    }

    /// Returns how many more units the line leaves to replicas at a moment, whether or not they are available.
    pub fn below_line(&self, balance: Balance, now: Timestamp) -> u64 {
        self.line(now).saturating_sub(balance.gone_to_replicas())
    }

    /// Returns how many units replicas may hold or have used at a moment, so that an even pool is used evenly: a straight line over its window,
    /// ahead by the units of one allotment, because those are given before they are used. It is 0 before the window. For
    /// a pool that is not paced it is the capacity.
    pub fn line(&self, now: Timestamp) -> u64 {
        if self.start_at.is_some_and(|start| now < start) {
            return 0;
        }
        let (Pacing::Even, Some(start), Some(end)) = (self.pacing, self.start_at, self.end_at)
        else {
            return self.capacity;
        };
        let flight = micros_from(start, end);
        let ahead = (flight / u128::from(ALLOTMENTS_OF_A_FLIGHT))
            .clamp(ALLOTMENT_MIN.as_micros(), ALLOTMENT_MAX.as_micros());
        let due = (micros_from(start, now) + ahead).min(flight);
        // 10^15 units times the microseconds of 10,000 years have less than 128 bits.
        let units = (u128::from(self.capacity) * due).checked_div(flight);
        units.and_then(|units| u64::try_from(units).ok()).unwrap_or(self.capacity)
    }
}

fn micros_from(start: Timestamp, end: Timestamp) -> u128 {
    u128::try_from(end.micros() - start.micros()).unwrap_or(0)
}

/// How much of a pool is out, by what has become of it. Only holds and overruns change it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash)]
pub struct Balance {
    /// Units that clients hold.
    pub reserved: u64,
    /// Units that replicas hold.
    pub allotted: u64,
    /// Units that were used.
    pub used: u64,
    /// Units that a replica held when it was lost: it may have used them. They are never billed.
    pub lost: u64,
}

impl Balance {
    /// Returns how many units are not available.
    pub fn out(&self) -> u64 {
        self.reserved.saturating_add(self.gone_to_replicas())
    }

    /// Returns how many units replicas hold, have used or have lost: what the line of an even pool bounds.
    fn gone_to_replicas(&self) -> u64 {
        self.allotted.saturating_add(self.used).saturating_add(self.lost)
    }
}

/// A pool as the journal holds it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pool {
    /// Its identity, for ever.
    pub id: Uuid,
    /// The entry in which a client wrote it last. Holds change its balance and not its version.
    pub version: Version,
    /// When it was created, by the journal's clock.
    pub created_at: Timestamp,
    /// What clients have set.
    pub spec: PoolSpec,
    /// How much of it is out.
    pub balance: Balance,
}

impl Pool {
    /// Returns how many units can be given. A lapsed reservation that is not closed yet still takes its units.
    pub fn available(&self) -> u64 {
        self.spec.available(self.balance)
    }

    /// Returns its status at a moment, if `lapsed` of the reserved units have lapsed by then and are not yet returned.
    pub fn status(&self, now: Timestamp, lapsed: u64) -> PoolStatus {
        let spec = &self.spec;
        let reserved = self.balance.reserved.saturating_sub(lapsed);
        if spec.end_at.is_some_and(|end| end <= now) {
            PoolStatus::Ended
        } else if spec.paused {
            PoolStatus::Paused
        } else if spec.start_at.is_some_and(|start| now < start) {
            PoolStatus::Scheduled
        } else if spec.capacity <= (Balance { reserved, ..self.balance }).out() {
            PoolStatus::Exhausted
        } else {
            PoolStatus::Active
        }
    }
}

/// The first of these that is true of a pool.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PoolStatus {
    /// Its window is over.
    Ended,
    /// It is paused.
    Paused,
    /// Its window has not begun.
    Scheduled,
    /// Nothing of it is available.
    Exhausted,
    /// None of these.
    Active,
}

impl PoolStatus {
    /// Every status.
    pub const ALL: [Self; 5] =
        [Self::Scheduled, Self::Active, Self::Paused, Self::Exhausted, Self::Ended];

    /// Returns the status with this name in the API.
    pub fn from_code(code: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|status| status.code() == code)
    }

    /// Returns its name in the API.
    pub fn code(self) -> &'static str {
        match self {
            Self::Ended => "ended",
            Self::Paused => "paused",
            Self::Scheduled => "scheduled",
            Self::Exhausted => "exhausted",
            Self::Active => "active",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::CAPACITY_MAX;

    const SECOND: i64 = 1_000_000;

    fn at(second: i64) -> Timestamp {
        Timestamp::EPOCH.saturating_add_micros(second * SECOND)
    }

    fn even(capacity: u64, start: i64, end: i64) -> PoolSpec {
        PoolSpec {
            name: "Even".to_owned(),
            capacity,
            start_at: Some(at(start)),
            end_at: Some(at(end)),
            pacing: Pacing::Even,
            paused: false,
            targeting: Targeting::default(),
        }
    }

    fn pool(spec: PoolSpec, balance: Balance) -> Pool {
        Pool { id: Uuid::nil(), version: 1, created_at: at(0), spec, balance }
    }

    #[test]
    fn line_is_straight_and_one_allotment_ahead() {
        // A day: an allotment is two minutes of it, cut to one.
        let day = even(86_400, 0, 86_400);
        assert_eq!([-1, 0, 1, 43_200].map(|now| day.line(at(now))), [0, 60, 61, 43_260]);
        assert_eq!(
            [86_339, 86_340, 86_400, 90_000].map(|now| day.line(at(now))),
            [86_399, 86_400, 86_400, 86_400]
        );
        // Two hours: a 720th.
        assert_eq!(even(7_200, 100, 7_300).line(at(100)), 10);
        // Ten seconds: two of them at least. One second: all of it.
        assert_eq!(even(1_000, 0, 10).line(at(0)), 200);
        assert_eq!(even(1_000, 0, 1).line(at(0)), 1_000);
    }

    #[test]
    fn line_of_largest_pool_does_not_overflow() {
        let mut spec = even(CAPACITY_MAX, 0, 1);
        (spec.start_at, spec.end_at) = (Some(Timestamp::MIN), Some(Timestamp::MAX));
        assert!(spec.line(Timestamp::EPOCH) < CAPACITY_MAX);
        assert_eq!(spec.line(Timestamp::MAX), CAPACITY_MAX);
        assert_eq!(PoolSpec { capacity: u64::MAX, ..spec }.line(Timestamp::MAX), u64::MAX);
    }

    #[test]
    fn line_of_unpaced_pool_is_its_capacity() {
        let asap = PoolSpec { pacing: Pacing::Asap, ..even(50, 100, 200) };
        assert_eq!([99, 100, 500].map(|now| asap.line(at(now))), [0, 50, 50]);
        let open = PoolSpec { start_at: None, end_at: None, ..asap };
        assert_eq!(open.line(Timestamp::MIN), 50);
    }

    #[test]
    fn available_is_capacity_less_all_that_is_out() {
        let balance = Balance { reserved: 1, allotted: 2, used: 3, lost: 4 };
        assert_eq!(balance.out(), 10);
        for (capacity, available) in [(12, 2), (10, 0), (9, 0), (0, 0)] {
            assert_eq!(pool(even(capacity, 0, 10), balance).available(), available);
        }
        let most = Balance { reserved: u64::MAX, allotted: 1, ..balance };
        assert_eq!(pool(even(CAPACITY_MAX, 0, 10), most).available(), 0);
    }

    /// What clients have reserved counts against the capacity, and not against the line.
    #[test]
    fn line_bounds_what_replicas_have_had() {
        let balance = |reserved, allotted| Balance { reserved, allotted, used: 5, lost: 5 };
        let day = even(86_400, 0, 86_400);
        let below_line = |balance, now| day.below_line(balance, at(now));
        assert_eq!(below_line(balance(80_000, 20), 0), 30);
        assert_eq!(below_line(balance(0, 60), 0), 0);
        assert_eq!(below_line(balance(0, 0), -1), 0);
        assert_eq!(below_line(balance(0, 0), 86_400), 86_390);
    }

    #[test]
    fn status_is_the_first_that_is_true() {
        let mut subject = pool(even(10, 100, 200), Balance::default());
        let status = |pool: &Pool, now| pool.status(at(now), 0);
        assert_eq!(status(&subject, 99), PoolStatus::Scheduled);
        assert_eq!(status(&subject, 100), PoolStatus::Active);
        assert_eq!(status(&subject, 200), PoolStatus::Ended);
        subject.balance.reserved = 10;
        assert_eq!(status(&subject, 100), PoolStatus::Exhausted);
        assert_eq!(subject.status(at(100), 1), PoolStatus::Active);
        subject.spec.paused = true;
        assert_eq!(status(&subject, 99), PoolStatus::Paused);
        assert_eq!(status(&subject, 200), PoolStatus::Ended);
    }
}
