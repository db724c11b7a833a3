//! Why a state is built from the journal's ads: each cause is counted by itself, since one is an ordinary start and
//! another a bug.

use std::ops::AddAssign;

use placard_engine::Refusal;

/// What made the replica restore.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// It was started, and had no checkpoint that could be used.
    Start,
    /// The journal tells another history than the one that the state came from.
    Fork,
    /// Its digest was not the one that an entry carries.
    Digest,
    /// The log does not have any more what comes next: it was trimmed while the replica was away.
    Gap,
    /// The next entry was written for builds that are newer than this one.
    Format,
}

impl Cause {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Start, Self::Fork, Self::Digest, Self::Gap, Self::Format];

    /// In one word.
    pub fn code(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Fork => "fork",
            Self::Digest => "digest",
            Self::Gap => "gap",
            Self::Format => "format",
        }
    }

    /// Of a state that is given up because of this refusal.
    pub(crate) fn of(refusal: &Refusal) -> Self {
        match refusal {
            Refusal::Fork(_) => Self::Fork,
            Refusal::Diverged(_) => Self::Digest,
            Refusal::Poison(..) => Self::Format,
            // Old entries are passed over rather than refused.
            Refusal::Gap { .. } | Refusal::Old { .. } => Self::Gap,
        }
    }
}

/// How often each has led to a restore.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Restores([u64; Cause::ALL.len()]);

impl Restores {
    /// One more.
    pub(crate) fn count(&mut self, cause: Cause) {
        self.0[cause as usize] += 1;
    }

    /// How often this one has.
    pub fn of(&self, cause: Cause) -> u64 {
        self.0[cause as usize]
    }

    /// How often any has.
    pub fn all(&self) -> u64 {
        self.0.iter().sum()
    }
}

