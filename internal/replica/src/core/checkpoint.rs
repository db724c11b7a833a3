//! The replica's own checkpoint: the first thing that is asked for, and then written down now and then.

use std::time::Duration;

use placard_model::Version;

use super::io::{Moment, START};

#[derive(Debug)]
pub(super) struct Checkpoint {
    /// The pause between two; `None` if none is kept.
    every: Option<Duration>,
    unread: bool,
    under_way: bool,
    due: Moment,
    /// What the newest one holds.
    version: Version,
    /// What the one under way will hold.
    writing: Version,
}

impl Checkpoint {
    pub(super) fn new(every: Option<Duration>) -> Self {
        Self {
            every,
            unread: every.is_some(),
            under_way: false,
            due: START,
            version: 0,
            writing: 0,
        }
    }

    /// Whether it is being read or written.
    pub(super) fn is_under_way(&self) -> bool {
        self.under_way
    }

    /// Whether it is to be read now, which it is once.
    pub(super) fn reads(&mut self) -> bool {
        let reads = std::mem::take(&mut self.unread);
        self.under_way |= reads;
        reads
    }

    /// It was read.
    pub(super) fn read(&mut self) {
        self.under_way = false;
    }

    /// What was read has become the replica's state.
    pub(super) fn used(&mut self, version: Version) {
        self.version = version;
    }

    /// Whether what is applied is to be written down now; `None` if it is not fit to be.
    pub(super) fn writes(&mut self, now: Moment, applied: Option<Version>) -> bool {
        let Some(every) = self.every.filter(|_| !self.under_way && now >= self.due) else {
            return false;
        };
        self.due = now + every;
        let Some(applied) = applied.filter(|applied| *applied > self.version) else { return false };
        (self.under_way, self.writing) = (true, applied);
        true
    }

    /// It was written down, or was not.
    pub(super) fn written(&mut self, done: bool) {
        self.under_way = false;
        if done {
            self.version = self.writing;
        }
    }

    /// What it holds, or will hold if it is being written, is of a history that the journal has lost: whatever comes
    /// next is better.
    pub(super) fn is_lost(&mut self) {
        (self.version, self.writing) = (0, 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EVERY: Duration = Duration::from_secs(10);

    fn at(seconds: u64) -> Moment {
        Moment(Duration::from_secs(seconds))
    }

    #[test]
    fn it_is_read_once_and_written_when_there_is_something_new() {
        let mut checkpoint = Checkpoint::new(Some(EVERY));
        assert!(checkpoint.reads() && checkpoint.is_under_way() && !checkpoint.reads());
        assert!(!checkpoint.writes(at(0), Some(7)));
        checkpoint.read();
        checkpoint.used(5);
        assert!(!checkpoint.writes(at(0), Some(5)) && !checkpoint.writes(at(9), Some(7)));
        assert!(!checkpoint.writes(at(10), None) && checkpoint.writes(at(20), Some(7)));
        assert!(!checkpoint.writes(at(40), Some(8)));
        checkpoint.written(false);
        assert!(checkpoint.writes(at(40), Some(7)));
        checkpoint.written(true);
        assert!(!checkpoint.writes(at(60), Some(7)) && checkpoint.writes(at(80), Some(8)));
        let mut none = Checkpoint::new(None);
        assert!(!none.reads() && !none.writes(at(0), Some(1)));
    }

    /// Until the lost history's version was passed none was written, and each start began with that history.
    #[test]
    fn one_of_a_lost_history_is_replaced_by_an_older_version() {
        for lost_while_written in [false, true] {
            let mut checkpoint = Checkpoint::new(Some(EVERY));
            assert!(checkpoint.writes(at(0), Some(1_000)));
            if lost_while_written {
                checkpoint.is_lost();
                checkpoint.written(true);
            } else {
                checkpoint.written(true);
                checkpoint.is_lost();
            }
            assert!(checkpoint.writes(at(10), Some(900)));
        }
    }
}
