//! The replica as a state machine: inputs in, outputs out. It knows no task, socket, clock or random number;
//! the shell carries its outputs out and brings their results back as inputs, and a simulation can do the
//! same with faults. Of every kind of output that has a result, at most one is under way.

mod checkpoint;
mod cluster;
mod counts;
mod io;

use std::sync::Arc;
use std::time::Duration;

use placard_engine::{Engine, Reader, Refusal};
use placard_model::entry::{FORMAT_LEVEL_MIN, Position, Record};
use placard_model::{Timestamp, Undecodable, Version, limits};

use crate::committer::{Committer, Pending};
use crate::histogram::{COMMIT_ENTRIES_BOUNDS, COMMIT_MICROS_BOUNDS};
use crate::lease::Lease;
use crate::ports::{Beat, CommitError, Head, Identity, Standing, StreamStatus, Unavailable};
use crate::relay::{Relay, Work};
use crate::restores::Cause;
use crate::waiting::Waiting;
use crate::{Plan, Reply};

use checkpoint::Checkpoint;
use cluster::Asked;
pub use cluster::Cluster;
pub use counts::Counts;
use io::START;
pub use io::{Input, Moment, Now, Output, Phase, Purpose, Ticket};

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
    counts: Counts,
    /// The newest version known to be in the journal.
    head: Version,
    /// The version to reach before the replica is ready.
    target: Option<Version>,
    reading_stream: bool,
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
    /// The last poll's, for whoever asks; `None` before the first.
    cluster: Option<Arc<Cluster>>,
    clock_ahead: i64,
    inspecting: bool,
    trim_due: Moment,
    checkpoint: Checkpoint,
    advance_due: Moment,
    draining: bool,
}

/// The head poll: when the next is due, and where the engine stood when the one under way was sent.
#[derive(Debug)]
struct Poll {
    due: Moment,
    under_way: bool,
    /// How many were sent.
    number: u64,
    sent_at: Moment,
    /// `None` if the engine has been given up since.
    sent: Option<Position>,
    /// The applied version at the last poll that found the head ahead.
    behind_at: Option<Version>,
    /// Whether the last one that has come back was sent with the state that there is now, and fits it.
    compared: bool,
}

