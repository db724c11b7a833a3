//! Judges whether the journal's clock can be trusted. It decides what is deleted for good, so a clock that was set
//! wrong must not empty a journal. Pure: every time comes in with a look.

use std::time::Duration;

use placard_model::{Timestamp, limits};
use placard_replica::Reading;

/// One look at the clocks.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Look {
    /// The journal's.
    pub(crate) reading: Reading,
    /// This machine's own, when the journal had answered.
    pub(crate) own: Timestamp,
}

/// The verdict of a look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// The clock is as it should be.
    Sound,
    /// The clock has moved by this many microseconds more than time has since the last look, or less if negative.
    Jumped(i64),
    /// The clock is this many microseconds behind this machine's clock, or ahead of it if negative.
    Off(i64),
}

/// The last look at the journal's clock.
#[derive(Debug, Default)]
pub(crate) struct Watch {
    last: Option<Reading>,
}

impl Watch {
    /// Takes what the journal's clock said when the replica started: a jump between that and the first look counts too.
    pub(crate) fn start(&mut self, first: Reading) {
        self.last.get_or_insert(first);
    }

    /// Compares a look with the last one, which it replaces: a slow drift does not add up.
    pub(crate) fn judge(&mut self, look: Look) -> Verdict {
        let Look { reading, own } = look;
        let took = reading.answered - reading.asked;
        if let Some(last) = self.last.replace(reading) {
            let passed = micros(reading.answered - last.answered);
            let jump = reading.journal.micros() - last.journal.micros() - passed;
            // Within each look the clock may have been read at any moment.
            let unsure = took + (last.answered - last.asked);
            if jump.abs() > micros(limits::CLOCK_OFF_MAX + unsure) {
                return Verdict::Jumped(jump);
            }
        }
        let off = own.micros() - reading.journal.micros();
        if off.abs() > micros(limits::CLOCK_OFF_MAX + took) {
            return Verdict::Off(off);
        }
        Verdict::Sound
    }
}

fn micros(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)
}

#[cfg(test)]
#[allow(clippy::disallowed_methods, reason = "tests use clocks as they like")]
mod tests {
    use placard_replica::Uptime;

    use super::*;

    const SECOND: i64 = 1_000_000;

    /// A look that long after the first, at clocks that are that far ahead, answered after `took`.
    fn look(start: Uptime, after: i64, journal: i64, own: i64, took: u64) -> Look {
        let asked = start + Duration::from_micros(after as u64);
        let at = |ahead| Timestamp::EPOCH.saturating_add_micros(1_000 * SECOND + after + ahead);
        let answered = asked + Duration::from_micros(took);
        Look { reading: Reading { journal: at(journal), asked, answered }, own: at(own) }
    }

    #[test]
    fn a_clock_that_runs_evenly_is_sound() {
        let (mut watch, start) = (Watch::default(), Uptime::now());
        for nth in 0..100 {
            // Even one that drifts a little with every look.
            let drift = nth * 9_000;
            assert_eq!(
                watch.judge(look(start, nth * 5 * SECOND, drift, drift, 900)),
                Verdict::Sound
            );
        }
    }

    #[test]
    fn a_jump_is_noticed_once_in_both_directions() {
        for jump in [3_600 * SECOND, -3_600 * SECOND, SECOND + 10, -SECOND - 10] {
            let (mut watch, start) = (Watch::default(), Uptime::now());
            assert_eq!(watch.judge(look(start, 0, 0, 0, 0)), Verdict::Sound);
            assert_eq!(watch.judge(look(start, 5 * SECOND, jump, jump, 0)), Verdict::Jumped(jump));
            // From then on this clock is accepted: the operator who released the brake has seen it.
            assert_eq!(watch.judge(look(start, 10 * SECOND, jump, jump, 0)), Verdict::Sound);
        }
    }

    /// It was believed, and what had half an hour left was deleted.
    #[test]
    fn jump_between_start_and_first_look_is_noticed() {
        for jump in [3_600 * SECOND, -3_600 * SECOND] {
            let (mut watch, start) = (Watch::default(), Uptime::now());
            watch.start(look(start, 0, 0, 0, 900).reading);
            let first = look(start, 5 * SECOND, jump, jump, 0);
            assert_eq!(watch.judge(first), Verdict::Jumped(jump + 900));
            // It is the first look's turn only once.
            watch.start(look(start, 0, 0, 0, 0).reading);
            assert_eq!(watch.judge(look(start, 10 * SECOND, jump, jump, 0)), Verdict::Sound);
        }
    }

    #[test]
    fn slow_answer_is_not_taken_for_a_jump() {
        let (mut watch, start) = (Watch::default(), Uptime::now());
        assert_eq!(watch.judge(look(start, 0, 0, 0, 0)), Verdict::Sound);
        // Asked at 5 s, answered at 8 s: the clock was read at the very beginning, or at the very end.
        let slow = 3 * SECOND as u64;
        assert_eq!(watch.judge(look(start, 5 * SECOND, 0, 3 * SECOND, slow)), Verdict::Sound);
        let (journal, own) = (3 * SECOND, 3 * SECOND);
        assert_eq!(watch.judge(look(start, 10 * SECOND, journal, own, slow)), Verdict::Sound);
    }

    #[test]
    fn machine_with_wrong_time_is_off_at_first_look() {
        let (mut watch, start) = (Watch::default(), Uptime::now());
        let hour = 3_600 * SECOND;
        assert_eq!(watch.judge(look(start, 0, 0, hour, 0)), Verdict::Off(hour));
        assert_eq!(watch.judge(look(start, SECOND, 0, -hour, 0)), Verdict::Off(-hour));
        assert_eq!(watch.judge(look(start, 2 * SECOND, 0, SECOND, 0)), Verdict::Sound);
    }
}
