//! The readers' clock: this machine's uptime, set by the journal's clock, so that replicas agree.
//!
//! The journal's first time sets the clock, in either direction; before that it is the machine's own, and
//! [`Clock::is_anchored`] says so. Later a clock that is behind is set right at once. One that is ahead by less than
//! [`STEP`] loses that gradually, so that no reader sees time go back; one that is certainly ahead by more is set back,
//! since an ad must not be shown outside its window for long because a clock was wrong.

#![expect(clippy::disallowed_methods, reason = "it is the clock of readers")]

use std::sync::{Arc, OnceLock};
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwap;
use placard_model::Timestamp;

use super::uptime::Uptime;
use crate::ports::Head;

/// Microseconds between the decision on a small adjustment and its beginning, so that no reader that still follows the
/// old line can have read a later time than one that follows the new line.
const LEAD: i64 = 1_000;
/// An error of this many microseconds and more is corrected by a step: forward at once, back if it is known to be so large.
const STEP: i64 = 50_000;
/// While the clock is ahead of the journal's by less than `STEP`, it loses one part in this many.
const SLOWING: i64 = 10;
/// Two machines' clocks drift apart by at most one part in this many: twice what a bad quartz does.
const DRIFT: i64 = 5_000;

/// A shared clock; cloning it is cheap.
#[derive(Debug, Clone)]
pub struct Clock {
    origin: Uptime,
    course: Arc<ArcSwap<Course>>,
    first: Arc<OnceLock<Reading>>,
}

/// A reading of the journal's clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reading {
    /// The time that it said.
    pub journal: Timestamp,
    /// When it was asked, and when it had answered: it was read at some moment in between.
    pub asked: Uptime,
    /// See `asked`.
    pub answered: Uptime,
}

impl Reading {
    /// The one that came with a head poll.
    pub(crate) fn of(head: &Head) -> Self {
        Self { journal: head.now, asked: head.asked, answered: head.answered }
    }
}

/// Time as a function of the monotonic microseconds since the clock's origin: one line up to `turn`, another
/// from there on. The turn of a small adjustment lies ahead of the moment it is decided at, so that readers who follow
/// the old course and readers who follow the new one agree on everything before it.
#[derive(Debug, Clone, Copy)]
struct Course {
    before: Line,
    turn: i64,
    after: Line,
    /// `None` until the journal's time is known.
    known: Option<Known>,
}

/// How well the journal's time is known.
#[derive(Debug, Clone, Copy)]
struct Known {
    /// When it was last taken over.
    taken: i64,
    /// By how many microseconds it may have been wrong.
    unsure: i64,
}

/// Real speed from `base` at `from`, but for `surplus` microseconds that are lost gradually.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Line {
    from: i64,
    base: i64,
    surplus: i64,
}

impl Line {
    fn time(&self, at: i64) -> i64 {
        let since = at - self.from;
        self.base + since - (since / SLOWING).min(self.surplus)
    }
}

/// The correction of a clock, and how wrong the clock was.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Correction {
    course: Course,
    /// By how many microseconds it was ahead of the journal's.
    pub(crate) ahead: i64,
    /// The time from which the clock goes on; `None` if it goes on from where it was.
    pub(crate) step: Option<Timestamp>,
}

impl Correction {
    /// The time from which the clock goes on, if it is set back.
    pub(crate) fn steps_back(&self) -> Option<Timestamp> {
        self.step.filter(|_| self.ahead > 0)
    }
}

impl Course {
    fn time(&self, at: i64) -> i64 {
        if at < self.turn { self.before.time(at) } else { self.after.time(at) }
    }

    /// Returns the course that reaches `truth` (the time it really is at `at`, give or take `unsure`).
    ///
    /// A slow answer is ignored if it does not contradict a quicker one: half the time that an answer took is a guess
    /// of how old it is, and milliseconds off if it waited on one way only.
    fn corrected(&self, at: i64, truth: i64, unsure: i64) -> Correction {
        let ahead = self.time(at) - truth;
        let tells_nothing = self.known.is_some_and(|known| {
            let known = known.unsure + (at - known.taken) / DRIFT;
            unsure > known && ahead.abs() <= unsure + known
        });
        if at < self.turn || tells_nothing {
            return Correction { course: *self, ahead, step: None };
        }
        let known = Some(Known { taken: at, unsure });
        // A slow answer may be wrong by `unsure`: time goes back only for an error that is certainly larger.
        if self.known.is_none() || ahead <= -STEP || ahead >= STEP + unsure {
            let line = Line { from: at, base: truth, surplus: 0 };
            let course = Self { before: line, turn: at, after: line, known };
            let step = Some(Timestamp::EPOCH.saturating_add_micros(truth));
            return Correction { course, ahead, step };
        }
        let turn = at + LEAD;
        let reached = self.after.time(turn);
        let surplus = reached - (truth + LEAD);
        let base = if surplus < 0 { truth + LEAD } else { reached };
        let after = Line { from: turn, base, surplus: surplus.max(0) };
        let course = Self { before: self.after, turn, after, known };
        Correction { course, ahead, step: None }
    }
}

