//! The replica's own checkpoint: the first thing that is asked for, and then written periodically.

use std::time::Duration;

use placard_model::Version;

use super::io::{Moment, START};

#[derive(Debug)]
pub(super) struct Checkpoint {
    /// The pause between two; `None` if none is kept.
    every: Option<Duration>,
    unread: bool,
    reading: bool,
    /// The version that the checkpoint under way will hold.
    writing: Option<Version>,
    due: Moment,
    /// The version that the newest checkpoint holds.
    version: Version,
}

impl Checkpoint {
    pub(super) fn new(every: Option<Duration>) -> Self {
        let unread = every.is_some();
        Self { every, unread, reading: false, writing: None, due: START, version: 0 }
    }

    /// Returns true if the checkpoint is being read.
    pub(super) fn is_being_read(&self) -> bool {
        self.reading
    }

    /// Begins to read the checkpoint, which is done once. Returns whether it begins now.
    pub(super) fn begin_reading(&mut self) -> bool {
        let begins = std::mem::take(&mut self.unread);
        self.reading |= begins;
        begins
    }

    /// Notes that the checkpoint was read.
    pub(super) fn read(&mut self) {
        self.reading = false;
    }

    /// Notes that what was read has become the replica's state, at this version.
    pub(super) fn used(&mut self, version: Version) {
        self.version = version;
    }

    /// Begins to write down the applied state, if it is time to. Returns whether it begins. `applied` is `None` if the
    /// state must not be written.
    pub(super) fn begin_writing(&mut self, now: Moment, applied: Option<Version>) -> bool {
        let (Some(every), Some(applied)) = (self.every, applied) else { return false };
        let begins = self.writing.is_none() && now >= self.due && applied > self.version;
        if begins {
            (self.writing, self.due) = (Some(applied), now + every);
        }
        begins
    }

    /// Notes that the checkpoint was written, or that writing it failed.
    pub(super) fn written(&mut self, done: bool) {
        if let (Some(version), true) = (self.writing.take(), done) {
            self.version = version;
        }
    }

    /// Notes that the state was restored, and may be of another history than what the checkpoint holds or will hold:
    /// whatever is applied now is better, and is written down as soon as it may be.
    pub(super) fn forget(&mut self) {
        self.version = 0;
        self.writing = self.writing.map(|_| 0);
        self.due = START;
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
    fn checkpoint_is_read_once_and_written_if_changed() {
        let mut checkpoint = Checkpoint::new(Some(EVERY));
        assert!(checkpoint.begin_reading() && checkpoint.is_being_read());
        assert!(!checkpoint.begin_reading());
        checkpoint.read();
        assert!(!checkpoint.is_being_read());
        checkpoint.used(5);
        assert!(!checkpoint.begin_writing(at(0), Some(5)));
        assert!(!checkpoint.begin_writing(at(1), None));
        assert!(checkpoint.begin_writing(at(2), Some(7)));
        assert!(!checkpoint.begin_writing(at(40), Some(8)));
        checkpoint.written(false);
        assert!(checkpoint.begin_writing(at(40), Some(7)));
        checkpoint.written(true);
        assert!(!checkpoint.begin_writing(at(49), Some(8)));
        assert!(!checkpoint.begin_writing(at(60), Some(7)));
        assert!(checkpoint.begin_writing(at(60), Some(8)));
        let mut none = Checkpoint::new(None);
        assert!(!none.begin_reading() && !none.begin_writing(at(0), Some(1)));
    }

    /// Until the lost history's version was passed none was written, and each start began with that history.
    #[test]
    fn checkpoint_of_a_lost_history_is_replaced_at_once() {
        for restored_while_written in [false, true] {
            let mut checkpoint = Checkpoint::new(Some(EVERY));
            assert!(checkpoint.begin_writing(at(0), Some(1_000)));
            if restored_while_written {
                checkpoint.forget();
                assert!(!checkpoint.begin_writing(at(1), Some(900)));
                checkpoint.written(true);
            } else {
                checkpoint.written(true);
                checkpoint.forget();
            }
            assert!(checkpoint.begin_writing(at(1), Some(900)));
        }
    }
}
