//! The core's state, and what can be asked of it between two steps.

use std::sync::Arc;
use std::time::Duration;

use placard_engine::{Engine, Reader};
use placard_model::entry::{Incarnation, Position};
use placard_model::{Version, limits};

use super::checkpoint::Checkpoint;
use super::cluster::Cluster;
use super::committer::Committer;
use super::counts::Counts;
use super::io::{Moment, Phase, START};
use super::lease::Lease;
use super::poll::{Poll, StaleWork};
use super::read_gate::{Facts, ReadGate, Terms};
use super::relay::Relay;
use super::restores::RestoreCause;
use super::waiters::Waiters;
use crate::ports::Identity;

/// The settings with which a replica starts.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The replica's identity.
    pub identity: Identity,
    /// How long its row in the register counts after each poll.
    pub lease: Duration,
    /// Most entries that the stream may hold.
    pub stream_entries_max: usize,
    /// The pause between two checkpoints; `None` for a replica that keeps none.
    pub checkpoint_every: Option<Duration>,
    /// Whether a journal that is empty takes the place of one that was not.
    pub takes_new_journal: bool,
}

/// The state machine.
#[derive(Debug)]
pub struct Core {
    pub(super) settings: Settings,
    pub(super) engine: Engine,
    pub(super) phase: Phase,
    pub(super) committer: Committer,
    pub(super) relay: Relay,
    pub(super) waiting: Waiters,
    /// Whether what a client waits for is being looked up in the log, for which state, and whether that has failed and
    /// is not tried again before the next head poll.
    pub(super) looking_up: bool,
    pub(super) lookup_for: Option<Position>,
    pub(super) lookup_suspect: bool,
    /// The number of states that were given up: versions published before and since may be of two histories.
    pub(super) history: u64,
    pub(super) counts: Counts,
    /// The newest version known to be in the journal.
    pub(super) head: Version,
    /// The version to reach before the replica is ready.
    pub(super) target: Option<Version>,
    /// Which stream is followed; `None` before the journal has told which it is.
    pub(super) stream: Option<Incarnation>,
    pub(super) reading_stream: bool,
    /// Work under way that concerns another journal, or its stream, than the one that is followed now.
    pub(super) stale_work: StaleWork,
    /// The stream brought something unusable; it is read again after the next head poll.
    pub(super) stream_suspect: bool,
    /// The stream has brought a record whose predecessor it has forgotten.
    pub(super) stream_gap: bool,
    pub(super) healing: bool,
    /// The log could not be read, or not applied; it is read again after the next head poll.
    pub(super) log_suspect: bool,
    pub(super) restoring: bool,
    /// Why there is no state.
    pub(super) restore_cause: RestoreCause,
    /// When the next restore may begin.
    pub(super) restore_due: Moment,
    /// Whether the last restore was begun although the journal had not been reached for a lease: that it failed says
    /// nothing of a journal that is reached again.
    pub(super) restored_blindly: bool,
    /// The pause before that; it doubles while restores fail.
    pub(super) restore_pause: Duration,
    pub(super) poll: Poll,
    /// The journal was found to be empty, and a replica, this one perhaps, has what it held.
    pub(super) emptied: bool,
    pub(super) lease: Lease,
    pub(super) gate: ReadGate,
    /// The cluster as the last head poll found it, for all readers; `None` before the first poll.
    pub(super) cluster: Option<Arc<Cluster>>,
    pub(super) clock_ahead: i64,
    pub(super) inspecting: bool,
    pub(super) trim_due: Moment,
    pub(super) checkpoint: Checkpoint,
    pub(super) advance_due: Moment,
    pub(super) draining: bool,
}

impl Core {
    /// A replica that knows nothing yet; its first step asks for a restore.
    pub fn new(settings: Settings) -> Self {
        Self {
            checkpoint: Checkpoint::new(settings.checkpoint_every),
            lease: Lease::new(settings.lease),
            gate: ReadGate::new(Terms {
                lease: settings.lease,
                refuses_after: settings.identity.refuses_after,
            }),
            settings,
            engine: Engine::new(),
            phase: Phase::Restoring,
            committer: Committer::default(),
            relay: Relay::default(),
            waiting: Waiters::default(),
            looking_up: false,
            lookup_for: None,
            lookup_suspect: false,
            history: 0,
            counts: Counts::default(),
            head: 0,
            target: None,
            stream: None,
            reading_stream: false,
            stale_work: StaleWork::default(),
            stream_suspect: false,
            stream_gap: false,
            healing: false,
            log_suspect: false,
            restoring: false,
            restore_cause: RestoreCause::Start,
            restore_due: START,
            restored_blindly: false,
            restore_pause: limits::RETRY_PAUSE_MAX / 2,
            poll: Poll::new(),
            emptied: false,
            cluster: None,
            clock_ahead: 0,
            inspecting: false,
            trim_due: START,
            advance_due: START,
            draining: false,
        }
    }