/// Returns the time by this machine's clock, which may be set, be wrong, and go back.
pub fn system_now() -> Timestamp {
    let since_epoch = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    let micros = since_epoch.map_or(0, |elapsed| elapsed.as_micros() as i64);
    Timestamp::EPOCH.saturating_add_micros(micros)
}

impl Clock {
    /// A clock that starts at this machine's time; whatever the journal says is better.
    pub fn start() -> Self {
        let line = Line { from: 0, base: system_now().micros(), surplus: 0 };
        let course = Course { before: line, turn: 0, after: line, known: None };
        let (course, first) = (Arc::new(ArcSwap::from_pointee(course)), Arc::default());
        Self { origin: Uptime::now(), course, first }
    }

    /// Returns the time now.
    pub fn now(&self) -> Timestamp {
        // The moment is taken before the course is loaded: a course loaded later agrees about it.
        let at = self.at(Uptime::now());
        Timestamp::EPOCH.saturating_add_micros(self.course.load().time(at))
    }

    /// Returns true if the clock has been set by the journal's; until then it is the machine's own.
    pub fn is_anchored(&self) -> bool {
        self.first.get().is_some()
    }

    /// Returns the first reading of the journal's clock.
    pub fn first_reading(&self) -> Option<Reading> {
        self.first.get().copied()
    }

    fn at(&self, moment: Uptime) -> i64 {
        micros(moment - self.origin)
    }

    /// Returns the correction that a reading of the journal's clock asks for, however long ago it was made. Only one
    /// task calls this, and then has the clock [`take`](Self::take) the correction.
    pub(crate) fn compared(&self, reading: &Reading) -> Correction {
        let now = Uptime::now();
        let half = micros(reading.answered - reading.asked) / 2;
        let truth = reading.journal.micros() + half + micros(now - reading.answered);
        self.course.load().corrected(self.at(now), truth, half)
    }

    pub(crate) fn take(&self, correction: &Correction, reading: Reading) {
        self.course.store(Arc::new(correction.course));
        // This comes last: a reader that finds it finds the journal's time.
        self.first.get_or_init(|| reading);
    }
}

