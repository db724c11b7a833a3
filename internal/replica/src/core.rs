//! The replica as a state machine: inputs in, outputs out. It knows no task, socket, clock or random number;
//! the shell carries its outputs out and brings their results back as inputs, and a simulation can do the
//! same with faults. At most one output of each kind is under way, except `TrimStream`, whose result nothing waits for.
//!
//! Here is what it knows, and the step: `following` is how entries get in, `polling` what it hears of the journal and of
//! the others, `restoring` how it has a state at all.

mod checkpoint;
mod cluster;
mod counts;
mod following;
mod io;
mod polling;
mod read_gate;
mod restoring;
#[cfg(test)]
mod trial;

use std::sync::Arc;
use std::time::Duration;

use placard_engine::{Engine, Reader};
use placard_model::entry::{Incarnation, Position};
use placard_model::{Version, limits};

use crate::committer::{Committer, Pending};
use crate::histogram::{COMMIT_ENTRIES_BOUNDS, COMMIT_MICROS_BOUNDS};
use crate::lease::Lease;
use crate::ports::{CommitError, Identity};
use crate::relay::{Relay, Work};
use crate::restores::Cause;
use crate::waiting::Waiting;
use crate::{Plan, Reply};

use checkpoint::Checkpoint;
pub use cluster::Cluster;
pub use counts::Counts;
use io::START;
pub use io::{Input, Moment, Now, Output, Phase, Purpose, Ticket};
use polling::{OfOther, Poll};
use read_gate::ReadGate;
pub use read_gate::{Facts, Lag, Terms, Verdict, Why};

/// What a replica is told when it starts.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Who it is.
    pub identity: Identity,
    /// How long its row in the register counts after each poll.
    pub lease: Duration,
    /// Most entries that the stream may hold.
    pub stream_entries_max: usize,
    /// The pause between two checkpoints; `None` for a replica that keeps none.
    pub checkpoint_every: Option<Duration>,
}

