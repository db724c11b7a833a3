//! The status of expiry and housekeeping, and the one command that an operator can give them. It is in this crate
//! because the crates that do the work and those that show it do not know each other.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use placard_model::Timestamp;

/// A shared account of expiry on this replica; cloning it is cheap.
#[derive(Debug, Clone, Default)]
pub struct Expiry(Arc<Mutex<Account>>);

/// What has been done so far, and what prevents more.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Account {
    /// Set while nothing is deleted because the journal's clock has jumped; only [`Expiry::release`] ends that.
    pub braked: Option<Brake>,
    /// Whether nothing is deleted because this machine's clock and the journal's differ.
    pub clock_off: bool,
    /// Delete entries that this replica has brought about.
    pub deleted: u64,
    /// Times that it has asked the journal what has ended.
    pub looks: u64,
    /// Times that this, or proposing the deletions, failed.
    pub failures: u64,
    /// Tasks that it has added to the queue.
    pub tasks_pushed: u64,
    /// Tasks that it has taken from the queue and done.
    pub tasks_done: u64,
    /// Seconds to come for which a task is in the queue, as far as it knows.
    pub seconds_pending: u64,
    /// Times that a task of the scheduler has ended though it should not, and was started again.
    pub restarts: u64,
    /// The chores of housekeeping, by [`Chore`].
    pub chores: [Chored; Chore::ALL.len()],
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
        self.lock().clone()
    }

    /// Changes the account.
    pub fn note(&self, change: impl FnOnce(&mut Account)) {
        change(&mut self.lock());
    }

    /// Releases the brake: an operator has looked at the journal's clock and says that it is right. Returns
    /// whether it was on.
    pub fn release(&self) -> bool {
        self.lock().braked.take().is_some()
    }

    fn lock(&self) -> MutexGuard<'_, Account> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