fn micros(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const STRAIGHT: Line = Line { from: 0, base: 50_000, surplus: 0 };
    const COURSE: Course = Course {
        before: STRAIGHT,
        turn: 0,
        after: STRAIGHT,
        known: Some(Known { taken: 0, unsure: 0 }),
    };
    const HOUR: i64 = 3_600_000_000;

    #[test]
    fn slow_answer_is_ignored_within_its_uncertainty() {
        // Answered within 600 us: 4 ms ahead is known to within 300 us, and is taken over.
        let quick = COURSE.corrected(0, 54_000, 300).course;
        let at = quick.turn + 250_000;
        let truth = quick.time(at);
        let is_left = |course: Course| course.time(at + 5 * LEAD) == quick.time(at + 5 * LEAD);
        // Another one, 5 ms long, could be as much as 2.5 ms off either way, and the first is known to
        // 300 us and what has drifted since.
        let taken = quick.known.expect("it was just told").taken;
        let least = 2_500 + 300 + (at - taken) / DRIFT;
        for off in [-least, -2_000, 0, 2_000, least] {
            let left = quick.corrected(at, truth + off, 2_500);
            assert!(is_left(left.course) && left.ahead == -off && left.step.is_none(), "{off}");
        }
        for off in [-least - 1, least + 1, HOUR] {
            assert!(!is_left(quick.corrected(at, truth + off, 2_500).course), "{off}");
        }
        // One that is as quick is taken over, and so is a slow one once the quick one is long ago.
        assert!(!is_left(quick.corrected(at, truth + 100, 300).course));
        let later = at + 2_500 * DRIFT;
        let corrected = quick.corrected(later, quick.time(later) + 100, 2_500).course;
        assert_eq!(corrected.time(later + LEAD), quick.time(later + LEAD) + 100);
    }

    #[test]
    fn clock_ahead_loses_a_tenth_until_it_is_right() {
        let Correction { course, ahead, step } = COURSE.corrected(0, 49_900, 0);
        assert_eq!((ahead, step), (100, None));
        assert_eq!(course.time(LEAD), 51_000);
        assert_eq!(course.time(LEAD + 500), 51_450);
        assert_eq!(course.time(LEAD + 1_000), 51_900);
        assert_eq!(course.time(LEAD + 5_000), 55_900);
    }

    #[test]
    fn clock_behind_is_right_after_the_turn() {
        let Correction { course, ahead, step } = COURSE.corrected(0, 50_700, 0);
        assert_eq!((ahead, step), (-700, None));
        assert_eq!(course.time(LEAD - 1), 50_999);
        assert_eq!(course.time(LEAD), 51_700);
    }

    #[test]
    fn a_clock_off_by_a_step_is_set_at_once_either_way() {
        for off in [STEP, 60_000_000, HOUR, -STEP, -60_000_000, -HOUR] {
            let correction = COURSE.corrected(7, COURSE.time(7) - off, 0);
            assert_eq!(correction.ahead, off);
            assert_eq!(correction.course.time(7), COURSE.time(7) - off);
            assert_eq!(correction.steps_back().is_some(), off > 0);
            assert!(correction.step.is_some());
        }
        for off in [STEP - 1, 1 - STEP] {
            assert!(COURSE.corrected(7, COURSE.time(7) - off, 0).step.is_none());
        }
    }

    /// As on a path on which answers take 100 ms, on one way now and on the other then.
    #[test]
    fn time_is_not_set_back_for_a_possible_path_delay() {
        let slow = Course { known: Some(Known { taken: 0, unsure: 1_000 }), ..COURSE };
        let at = LEAD;
        let correction = slow.corrected(at, slow.time(at) - STEP - 40_000, 40_001);
        assert_eq!((correction.ahead, correction.step), (STEP + 40_000, None));
        // It is lost gradually, in ten times as long.
        let course = correction.course;
        let reached = course.turn + SLOWING * (STEP + 40_000);
        assert_eq!(course.time(reached), slow.time(reached) - STEP - 40_000);
        let more = slow.corrected(at, slow.time(at) - STEP - 40_001, 40_001);
        assert!(more.steps_back().is_some());
    }

    #[test]
    fn first_reading_sets_the_clock_at_any_error() {
        let unset = Course { known: None, ..COURSE };
        for off in [10, -10, HOUR, -HOUR] {
            // Even if it took long to be told: it is more than nothing.
            let correction = unset.corrected(7, unset.time(7) - off, 900_000);
            assert_eq!(correction.course.time(7), unset.time(7) - off);
            assert!(correction.step.is_some());
        }
    }

    #[test]
    fn time_does_not_go_back_except_by_a_step() {
        let mut course = COURSE;
        let mut last = 0;
        for at in 0..200_000 {
            if at % 700 == 0 {
                let jump = if at % 1_400 == 0 { 1 - STEP } else { 3_000 };
                let correction = course.corrected(at, course.time(at) + jump, 0);
                assert_eq!(correction.step, None);
                let corrected = correction.course;
                for soon in at..at + LEAD.min(corrected.turn - at) {
                    assert_eq!(corrected.time(soon), course.time(soon));
                }
                course = corrected;
            }
            assert!(course.time(at) >= last, "stepped back at {at}");
            last = course.time(at);
        }
    }

    /// It was, by half of what the result had waited.
    #[test]
    fn reading_ages_until_it_is_taken_over() {
        let clock = Clock::start();
        let asked = Uptime::earlier(Duration::from_secs(40));
        let answered = asked + Duration::from_secs(2);
        let journal = Timestamp::EPOCH.saturating_add_micros(HOUR);
        let reading = Reading { journal, asked, answered };
        assert!(!clock.is_anchored());
        clock.take(&clock.compared(&reading), reading);
        assert!(clock.is_anchored());
        // One second for half of the answer's way, and then it waited.
        let before = 1_000_000 + micros(answered.elapsed());
        let since = clock.now().micros() - HOUR;
        let after = 1_000_000 + micros(answered.elapsed());
        // Microseconds are rounded down here and there.
        assert!((before - 2..=after + 2).contains(&since), "{since}, not {before} to {after}");
        assert_eq!(clock.first_reading(), Some(reading));
    }
}