impl Core {
    /// A replica that knows nothing yet; its first step asks for a restore.
    pub fn new(settings: Settings) -> Self {
        Self {
            checkpoint: Checkpoint::new(settings.checkpoint_every),
            lease: Lease::new(settings.lease),
            settings,
            engine: Engine::new(),
            phase: Phase::Restoring,
            committer: Committer::default(),
            relay: Relay::default(),
            waiting: Waiting::default(),
            counts: Counts::default(),
            head: 0,
            target: None,
            reading_stream: false,
            stream_suspect: false,
            stream_gap: false,
            healing: false,
            log_suspect: false,
            restoring: false,
            restore_cause: Cause::Start,
            restore_due: START,
            restore_pause: limits::RETRY_PAUSE_MAX / 2,
            poll: Poll {
                due: START,
                under_way: false,
                number: 0,
                sent_at: START,
                sent: None,
                behind_at: None,
                compared: false,
            },
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

    /// The newest version that it knows the journal to have.
    pub fn head(&self) -> Version {
        self.head
    }

    /// What it knows of the others; `None` before the first poll.
    pub fn cluster(&self) -> Option<&Arc<Cluster>> {
        self.cluster.as_ref()
    }

    /// Whether the last head poll that has come back has told the journal of the state that there is now, and has
    /// not found it to be of another history.
    pub fn is_compared(&self) -> bool {
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
            Input::Submit(ticket, request, deadline) => {
                self.submit(Pending { ticket, request, deadline, answered: false }, outputs);
            }
            Input::Committed(result) => self.committed(now, result, outputs),
            Input::Appended(result) => self.relay.appended(result.ok()),
            Input::StreamRead(result) => self.stream_read(result, outputs),
            Input::LogRead(Purpose::Relay, result) => {
                self.counts.relayed += self.relay.read(result.ok()) as u64;
            }
            Input::LogRead(Purpose::Heal, result) => self.log_read(result, outputs),
            Input::Polled(result) => {
                self.poll.due = now + poll_after;
                self.polled(now, result.ok(), outputs);
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
        self.waiting.expire(now, &mut answer);
        self.advance(now, time);
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
            if wrote && answer.version > self.engine.applied().version {
                self.waiting.insert(pending.ticket, answer, pending.deadline);
            } else {
                outputs.push(Output::Answer(pending.ticket, Reply::Applied(answer)));
            }
        }
        if let Ok(plan) = result {
            self.relay.push(plan.log.into_iter().map(|row| row.record));
        }
    }

    /// What this replica has just committed it need not wait for the stream to bring, if it has everything before.
    fn apply_own(&mut self, plan: &Plan, outputs: &mut Vec<Output>) {
        let first = plan.log.first().map(|row| row.record.version);
        if first != Some(self.engine.applied().version + 1) {
            return;
        }
        let records: Vec<_> = plan.log.iter().map(|row| row.record.clone()).collect();
        // A refusal for any other reason is looked into when the stream or a poll brings the same.
        if let Err(refusal @ Refusal::Diverged(_)) = self.apply(&records, outputs) {
            self.discard(&refusal);
        }
    }

    fn stream_read(&mut self, result: Result<Vec<Record>, Unavailable>, outputs: &mut Vec<Output>) {
        self.reading_stream = false;
        match result {
            Err(_) => self.stream_suspect = true,
            Ok(records) => {
                match self.apply(&records, outputs) {
                    Ok(()) => {}
                    Err(refusal @ Refusal::Diverged(_)) => self.discard(&refusal),
                    // What was forgotten is not wrong; the journal has it.
                    Err(Refusal::Gap { .. }) => {
                        self.stream_gap = true;
                        self.counts.stream_gaps += 1;
                        self.heal(outputs);
                    }
                    Err(refusal) => {
                        self.stream_suspect = true;
                        self.counts.stream_rejects += 1;
                        // A poison entry is the journal's own; anything else is not.
                        if !matches!(refusal, Refusal::Poison(..)) {
                            self.relay.suspect();
                        }
                        self.heal(outputs);
                    }
                }
            }
        }
    }

    fn log_read(&mut self, result: Result<Vec<Record>, Unavailable>, outputs: &mut Vec<Output>) {
        self.healing = false;
        let gap = std::mem::take(&mut self.stream_gap);
        let Ok(records) = result else {
            self.log_suspect = true;
            return;
        };
        let (applied, whole_page) =
            (self.engine.applied().version, records.len() >= limits::READ_ENTRIES_MAX);
        let result = self.apply(&records, outputs);
        // What the stream did not bring here it does not bring to others: whoever notices relays it.
        let upto = self.engine.applied().version;
        // A stream that is ahead of the journal is not read again at once, and neither is a journal that has
        // nothing more.
        self.stream_suspect |= gap && upto == applied;
        self.log_suspect |= upto == applied;
        self.relay.push(records.into_iter().filter(|record| record.version <= upto));
        match result {
            Ok(()) if whole_page && self.engine.applied().version > applied => self.heal(outputs),
            Ok(()) => {}
            // Written before this replica was on the register. A snapshot is behind it, and from now on nothing
            // is written that this replica cannot read.
            Err(refusal @ Refusal::Poison(_, Undecodable::TooNew(_))) => self.discard(&refusal),
            // Whatever is wrong is wrong in every copy: stay before it, keep serving, ask again at the next poll.
            Err(Refusal::Poison(..)) => self.log_suspect = true,
            Err(refusal) => self.discard(&refusal),
        }
    }

    /// Applies what follows, skips what is old, and publishes, whether or not all could be applied.
    fn apply(&mut self, records: &[Record], outputs: &mut Vec<Output>) -> Result<(), Refusal> {
        if !self.phase.has_state() {
            return Ok(());
        }
        // Readers see entries soon while a few come at a time; a catch-up publishes as seldom as it is read.
        let catching_up = records.len() >= limits::READ_ENTRIES_MAX;
        let most = if catching_up { records.len() } else { limits::PUBLISH_ENTRIES_MAX };
        let refused = records.chunks(most.max(1)).find_map(|some| {
            let before = self.engine.applied().version;
            let refused = self.engine.apply_all(some).err();
            let applied = self.engine.applied().version - before;
            self.counts.applied += applied;
            if applied > 0 {
                self.publish(outputs);
            }
            refused
        });
        match refused {
            None => Ok(()),
            Some(refusal) => {
                self.counts.diverged += u64::from(matches!(refusal, Refusal::Diverged(_)));
                self.counts.poison += u64::from(matches!(refusal, Refusal::Poison(..)));
                Err(refusal)
            }
        }
    }

    /// Now and then, lets ads begin and end in the index.
    fn advance(&mut self, now: Moment, time: Timestamp) {
        if !self.phase.has_state() || now < self.advance_due {
            return;
        }
        self.advance_due = now + limits::INDEX_ADVANCE;
        if self.engine.advance(time) {
            self.engine.publish();
        }
    }

    fn publish(&mut self, outputs: &mut Vec<Output>) {
        let position = self.engine.publish();
        self.head = self.head.max(position.version);
        outputs.push(Output::Published(position));
        self.waiting.published(position.version, |ticket, reply| {
            outputs.push(Output::Answer(ticket, reply));
        });
        if self.phase == Phase::CatchingUp
            && self.target.is_some_and(|target| position.version >= target)
        {
            self.phase = Phase::Ready;
        }
    }

    fn polled(&mut self, now: Moment, head: Option<Head>, outputs: &mut Vec<Output>) {
        self.poll.under_way = false;
        self.poll.compared = false;
        let sent = self.poll.sent.take();
        // Whatever failed is tried again, whether or not the journal answers.
        self.relay.retry();
        self.log_suspect = false;
        let suspect = std::mem::take(&mut self.stream_suspect);
        let Some(head) = head else {
            // A checkpoint, and no journal to tell how old it is: reads are better answered from it than not.
            if self.phase == Phase::CatchingUp && self.target.is_none() {
                self.phase = Phase::Ready;
            }
            return;
        };
        self.lease.renew(self.poll.sent_at, now);
        self.trim_stream(now, &head, outputs);
        let (position, chain_at) = (head.position, head.chain_at);
        let asked = Asked { poll: self.poll.number, sent: self.poll.sent_at, returned: now };
        self.cluster = Some(Arc::new(Cluster::polled(self.cluster.as_deref(), head, asked)));
        // The head read after registering: a replica is ready when it is there.
        let target = *self.target.get_or_insert(position.version);
        let Some(sent) = sent else { return };
        // A head below what was applied when the poll was sent, or another chain at that version: the journal
        // tells another history than the one this state comes from, and the journal is the truth.
        let forked = position.version < sent.version
            || chain_at.is_some_and(|chain| chain != sent.chain)
            || (position.version == sent.version && position != sent);
        if forked {
            self.counts.forks += 1;
            self.head = position.version;
            self.target = Some(position.version);
            self.relay.suspect();
            self.give_up(Cause::Fork);
            return;
        }
        self.poll.compared = true;
        let applied = self.engine.applied().version;
        // What was known of a head may have been lost with a server that failed over.
        self.head = position.version.max(applied);
        if self.phase == Phase::CatchingUp && applied >= target {
            self.phase = Phase::Ready;
        }
        let lags = position.version > applied;
        let stuck =
            suspect || self.poll.behind_at == Some(applied) || self.phase == Phase::CatchingUp;
        self.poll.behind_at = lags.then_some(applied);
        if lags && stuck {
            self.heal(outputs);
        }
    }

    /// Now and then, what no live replica needs any more is dropped from the stream, and what is beyond its
    /// bound whether needed or not: a replica that is stuck must not fill the broker, and heals from the
    /// journal.
    fn trim_stream(&mut self, now: Moment, head: &Head, outputs: &mut Vec<Output>) {
        if now < self.trim_due {
            return;
        }
        self.trim_due = now + limits::STREAM_TRIM;
        let live = head.members.iter().filter(|member| member.lease_until > head.now);
        let needed = live.map(|member| member.standing.published.version).min();
        let keep = needed.unwrap_or(0).saturating_sub(limits::STREAM_SPARE);
        outputs.push(Output::TrimStream(keep, self.settings.stream_entries_max));
    }

    fn inspected(&mut self, status: Option<StreamStatus>) {
        self.inspecting = false;
        self.relay.inspected(status.as_ref());
        if let (Some(cluster), Some(stream)) = (&self.cluster, status) {
            self.cluster = Some(Arc::new(cluster.inspected(stream)));
        }
    }

    /// The newest format that all registered replicas read; until the register is known, the oldest.
    fn format_level(&self) -> u8 {
        let members = self.cluster.iter().flat_map(|cluster| &cluster.members);
        let oldest = members.map(|member| member.identity.format_level).min();
        let own = self.settings.identity.format_level;
        oldest.unwrap_or(FORMAT_LEVEL_MIN).clamp(FORMAT_LEVEL_MIN, own)
    }

    fn beat(&self) -> Beat {
        // What it had before it gave its state up confirms nothing.
        let published =
            if self.phase.has_state() { self.engine.applied() } else { Position::START };
        let standing = Standing {
            state: if self.draining { "draining" } else { self.phase.code() }.to_owned(),
            published,
            clock_ahead: self.clock_ahead,
            tails_journal: self.relay.is_down() || self.stream_suspect,
        };
        let (identity, lease) = (self.settings.identity.clone(), self.settings.lease);
        Beat { identity, standing, lease }
    }

    /// Reads from the journal what the stream did not bring.
    fn heal(&mut self, outputs: &mut Vec<Output>) {
        if !self.healing && self.phase.has_state() {
            self.healing = true;
            self.counts.heals += 1;
            let applied = self.engine.applied().version;
            outputs.push(Output::ReadLog(Purpose::Heal, applied, limits::READ_ENTRIES_MAX));
        }
    }

    /// Gives the state up because of what was refused; it is built anew from the journal.
    fn discard(&mut self, refusal: &Refusal) {
        self.counts.forks += u64::from(matches!(refusal, Refusal::Fork(_)));
        self.give_up(Cause::of(refusal));
    }

    fn give_up(&mut self, cause: Cause) {
        self.phase = if cause == Cause::Digest { Phase::Quarantined } else { Phase::Restoring };
        self.restore_cause = cause;
        self.poll.sent = None;
        self.poll.compared = false;
        self.poll.due = START;
    }

    fn restored(&mut self, engine: Option<Box<Engine>>, outputs: &mut Vec<Output>) {
        self.restoring = false;
        let Some(engine) = engine else { return };
        self.counts.restores.count(self.restore_cause);
        self.checkpoint.forget();
        self.engine.replace_with(*engine);
        self.phase = Phase::CatchingUp;
        self.publish(outputs);
    }

    fn checkpoint_loaded(&mut self, engine: Option<Box<Engine>>, outputs: &mut Vec<Output>) {
        let Some(engine) = engine else { return };
        // One that is as old as an empty log says nothing.
        if engine.applied().version == 0 {
            return;
        }
        self.counts.checkpoints_loaded += 1;
        self.checkpoint.used(engine.applied().version);
        self.engine.replace_with(*engine);
        self.phase = Phase::CatchingUp;
        self.publish(outputs);
    }

    fn save_checkpoint(&mut self, now: Moment, outputs: &mut Vec<Output>) {
        let applied = self.engine.applied();
        let fit = (self.phase == Phase::Ready).then_some(applied.version);
        if self.checkpoint.begin_writing(now, fit) {
            outputs.push(Output::SaveCheckpoint(applied, self.engine.snapshot()));
        }
    }

    /// Starts what can be started.
    fn proceed(&mut self, now: Moment, outputs: &mut Vec<Output>) {
        outputs.extend(self.committer.next(now, self.format_level()).map(Output::Commit));
        self.relay_next(now, outputs);
        if !self.poll.under_way && now >= self.poll.due {
            let applied = self.engine.applied();
            self.poll.under_way = true;
            self.poll.number += 1;
            self.poll.sent_at = now;
            self.poll.sent = self.phase.has_state().then_some(applied);
            outputs.push(Output::Poll(self.beat(), applied.version));
            if !self.inspecting {
                self.inspecting = true;
                outputs.push(Output::InspectStream);
            }
        }
        if !self.phase.has_state() {
            // Registered first: from then on the others wait for this replica before they call a write
            // confirmed by all.
            let registered = self.target.is_some();
            if self.checkpoint.begin_reading() {
                outputs.push(Output::LoadCheckpoint);
            }
            let reading = self.checkpoint.is_being_read();
            if registered && !reading && !self.restoring && now >= self.restore_due {
                self.restoring = true;
                outputs.push(Output::Restore);
            }
            return;
        }
        self.save_checkpoint(now, outputs);
        if !self.reading_stream && !self.stream_suspect && !self.healing {
            self.reading_stream = true;
            outputs.push(Output::ReadStream(self.engine.applied().version));
        }
        let stream_fails = self.relay.is_down() || self.stream_suspect;
        if stream_fails && !self.log_suspect && self.head > self.engine.applied().version {
            self.heal(outputs);
        }
    }

    fn relay_next(&mut self, now: Moment, outputs: &mut Vec<Output>) {
        let output = match self.relay.next(now, self.engine.applied().version) {
            None => return,
            Some(Work::Append(records)) => Output::Append(records),
            Some(Work::Read(after, max)) => Output::ReadLog(Purpose::Relay, after, max),
            Some(Work::Reset(top, chain)) => Output::ResetStream(top, chain),
            // One under way for the poll will do.
            Some(Work::Inspect) if self.inspecting => return,
            Some(Work::Inspect) => {
                self.inspecting = true;
                Output::InspectStream
            }
        };
        outputs.push(output);
    }
}