/// The state machine.
#[derive(Debug)]
pub struct Core {
    settings: Settings,
    engine: Engine,
    phase: Phase,
    committer: Committer,
    relay: Relay,
    waiting: Waiting,
    /// Whether what somebody waits for is being looked up in the log, for which state, and whether that has failed and is
    /// not tried again before the next head poll.
    looking_up: bool,
    lookup_for: Option<Position>,
    lookup_suspect: bool,
    /// How often a state was given up: what has been published before and what has been published since may be of two
    /// histories.
    history: u64,
    counts: Counts,
    /// The newest version known to be in the journal.
    head: Version,
    /// The version to reach before the replica is ready.
    target: Option<Version>,
    /// Which stream is followed; `None` before the journal has told which it is.
    stream: Option<Incarnation>,
    reading_stream: bool,
    /// What is under way has to do with another journal, or its stream, than the one that is followed now.
    of_other: OfOther,
    /// The stream brought something unusable; it is read again after the next head poll.
    stream_suspect: bool,
    /// The stream has brought a record whose predecessor it has forgotten.
    stream_gap: bool,
    healing: bool,
    /// The log could not be read, or not applied; it is read again after the next head poll.
    log_suspect: bool,
    restoring: bool,
    /// Why there is no state.
    restore_cause: Cause,
    /// When the next restore may begin.
    restore_due: Moment,
    /// The pause before that; it doubles while restores fail.
    restore_pause: Duration,
    poll: Poll,
    lease: Lease,
    gate: ReadGate,
    /// The last poll's, for whoever asks; `None` before the first.
    cluster: Option<Arc<Cluster>>,
    clock_ahead: i64,
    inspecting: bool,
    trim_due: Moment,
    checkpoint: Checkpoint,
    advance_due: Moment,
    draining: bool,
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
            waiting: Waiting::default(),
            looking_up: false,
            lookup_for: None,
            lookup_suspect: false,
            history: 0,
            counts: Counts::default(),
            head: 0,
            target: None,
            stream: None,
            reading_stream: false,
            of_other: OfOther::default(),
            stream_suspect: false,
            stream_gap: false,
            healing: false,
            log_suspect: false,
            restoring: false,
            restore_cause: Cause::Start,
            restore_due: START,
            restore_pause: limits::RETRY_PAUSE_MAX / 2,
            poll: Poll::new(),
            cluster: None,
            clock_ahead: 0,
            inspecting: false,
            trim_due: START,
            advance_due: START,
            draining: false,
        }
    }

    /// The readers' handle.
    pub fn reader(&self) -> Reader {
        self.engine.reader()
    }

    /// What it is doing.
    pub fn phase(&self) -> Phase {
        self.phase
    }

    /// How often what happened.
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// Requests that wait for a transaction.
    pub fn queued(&self) -> usize {
        self.committer.queued()
    }

    /// Bytes that they hold, about.
    pub fn queued_bytes(&self) -> usize {
        self.committer.queued_bytes()
    }

    /// Entries that are durable and that the stream is not known to have; beyond
    /// [`limits::UNAPPENDED_ENTRIES_MAX`] no more are counted.
    pub fn unappended(&self) -> usize {
        self.relay.len()
    }

    /// Requests that are durable and wait to be visible.
    pub fn unpublished(&self) -> usize {
        self.waiting.len()
    }

    /// How often it has given up a state: what was published before that may be of a history that is lost.
    pub fn history(&self) -> u64 {
        self.history
    }

    /// The newest version that it knows the journal to have.
    pub fn head(&self) -> Version {
        self.head
    }

    /// What it knows of the others; `None` before the first poll.
    pub fn cluster(&self) -> Option<&Arc<Cluster>> {
        self.cluster.as_ref()
    }

    /// What it knows of the age of what it has published.
    pub fn read_facts(&self) -> Facts {
        self.gate.facts()
    }

    /// What its readers are promised.
    pub fn read_terms(&self) -> Terms {
        self.gate.terms()
    }

    /// Whether reads are refused until something else happens, rather than because time passes.
    pub fn is_shut(&self) -> bool {
        self.gate.is_shut()
    }

    /// Whether the next head poll that succeeds will not be enough to answer reads again.
    pub fn wants_another_poll(&self, now: Moment) -> bool {
        self.gate.wants_another(now)
    }

    /// Whether the last head poll that has come back has told the journal of the state that there is now, and has
    /// not found it to be of another history.
    #[cfg(test)]
    pub(crate) fn is_compared(&self) -> bool {
        self.poll.compared
    }

    /// How many head polls it has sent.
    pub fn polls(&self) -> u64 {
        self.poll.number
    }

    /// By how many microseconds its clock was ahead of the journal's.
    pub fn clock_ahead(&self) -> i64 {
        self.clock_ahead
    }

    /// Whether it was asked to drain, and nothing is left to do.
    pub fn is_drained(&self) -> bool {
        self.draining
            && self.committer.is_idle()
            && self.waiting.len() == 0
            && (self.relay.is_idle() || self.relay.is_down())
    }

    /// When it wants a [`Input::Tick`], if nothing else happens before.
    pub fn wake_at(&self) -> Option<Moment> {
        let poll = (!self.poll.under_way).then_some(self.poll.due);
        let restoring = self.restoring || self.checkpoint.is_being_read() || self.target.is_none();
        let restore = (!self.phase.has_state() && !restoring).then_some(self.restore_due);
        let waking = [self.committer.wake_at(), self.waiting.wake_at(), self.relay.wake_at()];
        let advance = self.phase.has_state().then_some(self.advance_due);
        let own = [poll, restore, advance, self.lease.wake_at()];
        waking.into_iter().chain(own).flatten().min()
    }

    /// Takes one input and adds what is to be done to `outputs`.
    pub fn step(&mut self, at: Now, input: Input, outputs: &mut Vec<Output>) {
        let Now { moment: now, time, poll_after } = at;
        // Before what the journal has answered meanwhile: a replica that was held has been silent all the same.
        self.counts.lease_ends += u64::from(self.lease.ends(now));
        match input {
            Input::Submit(submitted, deadline) => {
                for (ticket, request) in submitted {
                    self.submit(Pending { ticket, request, deadline, answered: false }, outputs);
                }
            }
            Input::Committed(result) => self.committed(now, result, outputs),
            Input::Appended(result) => self.relay.appended(result.ok()),
            Input::StreamRead(result) => self.stream_read(result, outputs),
            Input::LogRead(Purpose::Relay, result) => {
                self.counts.relayed += self.relay.read(result.ok()) as u64;
            }
            Input::LogRead(Purpose::Heal, result) => self.log_read(result, outputs),
            Input::LogRead(Purpose::LookUp, result) => self.looked_up(result.ok(), outputs),
            Input::Polled(result) => {
                self.poll.due = now + poll_after;
                let head = result.as_ref().ok().map(|head| head.position.version);
                self.polled(now, result.ok(), outputs);
                match head {
                    Some(head) => {
                        self.gate.polled(self.poll.sent_at, now, head, self.poll.compared);
                    }
                    None => self.gate.failed(),
                }
            }
            Input::StreamInspected(result) => self.inspected(result.ok()),
            Input::StreamReset(result) => {
                self.counts.stream_resets += u64::from(result.is_ok());
                self.relay.reset(result.ok());
            }
            Input::StreamTrimmed(Ok(())) => self.counts.stream_trims += 1,
            Input::StreamTrimmed(Err(_)) => self.counts.stream_trims_failed += 1,
            Input::ClockCompared(ahead) => self.clock_ahead = ahead,
            Input::Restored(engine) => {
                self.poll.due = now;
                self.restore_pause = match &engine {
                    Some(_) => limits::RETRY_PAUSE_MAX,
                    None => (self.restore_pause * 2).min(limits::RESTORE_PAUSE_MAX),
                };
                self.restore_due = now + self.restore_pause;
                self.restored(engine, outputs);
            }
            Input::CheckpointLoaded(engine) => {
                self.checkpoint.read();
                // To be compared with the journal.
                self.poll.due = now;
                self.checkpoint_loaded(engine, outputs);
            }
            Input::CheckpointSaved(result) => self.checkpoint.written(result.is_ok()),
            Input::Tick => {}
            Input::Drain => self.draining = true,
        }
        let mut answer = |ticket, reply| outputs.push(Output::Answer(ticket, reply));
        self.committer.expire(now, &mut answer);
        self.waiting.expire(now, self.head, &mut answer);
        self.advance(now, time);
        let version = self.engine.reader().published().version;
        self.gate.published(self.phase.has_state().then_some(version));
        self.proceed(now, outputs);
    }

    fn submit(&mut self, pending: Pending, outputs: &mut Vec<Output>) {
        if self.draining {
            outputs.push(Output::Answer(pending.ticket, Reply::Unavailable));
        } else if let Err(ticket) = self.committer.submit(pending) {
            outputs.push(Output::Answer(ticket, Reply::Overloaded));
        }
    }

    fn committed(
        &mut self,
        now: Moment,
        result: Result<Plan, CommitError>,
        outputs: &mut Vec<Output>,
    ) {
        match &result {
            Ok(plan) => {
                self.counts.commits += 1;
                let entries = plan.log.len() as u64;
                self.counts.entries += entries;
                self.counts.commit_entries.record(&COMMIT_ENTRIES_BOUNDS, entries);
                let took = self.committer.under_way_for(now).unwrap_or_default();
                let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
                self.counts.commit_micros.record(&COMMIT_MICROS_BOUNDS, micros);
            }
            Err(CommitError::NotCommitted(_)) => self.counts.commits_failed += 1,
            Err(CommitError::Unknown(_)) => self.counts.commits_unknown += 1,
            Err(CommitError::Refused(_)) => self.counts.commits_refused += 1,
        }
        if let Ok(plan) = &result {
            self.head = self.head.max(plan.head.version);
            self.apply_own(plan, outputs);
        }
        // A version's number says nothing: the engine may hold another history under it, until the replica has noticed and
        // has restored. What is not certain now is looked up by its chain.
        let applied = self.phase.has_state().then(|| self.engine.applied());
        for decided in self.committer.returned(now, &result) {
            let (pending, answer) = (decided.pending, decided.answer);
            if pending.answered {
                continue;
            }
            let Some(answer) = answer else {
                outputs.push(Output::Answer(pending.ticket, Reply::Unknown));
                continue;
            };
            let wrote = answer.outcomes.iter().any(|outcome| outcome.entry().is_some());
            if let Ok(plan) = &result
                && wrote
                && applied != Some(plan.head)
            {
                let awaited = plan.awaited(answer.version);
                self.waiting.insert(pending.ticket, answer, awaited, pending.deadline);
            } else {
                outputs.push(Output::Answer(pending.ticket, Reply::Applied(answer)));
            }
        }
        let of_other = std::mem::take(&mut self.of_other.commit);
        if let Ok(plan) = result
            && !of_other
        {
            self.relay.push(plan.log.into_iter().map(|row| row.record));
        }
    }

    /// Starts what can be started.
    fn proceed(&mut self, now: Moment, outputs: &mut Vec<Output>) {
        outputs.extend(self.committer.next(now, self.format_level()).map(Output::Commit));
        self.relay_next(now, outputs);
        self.poll_next(now, outputs);
        if self.phase.has_state() {
            self.save_checkpoint(now, outputs);
            self.follow(outputs);
            self.look_up(outputs);
        } else {
            self.restore(now, outputs);
        }
    }

    fn relay_next(&mut self, now: Moment, outputs: &mut Vec<Output>) {
        let Some(stream) = self.stream else { return };
        let output = match self.relay.next(now, self.engine.applied().version) {
            None => return,
            Some(Work::Append(records)) => Output::Append(stream, records),
            Some(Work::Read(after, max)) => Output::ReadLog(Purpose::Relay, after, max),
            Some(Work::Reset(top, chain)) => Output::ResetStream(stream, top, chain),
            // One under way for the poll will do.
            Some(Work::Inspect) if self.inspecting => return,
            Some(Work::Inspect) => {
                self.inspecting = true;
                Output::InspectStream(stream)
            }
        };
        outputs.push(output);
    }
}
