//! The inputs and outputs of the core.

use std::ops::{Add, Sub};
use std::sync::Arc;
use std::time::Duration;

use placard_engine::{Engine, Replaced, Snapshot};
use placard_model::command::{Answer, Request};
use placard_model::entry::{Chain, Incarnation, Position, Record};
use placard_model::{Timestamp, Version};

use crate::decision::{Batch, Plan};
use crate::ports::{Appended, CommitError, Head, Heartbeat, PollError, StreamStatus, Unavailable};

/// A moment of the replica's monotonic time, counted from the replica's start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Moment(pub Duration);

impl Add<Duration> for Moment {
    type Output = Self;

    fn add(self, pause: Duration) -> Self {
        Self(self.0.saturating_add(pause))
    }
}

/// Subtracts an earlier moment from a later one; the result is zero if the first is the earlier.
impl Sub for Moment {
    type Output = Duration;

    fn sub(self, earlier: Self) -> Duration {
        self.0.saturating_sub(earlier.0)
    }
}

pub(super) const START: Moment = Moment(Duration::ZERO);

/// When a step is taken.
#[derive(Debug, Clone, Copy)]
pub struct Now {
    /// The replica's own time.
    pub moment: Moment,
    /// The time for readers.
    pub time: Timestamp,
    /// The pause until the next head poll, with its jitter.
    pub poll_after: Duration,
}

/// Names a waiting client.
pub type Ticket = u64;

/// What happens to the replica.
#[derive(Debug)]
pub enum Input {
    /// Clients want to write, each by its ticket, and wait until the deadline.
    Submit(Vec<(Ticket, Arc<Request>)>, Moment),
    /// [`Output::Commit`] has come back.
    Committed(Result<Plan, CommitError>),
    /// [`Output::Append`] has come back.
    Appended(Result<Appended, Unavailable>),
    /// [`Output::ReadStream`] has come back.
    StreamRead(Result<Vec<Record>, Unavailable>),
    /// [`Output::ReadLog`] has come back.
    LogRead(Purpose, Result<Vec<Record>, Unavailable>),
    /// [`Output::Poll`] has come back.
    Polled(Result<Head, PollError>),
    /// [`Output::InspectStream`] has come back.
    StreamInspected(Result<StreamStatus, Unavailable>),
    /// [`Output::ResetStream`] has come back.
    StreamReset(Result<(), Unavailable>),
    /// [`Output::TrimStream`] has come back, whether this replica or another has trimmed the stream.
    StreamTrimmed(Result<(), Unavailable>),
    /// The clock was found to be ahead of the journal's by this many microseconds. If it is to be set back because of
    /// that, the step's time is the one from which it goes on.
    ClockCompared(i64),
    /// [`Output::Restore`] has come back; `None` if it could not be done.
    Restored(Option<Box<Engine>>),
    /// [`Output::LoadCheckpoint`] has come back; `None` if no checkpoint can be used.
    CheckpointLoaded(Option<Box<Engine>>),
    /// [`Output::SaveCheckpoint`] has come back.
    CheckpointSaved(Result<(), Unavailable>),
    /// Time has passed.
    Tick,
    /// No further clients: finish what is queued.
    Drain,
}

/// What the replica wants done.
#[derive(Debug)]
pub enum Output {
    /// Run this batch's transaction.
    Commit(Arc<Batch>),
    /// Append these to the stream of this journal.
    Append(Incarnation, Arc<[Record]>),
    /// Read the stream of this journal after this version.
    ReadStream(Incarnation, Version),
    /// Read the log after this version, at most this many records.
    ReadLog(Purpose, Version, usize),
    /// Register, and read the journal's head and the log's chain at this version.
    Poll(Heartbeat, Version),
    /// From now on, write to this journal, and read it, on this run of its server and no other. There is no result.
    Follow(Incarnation),
    /// Ask the stream of this journal for its top.
    InspectStream(Incarnation),
    /// Have the stream of this journal forget everything, if its top still is this one.
    ResetStream(Incarnation, Version, Chain),
    /// Have the stream of this journal forget the records before this version and the oldest beyond this many, unless
    /// another replica is doing so. The last field is the version of the journal's head.
    TrimStream(Incarnation, Version, usize, Version),
    /// Build an engine from the journal's ads.
    Restore,
    /// Build an engine from the checkpoint.
    LoadCheckpoint,
    /// Collect these ads and write them down.
    SaveCheckpoint(Snapshot),
    /// Drop the state that another has taken the place of. There is no result.
    Free(Box<Replaced>),
    /// Answer a client.
    Answer(Ticket, Reply),
    /// This position is visible to readers now.
    Published(Position),
}

/// The purpose of a read of the log; one read may be under way for each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// To apply what the stream did not bring.
    Heal,
    /// To bring the stream what it lacks.
    Relay,
    /// To answer clients that wait for a version that a restore has passed over: is it theirs?
    LookUp,
}

/// The phase of a replica: what it is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// It has no state yet, or one of another history.
    Restoring,
    /// Its state was found to be wrong. It restores.
    Quarantined,
    /// It has a state, and has not yet reached the head that it found when it started.
    CatchingUp,
    /// It answers.
    Ready,
}

impl Phase {
    /// Returns true if there is a state that reads may be answered from.
    pub fn has_state(self) -> bool {
        matches!(self, Self::CatchingUp | Self::Ready)
    }

    /// Returns the phase in one word, for the register and for people.
    pub fn code(self) -> &'static str {
        match self {
            Self::Restoring => "restoring",
            Self::Quarantined => "quarantined",
            Self::CatchingUp => "catching-up",
            Self::Ready => "ready",
        }
    }
}

/// The answer to a client's write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    /// Decided, durable if anything was written, and visible to readers of this replica.
    Applied(Answer),
    /// Durable, but not yet visible here.
    Committed(Answer),
    /// Nothing was written: the journal took no transaction in time, or the replica is about to stop.
    Unavailable,
    /// Nothing was written: the queue is full.
    Overloaded,
    /// A transaction was tried and its outcome is not known yet.
    Unknown,
}