impl AddAssign for Restores {
    fn add_assign(&mut self, other: Self) {
        for (count, more) in self.0.iter_mut().zip(other.0) {
            *count += more;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use bytes::Bytes;
    use placard_engine::Engine;
    use placard_model::entry::{
        Chain, Change, Digest, Entry, FORMAT_LEVEL, Incarnation, Position, Reason, Record,
    };
    use placard_model::{Timestamp, Version};
    use uuid::Uuid;

    use super::*;
    use crate::Uptime;
    use crate::core::{Core, Input, Moment, Now, Output, Phase, Purpose, Settings};
    use crate::ports::{Head, Identity};

    const INCARNATION: Incarnation =
        Incarnation { journal: Uuid::nil(), database: 0, started: Timestamp::EPOCH };

    /// A replica, and what it wants done next.
    struct Running {
        core: Core,
        moment: Duration,
        outputs: Vec<Output>,
    }

    impl Running {
        /// It has registered with an empty journal, and has restored from it once.
        fn new() -> Self {
            let identity = Identity {
                replica: Uuid::from_u128(1),
                address: "localhost:1".to_owned(),
                build: "test".to_owned(),
                format_level: FORMAT_LEVEL,
                refuses_after: None,
                marks_leaving: true,
            };
            let core = Core::new(Settings {
                identity,
                lease: Duration::from_secs(2),
                stream_entries_max: 1_024,
                checkpoint_every: None,
            });
            let mut running = Self { core, moment: Duration::ZERO, outputs: Vec::new() };
            running.step(Input::Tick);
            running.polled(Chain::GENESIS);
            running.restore();
            running
        }

        /// Takes a step, later than any pause between two restores.
        fn step(&mut self, input: Input) {
            self.moment += Duration::from_secs(60);
            let now = Now {
                moment: Moment(self.moment),
                time: Timestamp::EPOCH,
                poll_after: Duration::from_millis(250),
            };
            self.outputs.clear();
            self.core.step(now, input, &mut self.outputs);
        }

        /// The journal is empty, and its chain is this one.
        fn polled(&mut self, chain: Chain) {
            let position = Position { chain, ..Position::START };
            let head = Head {
                position,
                chain_at: Some(chain),
                now: Timestamp::EPOCH,
                asked: Uptime::now(),
                answered: Uptime::now(),
                members: Vec::new(),
                left: Vec::new(),
                incarnation: INCARNATION,
                level: FORMAT_LEVEL,
            };
            self.step(Input::Polled(Ok(head)));
        }

        /// It wants to restore, and does.
        fn restore(&mut self) {
            if !self.outputs.iter().any(|output| matches!(output, Output::Restore)) {
                self.step(Input::Tick);
            }
            let wanted = self.outputs.iter().any(|output| matches!(output, Output::Restore));
            assert!(wanted, "a restore is not among {:?}", self.outputs);
            self.step(Input::Restored(Some(Box::new(Engine::new()))));
            assert!(self.core.phase().has_state());
        }

        /// The journal brings this entry, and the state is given up for it.
        fn refuses(&mut self, record: Record, phase: Phase) {
            self.step(Input::LogRead(Purpose::Heal, Ok(vec![record])));
            assert_eq!(self.core.phase(), phase);
            self.restore();
        }
    }

    /// A deletion, which leaves no ad.
    fn record(version: Version, level: u8, digest: Digest) -> Record {
        let entry = Entry {
            at: Timestamp::EPOCH,
            request: Uuid::from_u128(1),
            item: 0,
            principal: String::new(),
            reason: Reason::Client,
            trace: None,
            digest,
            change: Change::Delete(Uuid::from_u128(2)),
        };
        let mut bytes = entry.encode(FORMAT_LEVEL).to_vec();
        bytes[0] = level;
        let bytes = Bytes::from(bytes);
        Record { version, chain: Chain::GENESIS.next(version, &bytes), bytes }
    }

    /// It was sent with a state that is gone, and says nothing of the one that has come since.
    #[test]
    fn a_poll_that_was_sent_before_a_restore_compares_nothing() {
        let mut running = Running::new();
        let polls = |running: &Running| {
            running.outputs.iter().any(|output| matches!(output, Output::Poll(..)))
        };
        assert!(polls(&running));
        running.polled(Chain::GENESIS);
        assert!(running.core.is_compared());
        running.step(Input::Tick);
        assert!(polls(&running));
        running.refuses(record(1, FORMAT_LEVEL, Digest(1)), Phase::Quarantined);
        assert!(!running.core.is_compared() && !polls(&running));
        running.polled(Chain::GENESIS);
        assert!(!running.core.is_compared());
        running.step(Input::Tick);
        assert!(polls(&running));
        running.polled(Chain::GENESIS);
        assert!(running.core.is_compared());
    }

    #[test]
    fn each_cause_is_counted_by_itself() {
        let mut running = Running::new();
        let counted =
            |running: &Running| Cause::ALL.map(|cause| running.core.counts().restores.of(cause));
        assert_eq!(counted(&running), [1, 0, 0, 0, 0]);

        running.polled(Chain([7; 32]));
        running.restore();
        assert_eq!(counted(&running), [1, 1, 0, 0, 0]);
        let fork = Record { chain: Chain([7; 32]), ..record(1, FORMAT_LEVEL, Digest(0)) };
        running.refuses(fork, Phase::Restoring);
        assert_eq!(counted(&running), [1, 2, 0, 0, 0]);
        running.refuses(record(1, FORMAT_LEVEL, Digest(1)), Phase::Quarantined);
        assert_eq!(counted(&running), [1, 2, 1, 0, 0]);
        running.refuses(record(2, FORMAT_LEVEL, Digest(0)), Phase::Restoring);
        assert_eq!(counted(&running), [1, 2, 1, 1, 0]);
        running.refuses(record(1, FORMAT_LEVEL + 1, Digest(0)), Phase::Restoring);
        assert_eq!(counted(&running), [1, 2, 1, 1, 1]);
        assert_eq!(running.core.counts().restores.all(), 6);
    }
}
