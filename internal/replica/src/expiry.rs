//! The status of expiry and housekeeping, the one command that an operator can give them, and the journal's clock as expiry
//! believes it. It is in this crate because the crates that do the work and those that use it do not know each other.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use placard_model::Timestamp;

use crate::capacity::Clocks;
use crate::counters::counters;
use crate::runtime::Reading;

/// A shared account of expiry on this replica; cloning it is cheap.
#[derive(Debug, Clone, Default)]
pub struct Expiry(Arc<Mutex<Known>>);

#[derive(Debug, Default)]
struct Known {
    account: Account,
    /// The last reading of the journal's clock that the brake has accepted.
    accepted: Option<Reading>,
}

/// What has been done so far, and what prevents more.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Account {
    /// How often something was done.
    pub counts: Counts,
    /// Set while nothing is deleted because the journal's clock has jumped; only [`Expiry::release`] ends that.
    pub braked: Option<Brake>,
    /// Whether nothing is deleted because this machine's clock and the journal's differ.
    pub clock_off: bool,
    /// Seconds to come for which a task is in the queue, as far as it knows.
    pub seconds_pending: u64,
    /// The chores of housekeeping, by [`Chore`].
    pub chores: [Chored; Chore::ALL.len()],
}

counters! {
    /// What this replica has done for expiry, since the start.
    #[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
    pub struct Counts {
        /// Ads deleted by this replica because they had ended.
        deleted = "placard_expired_total";
        /// Reservations that this replica has closed because they had lapsed, not counting those whose units were given to
        /// another client at once.
        lapsed = "placard_reservations_lapsed_total";
        /// Tombstones of closed reservations that this replica has dropped after their day.
        forgotten = "placard_tombstones_dropped_total";
        /// Searches for what has ended, by a task or by the sweep.
        looks = "placard_expiry_looks_total";
        /// Searches that failed; the next sweep repeats them.
        failures = "placard_expiry_failures_total";
        /// Tasks put into the queue, one for each second in which ads end or reservations lapse.
        tasks_pushed = "placard_expiry_tasks_pushed_total";
        /// Tasks done by this replica.
        tasks_done = "placard_expiry_tasks_done_total";
        /// Times that a task of the scheduler panicked and was started again; should always be 0.
        restarts = "placard_scheduler_restarts_total";
    }
}

/// Why and since when the brake is on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Brake {
    /// By how many microseconds the journal's clock moved more, or less, than time did.
    pub jump: i64,
    /// The journal's clock when it was noticed.
    pub since: Timestamp,
}

/// The kinds of data that are deleted on a timer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Chore {
    /// Old rows of the log.
    Log,
    /// Old answers of idempotency keys.
    Answers,
    /// Tasks that are done.
    Tasks,
}

impl Chore {
    /// All chores.
    pub const ALL: [Self; 3] = [Self::Log, Self::Answers, Self::Tasks];

    /// Returns the chore in one word.
    pub fn code(self) -> &'static str {
        match self {
            Self::Log => "log",
            Self::Answers => "answers",
            Self::Tasks => "tasks",
        }
    }
}

/// The runs of a chore, and their results.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Chored {
    /// Times that it was done, by this replica or, at that moment, by another.
    pub runs: u64,
    /// Times that it failed.
    pub failures: u64,
    /// Rows that this replica has deleted.
    pub rows: u64,
}

impl Expiry {
    /// Returns the account as it is now.
    pub fn account(&self) -> Account {
        self.lock().account.clone()
    }

    /// Changes the account.
    pub fn note(&self, change: impl FnOnce(&mut Account)) {
        change(&mut self.lock().account);
    }

    /// Takes a reading of the journal's clock that can be trusted, in place of the last one.
    pub fn accept(&self, reading: Reading) {
        self.lock().accepted = Some(reading);
    }

    /// Returns the journal's time as this replica believes it: the last reading that was accepted, and the time since it was
    /// answered. It is a lower bound, since the clock was read before that. `None` if no reading was accepted yet.
    pub fn own_clock(&self) -> Option<Timestamp> {
        let reading = self.lock().accepted?;
        let since = i64::try_from(reading.answered.elapsed().as_micros()).unwrap_or(i64::MAX);
        Some(reading.journal.saturating_add_micros(since))
    }

    /// Returns by which clock reads judge what has lapsed, if it is `now` by the readers' clock: the same as the writes of this
    /// replica, so that what is shown as available can be reserved. A replica that believes no clock yet lets nothing lapse.
    pub fn lower_clock(&self, now: Timestamp) -> Timestamp {
        Clocks { journal: now, own: self.own_clock() }.lower()
    }

    /// Releases the brake: an operator has looked at the journal's clock and says that it is right. Returns
    /// whether it was on.
    pub fn release(&self) -> bool {
        self.lock().account.braked.take().is_some()
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::runtime::Uptime;

    #[test]
    fn own_clock_goes_on_from_the_last_reading() {
        let expiry = Expiry::default();
        assert_eq!(expiry.own_clock(), None);
        for (second, ago) in [(3_000, 9), (1_000, 5)] {
            let journal = Timestamp::EPOCH.saturating_add_micros(second * 1_000_000);
            // It took a second, at any moment of which the clock may have been read.
            let [asked, answered] =
                [ago + 1, ago].map(|ago| Uptime::earlier(Duration::from_secs(ago)));
            expiry.accept(Reading { journal, asked, answered });
            let before = micros(answered.elapsed());
            let own = expiry.own_clock().expect("a reading was accepted");
            let after = micros(answered.elapsed());
            let since = own.micros() - journal.micros();
            assert!((before..=after).contains(&since), "{since}, not {before} to {after}");
        }
    }

    fn micros(duration: Duration) -> i64 {
        i64::try_from(duration.as_micros()).expect("it is short")
    }
}
