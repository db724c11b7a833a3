//! For tests: a core, and what the journal answers it.

use std::time::Duration;

use bytes::Bytes;
use placard_engine::Engine;
use placard_model::entry::{
    Chain, Change, Digest, Entry, FORMAT_LEVEL, Incarnation, Position, Reason, Record,
};
use placard_model::{Timestamp, Version};
use uuid::Uuid;

use super::io::{Input, Moment, Now, Output, Phase, Purpose};
use super::state::{Core, Settings};
use crate::ports::{Head, Identity};
use crate::runtime::Uptime;

/// A replica that has not begun.
pub(super) fn core(checkpoint_every: Option<Duration>) -> Core {
    let identity = Identity {
        replica: Uuid::from_u128(1),
        address: "localhost:1".to_owned(),
        build: "test".to_owned(),
        format_level: FORMAT_LEVEL,
        refuses_after: None,
        marks_leaving: true,
    };
    let lease = Duration::from_secs(2);
    let (stream_entries_max, takes_new_journal) = (1_024, false);
    Core::new(Settings { identity, lease, stream_entries_max, checkpoint_every, takes_new_journal })
}

/// Takes a step at time zero; time does not advance.
pub(super) fn step(core: &mut Core, input: Input) -> Vec<Output> {
    step_at(core, Duration::ZERO, input)
}

/// Takes a step at a moment.
pub(super) fn step_at(core: &mut Core, moment: Duration, input: Input) -> Vec<Output> {
    let poll_after = Duration::from_secs(1);
    let now = Now { moment: Moment(moment), time: Timestamp::EPOCH, poll_after };
    let mut outputs = Vec::new();
    core.step(now, input, &mut outputs);
    outputs
}

/// The answer of a journal with this head and an empty register.
#[allow(clippy::disallowed_methods, reason = "tests use clocks as they like")]
pub(super) fn head(position: Position) -> Head {
    let (now, moment) = (Timestamp::EPOCH, Uptime::now());
    Head {
        position,
        chain_at: None,
        now,
        asked: moment,
        answered: moment,
        members: Vec::new(),
        left: Vec::new(),
        incarnation: Incarnation { journal: Uuid::nil(), database: 0, started: now },
        level: FORMAT_LEVEL,
    }
}

/// A replica, and what it wants done next.
pub(super) struct Running {
    pub(super) core: Core,
    moment: Duration,
    pub(super) outputs: Vec<Output>,
}

impl Running {
    /// Creates a replica that has registered with an empty journal, and has restored from it once.
    pub(super) fn new() -> Self {
        let core = core(None);
        let mut running = Self { core, moment: Duration::ZERO, outputs: Vec::new() };
        running.step(Input::Tick);
        running.polled(Chain::GENESIS);
        running.restore();
        running
    }

    /// Takes a step, later than any pause between two restores.
    pub(super) fn step(&mut self, input: Input) {
        self.moment += Duration::from_secs(60);
        let now = Now {
            moment: Moment(self.moment),
            time: Timestamp::EPOCH,
            poll_after: Duration::from_millis(250),
        };
        self.outputs.clear();
        self.core.step(now, input, &mut self.outputs);
    }

    /// Answers a head poll: the journal is empty, and its chain is this one.
    pub(super) fn polled(&mut self, chain: Chain) {
        let position = Position { chain, ..Position::START };
        let head = Head { chain_at: Some(chain), ..head(position) };
        self.step(Input::Polled(Ok(head)));
    }

    /// RestoreCounts, which the replica must ask for.
    pub(super) fn restore(&mut self) {
        if !self.outputs.iter().any(|output| matches!(output, Output::Restore)) {
            self.step(Input::Tick);
        }
        let wanted = self.outputs.iter().any(|output| matches!(output, Output::Restore));
        assert!(wanted, "a restore is not among {:?}", self.outputs);
        self.step(Input::Restored(Some(Box::new(Engine::new()))));
        assert!(self.core.phase().has_state());
    }

    /// The journal brings this entry, and the state is given up for it.
    pub(super) fn refuses(&mut self, record: Record, phase: Phase) {
        self.step(Input::LogRead(Purpose::Heal, Ok(vec![record])));
        assert_eq!(self.core.phase(), phase);
        self.restore();
    }
}

/// A deletion, which leaves no ad.
pub(super) fn deletion(version: Version, level: u8, digest: Digest) -> Record {
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
    let mut bytes = entry.encode().to_vec();
    bytes[0] = level;
    let bytes = Bytes::from(bytes);
    Record { version, chain: Chain::GENESIS.next(version, &bytes), bytes }
}
