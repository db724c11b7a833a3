//! The clocks by which a command is decided. The journal's clock may be wrong: one jump must not let every reservation
//! lapse.

use std::time::Duration;

use placard_model::planted::Planted;
use placard_model::{Timestamp, limits};

/// The journal's clock in the transaction, and what the replica that decides believes of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Clocks {
    /// The journal's clock.
    pub journal: Timestamp,
    /// The replica's estimate when the command was made: the last reading that its brake has accepted, plus the time since.
    /// `None` if it has accepted none; then nothing has lapsed.
    pub own: Option<Timestamp>,
}

impl Clocks {
    /// Returns the lower clock, by which it is judged what has come: a reservation lapses only if both clocks say so. The
    /// replica's may be behind by a second, as the brake allows.
    pub fn lower(&self) -> Timestamp {
        if Planted::JournalsClockAlone.is_there() {
            return self.journal;
        }
        let own = |own| after(own, limits::CLOCK_OFF_MAX);
        self.own.map_or(Timestamp::MIN, |estimate| self.journal.min(own(estimate)))
    }

    /// Returns the clock by which a window is over. Without an estimate of the replica's own it is the journal's: to give
    /// nothing for a while does less harm than to give what is over.
    pub(super) fn of_windows(&self) -> Timestamp {
        self.own.map_or(self.journal, |_| self.lower())
    }

    /// Returns the higher clock, from which durations count: what is given while the journal's clock is behind has not
    /// lapsed when that is right again.
    fn higher(&self) -> Timestamp {
        self.own.map_or(self.journal, |own| self.journal.max(own))
    }

    /// Returns the instant so long after now.
    pub(super) fn after(&self, duration: Duration) -> Timestamp {
        after(self.higher(), duration)
    }
}

fn after(instant: Timestamp, duration: Duration) -> Timestamp {
    instant.saturating_add_micros(i64::try_from(duration.as_micros()).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn at(second: i64) -> Timestamp {
        Timestamp::EPOCH.saturating_add_micros(second * 1_000_000)
    }

    #[test]
    fn what_has_come_is_judged_by_the_lower_clock() {
        let lower = |journal, own: Option<i64>| {
            let own = own.map(at);
            Clocks { journal: at(journal), own }.lower()
        };
        assert_eq!(lower(100, Some(100)), at(100));
        assert_eq!(lower(100, Some(99)), at(100));
        assert_eq!(lower(3_700, Some(100)), at(101));
        assert_eq!(lower(100, Some(3_700)), at(100));
        assert_eq!(lower(100, None), Timestamp::MIN);
    }

    #[test]
    fn durations_count_from_the_higher_clock() {
        let ahead = |journal, own: Option<i64>| {
            let own = own.map(at);
            Clocks { journal: at(journal), own }.after(SECOND)
        };
        assert_eq!(ahead(100, Some(100)), at(101));
        assert_eq!(ahead(100, Some(3_700)), at(3_701));
        assert_eq!(ahead(100, Some(50)), at(101));
        assert_eq!(ahead(100, None), at(101));
        let clocks = Clocks { journal: at(100), own: None };
        assert_eq!(clocks.after(Duration::MAX), Timestamp::MAX);
    }
}