    /// Returns the readers' handle.
    pub fn reader(&self) -> Reader {
        self.engine.reader()
    }

    /// Returns what the replica is doing.
    pub fn phase(&self) -> Phase {
        self.phase
    }

    /// Returns how often each event has happened.
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// Returns the number of requests that wait for a transaction.
    pub fn queued(&self) -> usize {
        self.committer.queued()
    }

    /// Returns the bytes that they hold, about.
    pub fn queued_bytes(&self) -> usize {
        self.committer.queued_bytes()
    }

    /// Returns the number of entries that are durable and that the stream is not known to have; beyond
    /// [`limits::UNAPPENDED_ENTRIES_MAX`] no more are counted.
    pub fn unappended(&self) -> usize {
        self.relay.len()
    }

    /// Returns the number of requests that are durable and wait to be visible.
    pub fn unpublished(&self) -> usize {
        self.waiting.len()
    }

    /// Returns how many states the replica has given up: what was published before that may be of a history that is
    /// lost.
    pub fn history(&self) -> u64 {
        self.history
    }

    /// Returns the newest version that the journal is known to have.
    pub fn head(&self) -> Version {
        self.head
    }

    /// Returns what the replica knows of the others; `None` before the first poll.
    pub fn cluster(&self) -> Option<&Arc<Cluster>> {
        self.cluster.as_ref()
    }

    /// Returns what the replica knows of the age of what it has published.
    pub fn read_facts(&self) -> Facts {
        self.gate.facts()
    }

    /// Returns what readers are promised.
    pub fn read_terms(&self) -> Terms {
        self.gate.terms()
    }

    /// Returns true if the journal was found to be empty although a replica has what it held.
    pub fn is_emptied(&self) -> bool {
        self.emptied
    }

    /// Returns true if the replica has entries, published or not.
    pub(super) fn has_entries(&self) -> bool {
        self.engine.applied().version > 0
    }

    /// Returns true if what the replica writes must not be the first of a journal. Before its checkpoint is read it may
    /// have entries.
    pub(super) fn refuses_empty(&self) -> bool {
        let may_have = self.has_entries() || self.checkpoint.is_being_read();
        may_have && !self.settings.takes_new_journal
    }

    /// Returns true if the next head poll that succeeds will not be enough to answer reads again.
    pub fn wants_another_poll(&self, now: Moment) -> bool {
        self.gate.wants_another(now)
    }

    /// Returns true if the last head poll that has come back has told the journal of the state that there is now, and
    /// has not found it to be of another history.
    #[cfg(test)]
    pub(crate) fn is_compared(&self) -> bool {
        self.poll.compared
    }

    /// Returns the number of head polls that were sent.
    pub fn polls(&self) -> u64 {
        self.poll.number
    }

    /// Returns by how many microseconds the replica's clock was ahead of the journal's.
    pub fn clock_ahead(&self) -> i64 {
        self.clock_ahead
    }

    /// Returns true if the core was asked to drain, and nothing is left to do.
    pub fn is_drained(&self) -> bool {
        self.draining
            && self.committer.is_idle()
            && self.waiting.len() == 0
            && (self.relay.is_idle() || self.relay.is_down())
    }

    /// Returns when the core wants an [`Input::Tick`](super::Input::Tick), if nothing else happens before.
    pub fn wake_at(&self) -> Option<Moment> {
        let poll = (!self.poll.under_way).then_some(self.poll.due);
        let restoring = self.restoring || self.checkpoint.is_being_read() || self.target.is_none();
        // An emptied journal has no state to restore.
        let restoring = restoring || self.emptied;
        let restore = (!self.phase.has_state() && !restoring).then_some(self.restore_due);
        let committer = self.committer.wake_at(self.emptied);
        let waking = [committer, self.waiting.wake_at(), self.relay.wake_at()];
        let advance = self.phase.has_state().then_some(self.advance_due);
        let own = [poll, restore, advance, self.lease.wake_at()];
        waking.into_iter().chain(own).flatten().min()
    }
}
