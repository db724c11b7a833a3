//! For tests of single steps: a core, and what the journal says to it.

use std::time::Duration;

use placard_model::Timestamp;
use placard_model::entry::{FORMAT_LEVEL, Incarnation, Position};
use uuid::Uuid;

use super::{Core, Input, Moment, Now, Output, Settings};
use crate::Uptime;
use crate::ports::{Head, Identity};

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
    Core::new(Settings { identity, lease, stream_entries_max: 1_024, checkpoint_every })
}

/// A step at the very beginning of time, where it stands still.
pub(super) fn step(core: &mut Core, input: Input) -> Vec<Output> {
    let poll_after = Duration::from_secs(1);
    let now = Now { moment: Moment(Duration::ZERO), time: Timestamp::EPOCH, poll_after };
    let mut outputs = Vec::new();
    core.step(now, input, &mut outputs);
    outputs
}

/// What a journal says whose head is this, and whose register is empty.
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
