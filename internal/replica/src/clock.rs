//! What time it is for reads: this machine's uptime, anchored to the journal's, so that replicas
//! agree and no reader sees time step back.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwap;
use placard_model::Timestamp;

use crate::Uptime;

/// How long after it was decided an adjustment begins, so that no reader that still follows the old line can
/// have read a later time than one that follows the new line.
const LEAD: i64 = 1_000;
/// While it is ahead of the journal's, the clock loses one part in so many.
const SLOWING: i64 = 10;
/// Two machines' clocks drift apart by at most one part in so many: twice what a bad quartz does.
const DRIFT: i64 = 5_000;

/// A shared clock; cloning it is cheap.
#[derive(Debug, Clone)]
pub struct Clock {
    origin: Uptime,
    course: Arc<ArcSwap<Course>>,
}

/// Time as a function of the monotonic microseconds since the clock's origin: one line up to `turn`, another
/// from there on. A turn always lies ahead of the moment it is decided at, so that readers who follow the
/// old course and readers who follow the new one agree on everything before it.
#[derive(Debug, Clone, Copy)]
struct Course {
    before: Line,
    turn: i64,
    after: Line,
    /// When the journal's time was last taken over, and by how much it may have been another.
    taken: i64,
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

impl Course {
    fn time(&self, at: i64) -> i64 {
        if at < self.turn { self.before.time(at) } else { self.after.time(at) }
    }

    /// The course that reaches `truth` (the time it really is at `at`, give or take `unsure`): at once if it is
    /// behind, slowly if it is ahead. Also by how much it was ahead.
    ///
    /// What a slow answer says is left alone if it does not contradict what a quicker one has said: half the time
    /// that an answer took is a guess of how old it is, and milliseconds off if it waited on one way only.
    fn corrected(&self, at: i64, truth: i64, unsure: i64) -> (Self, i64) {
        let ahead = self.time(at) - truth;
        let known = self.unsure + (at - self.taken) / DRIFT;
        let tells_nothing = unsure > known && ahead.abs() <= unsure + known;
        if at < self.turn || tells_nothing {
            return (*self, ahead);
        }
        let turn = at + LEAD;
        let reached = self.after.time(turn);
        let surplus = reached - (truth + LEAD);
        let base = if surplus < 0 { truth + LEAD } else { reached };
        let after = Line { from: turn, base, surplus: surplus.max(0) };
        (Self { before: self.after, turn, after, taken: at, unsure }, ahead)
    }
}

impl Clock {
    /// A clock that starts at this machine's time.
    pub fn start() -> Self {
        let since_epoch = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        let base = since_epoch.map_or(0, |elapsed| elapsed.as_micros() as i64);
        let line = Line { from: 0, base, surplus: 0 };
        // Whatever the journal says is better than this machine's own clock.
        let unsure = i64::MAX / 4;
        let course = Course { before: line, turn: 0, after: line, taken: 0, unsure };
        Self { origin: Uptime::now(), course: Arc::new(ArcSwap::from_pointee(course)) }
    }

    /// The time now.
    pub fn now(&self) -> Timestamp {
        // The moment is taken before the course is loaded: a course loaded later agrees about it.
        let at = self.elapsed();
        Timestamp::EPOCH.saturating_add_micros(self.course.load().time(at))
    }

    fn elapsed(&self) -> i64 {
        self.origin.elapsed().as_micros() as i64
    }

    /// Takes over the journal's time, which was `now` at some moment of a request that has just come back
    /// after `took`. Called by one task only. Returns by how many microseconds this clock was ahead.
    pub(crate) fn anchor(&self, now: Timestamp, took: Duration) -> i64 {
        let half = took.as_micros() as i64 / 2;
        let truth = now.micros() + half;
        let (course, ahead) = self.course.load().corrected(self.elapsed(), truth, half);
        self.course.store(Arc::new(course));
        ahead
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STRAIGHT: Line = Line { from: 0, base: 50_000, surplus: 0 };
    const COURSE: Course =
        Course { before: STRAIGHT, turn: 0, after: STRAIGHT, taken: 0, unsure: 0 };

    #[test]
    fn a_slow_answer_changes_nothing_unless_it_contradicts_a_quick_one() {
        // Answered within 600 us: 4 ms ahead is known to within 300 us, and is taken over.
        let (quick, _) = COURSE.corrected(0, 54_000, 300);
        let at = quick.turn + 250_000;
        let truth = quick.time(at);
        let is_left = |course: Course| course.time(at + 5 * LEAD) == quick.time(at + 5 * LEAD);
        // Another one, 5 ms long, could be as much as 2.5 ms off either way, and the first is known to
        // 300 us and what has drifted since.
        let least = 2_500 + 300 + (at - quick.taken) / DRIFT;
        for off in [-least, -2_000, 0, 2_000, least] {
            let (left, ahead) = quick.corrected(at, truth + off, 2_500);
            assert!(is_left(left) && ahead == -off, "{off}");
        }
        for off in [-least - 1, least + 1, 3_600_000_000] {
            assert!(!is_left(quick.corrected(at, truth + off, 2_500).0), "{off}");
        }
        // One that is as quick is taken over, and so is a slow one once the quick one is long ago.
        assert!(!is_left(quick.corrected(at, truth + 100, 300).0));
        let later = at + 2_500 * DRIFT;
        let corrected = quick.corrected(later, quick.time(later) + 100, 2_500).0;
        assert_eq!(corrected.time(later + LEAD), quick.time(later + LEAD) + 100);
    }

    #[test]
    fn a_clock_ahead_of_the_truth_loses_a_tenth_until_it_is_there() {
        let (course, ahead) = COURSE.corrected(0, 49_900, 0);
        assert_eq!(ahead, 100);
        assert_eq!(course.time(LEAD), 51_000);
        assert_eq!(course.time(LEAD + 500), 51_450);
        assert_eq!(course.time(LEAD + 1_000), 51_900);
        assert_eq!(course.time(LEAD + 5_000), 55_900);
    }

    #[test]
    fn a_clock_behind_the_truth_is_there_after_the_turn() {
        let (course, ahead) = COURSE.corrected(0, 50_700, 0);
        assert_eq!(ahead, -700);
        assert_eq!(course.time(LEAD - 1), 50_999);
        assert_eq!(course.time(LEAD), 51_700);
    }

    #[test]
    fn no_course_ever_steps_back_and_old_and_new_agree_before_the_turn() {
        let mut course = COURSE;
        let mut last = 0;
        for at in 0..200_000 {
            if at % 700 == 0 {
                let jump = if at % 1_400 == 0 { -5_000_000 } else { 3_000 };
                let (corrected, _) = course.corrected(at, course.time(at) + jump, 0);
                for soon in at..at + LEAD.min(corrected.turn - at) {
                    assert_eq!(corrected.time(soon), course.time(soon));
                }
                course = corrected;
            }
            assert!(course.time(at) >= last, "stepped back at {at}");
            last = course.time(at);
        }
    }

    #[test]
    fn the_shared_clock_takes_over_the_journals_time() {
        let clock = Clock::start();
        let hour = 3_600_000_000;
        let ahead = clock.anchor(clock.now().saturating_add_micros(hour), Duration::ZERO);
        assert!(ahead <= -hour + 1_000_000 && ahead >= -hour - 1_000_000);
    }
}
