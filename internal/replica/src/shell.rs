//! The tokio side of the core: one task that owns it, one worker per port operation, and the handle through
//! which the rest of the process reads and writes. Every channel is bounded and private to this file.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use placard_engine::{Builder, Engine, Reader};
use placard_model::command::Request;
use placard_model::entry::FORMAT_LEVEL;
use placard_model::entry::Position;
use placard_model::{EncodedAd, Timestamp, Undecodable, Version, limits};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;
use uuid::Uuid;

use crate::core::{
    Cluster, Core, Counts, Input, Moment, Now, Output, Phase, Purpose, Settings, Ticket,
};
use crate::freshness::Renewal;
use crate::ports::{Cause, Checkpoints, Identity, Journal, Member, Stream, Unavailable};
use crate::spans::Sink;
use crate::traced::{self, Applying};
use crate::{Clock, Freshness, Reply, Uptime, healing};

/// Results between the workers and the core: at most one of each kind is under way.
const RESULTS: usize = 16;
/// The pause between head polls while somebody waits for all replicas.
const IMPATIENT_POLL: Duration = Duration::from_millis(25);
/// Chunks of ads between the journal and the engine's builder.
const SNAPSHOT_CHUNKS: usize = 4;

/// How a replica is run.
#[derive(Debug, Clone)]
pub struct Config {
    /// Where clients reach this replica, as `host:port`.
    pub address: String,
    /// The build's version.
    pub build: String,
    /// How long this replica counts as live after a head poll.
    pub lease: Duration,
    /// How long after the end of its lease it answers no reads any more; `None` if it goes on.
    pub refuses_after: Option<Duration>,
    /// Most entries that the stream may hold.
    pub stream_entries_max: usize,
    /// The pause between two checkpoints; `None` for a replica that keeps none.
    pub checkpoint_every: Option<Duration>,
    /// How long a write may take before its client is answered without a definite result.
    pub write_deadline: Duration,
    /// The pause between two reads of the journal's head, before jitter.
    pub head_poll: Duration,
    /// Where the spans of traced writes go.
    pub spans: Sink,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            address: String::new(),
            build: env!("CARGO_PKG_VERSION").to_owned(),
            lease: limits::LEASE,
            refuses_after: None,
            stream_entries_max: limits::STREAM_ENTRIES_MAX,
            checkpoint_every: None,
            write_deadline: limits::WRITE_DEADLINE,
            head_poll: limits::HEAD_POLL,
            spans: None,
        }
    }
}

/// What a replica says of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct State {
    /// What it is doing.
    pub phase: Phase,
    /// Whether it is about to stop.
    pub draining: bool,
    /// What readers see.
    pub published: Position,
    /// The newest version known to be in the journal.
    pub head: Version,
    /// Requests that wait for a transaction.
    pub queued: usize,
    /// Bytes that they hold, about.
    pub queued_bytes: usize,
    /// Entries that are durable and that the stream is not known to have.
    pub unappended: usize,
    /// Requests that are durable and wait to be visible.
    pub unpublished: usize,
    /// By how many microseconds this replica's clock was ahead of the journal's.
    pub clock_ahead: i64,
    /// How often what happened.
    pub counts: Counts,
}

/// The queue is full; nothing was taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the write queue is full")]
pub struct Overloaded;

/// The replica has stopped before it was asked to.
#[derive(Debug, thiserror::Error)]
#[error("a task of the replica has ended unexpectedly")]
pub struct Stopped(#[from] tokio::task::JoinError);

/// What handlers hold: reads from memory, writes through the queue.
#[derive(Debug, Clone)]
pub struct Handle {
    submissions: mpsc::Sender<Submission>,
    reader: Reader,
    clock: Clock,
    replica: Uuid,
    freshness: Freshness,
    state: watch::Receiver<State>,
    cluster: watch::Receiver<Option<Arc<Cluster>>>,
    /// How many wait for all replicas; while any does, the register is read more often.
    impatient: Arc<AtomicUsize>,
}

/// Which replicas have published a version, and which have not said so in time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Receipts {
    /// Those that have.
    pub confirmed: Vec<Member>,
    /// Those that have not.
    pub unconfirmed: Vec<Member>,
}

/// One who waits for all replicas, counted until it has been answered or has gone.
struct Impatient<'a>(&'a AtomicUsize);

impl<'a> Impatient<'a> {
    fn new(waiting: &'a AtomicUsize) -> Self {
        waiting.fetch_add(1, Ordering::Relaxed);
        Self(waiting)
    }
}

impl Drop for Impatient<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[derive(Debug)]
struct Submission {
    request: Request,
    reply: oneshot::Sender<Reply>,
}

/// A running replica.
#[derive(Debug)]
pub struct Replica {
    handle: Handle,
    drain: watch::Sender<bool>,
    tasks: JoinSet<()>,
}

impl Handle {
    /// Reads from what is published.
    pub fn reader(&self) -> &Reader {
        &self.reader
    }

    /// What time it is for reads.
    pub fn clock(&self) -> &Clock {
        &self.clock
    }

    /// What the replica says of itself.
    pub fn state(&self) -> State {
        *self.state.borrow()
    }

    /// How long ago the journal was heard of.
    pub fn freshness(&self) -> &Freshness {
        &self.freshness
    }

    /// Has a request decided. It goes on even if the returned future is dropped.
    ///
    /// # Errors
    /// The queue is full.
    pub async fn write(&self, request: Request) -> Result<Reply, Overloaded> {
        let (reply, answered) = oneshot::channel();
        self.submissions.try_send(Submission { request, reply }).map_err(|_| Overloaded)?;
        // A core that is gone answers nobody, and cannot say whether it had committed.
        Ok(answered.await.unwrap_or(Reply::Unknown))
    }

    /// Waits until readers see `version`, at most `wait`; whether they do.
    pub async fn published(&self, version: Version, wait: Duration) -> bool {
        if self.reader.published().version >= version {
            return true;
        }
        let mut state = self.state.clone();
        let reached = state.wait_for(|state| state.published.version >= version);
        matches!(tokio::time::timeout(wait, reached).await, Ok(Ok(_)))
    }

    /// This replica's name in the register.
    pub fn replica(&self) -> Uuid {
        self.replica
    }

    /// What is known of the cluster; `None` before the first head poll.
    pub fn cluster(&self) -> Option<Arc<Cluster>> {
        self.cluster.borrow().clone()
    }

    /// Waits until every registered replica has published `version`, or answers nobody any more, at most `wait`.
    pub async fn confirmed(&self, version: Version, wait: Duration) -> Receipts {
        let _impatient = Impatient::new(&self.impatient);
        let mut cluster = self.cluster.clone();
        // Only a register read at or after the version tells who must have it: whoever joins later shows nothing
        // older, unless it may show what is stale.
        let reached = cluster.wait_for(|cluster| {
            cluster.as_ref().is_some_and(|cluster| {
                let confirms = |member: &Member| confirms(member, version, cluster.now);
                cluster.head.version >= version && cluster.members.iter().all(confirms)
            })
        });
        // In time or not, the receipts say how far everyone is.
        let _ = tokio::time::timeout(wait, reached).await;
        let cluster = self.cluster();
        let members = cluster.iter().flat_map(|cluster| cluster.members.iter().cloned());
        let late = cluster.as_ref().is_none_or(|cluster| cluster.head.version < version);
        let now = cluster.as_ref().map_or(Timestamp::MIN, |cluster| cluster.now);
        let (confirmed, unconfirmed) =
            members.partition(|member| !late && confirms(member, version, now));
        Receipts { confirmed, unconfirmed }
    }

    /// Waits until the replica is ready.
    pub async fn ready(&self) {
        let mut state = self.state.clone();
        // An error means that the replica has stopped, and then nobody needs to be told that it is ready.
        let _ = state.wait_for(|state| state.phase == Phase::Ready).await;
    }
}

impl Replica {
    /// Starts a replica on a journal, a stream and a place for checkpoints; it restores by itself.
    pub fn start<J: Journal, S: Stream, C: Checkpoints>(
        journal: J,
        stream: S,
        checkpoints: C,
        config: Config,
    ) -> Self {
        let replica = Uuid::new_v4();
        let core = Core::new(Settings {
            identity: Identity {
                replica,
                address: config.address.clone(),
                build: config.build.clone(),
                format_level: FORMAT_LEVEL,
                refuses_after: config.refuses_after,
            },
            lease: config.lease,
            stream_entries_max: config.stream_entries_max,
            checkpoint_every: config.checkpoint_every,
        });
        let clock = Clock::start();
        let renewal = Renewal::new(config.lease, config.refuses_after);
        let (submissions, submitted) = mpsc::channel(limits::SUBMISSIONS_MAX);
        let (state, watched) = watch::channel(state_of(&core, false));
        let (cluster, cluster_watched) = watch::channel(None);
        let (drain, draining) = watch::channel(false);
        let impatient = Arc::new(AtomicUsize::new(0));
        let handle = Handle {
            submissions,
            reader: core.reader(),
            clock: clock.clone(),
            replica,
            freshness: renewal.freshness(),
            state: watched,
            cluster: cluster_watched,
            impatient: Arc::clone(&impatient),
        };
        let mut tasks = JoinSet::new();
        let (results, returned) = mpsc::channel(RESULTS);
        let ports = Ports {
            journal: journal.clone(),
            stream,
            checkpoints,
            clock: clock.clone(),
            spans: config.spans.clone(),
        };
        let workers = Workers::start(&mut tasks, &ports, &results);
        let shell = Shell {
            core,
            clock,
            renewal,
            origin: Instant::now(),
            // Replicas that start together must not poll together.
            rng: ChaCha8Rng::seed_from_u64(replica.as_u64_pair().0),
            config,
            workers,
            replies: HashMap::new(),
            tickets: 0,
            impatient,
            state,
            cluster,
        };
        let run = shell.run(submitted, returned, draining);
        tasks.spawn(async move {
            run.await;
            if let Err(error) = journal.leave(replica).await {
                tracing::warn!(%error, "cannot leave the register; the lease will end");
            }
        });
        Self { handle, drain, tasks }
    }

    /// The handle for reads and writes.
    pub fn handle(&self) -> &Handle {
        &self.handle
    }

    /// Waits until a task of the replica ends, which none does before [`Replica::stop`].
    pub async fn failed(&mut self) -> Option<Stopped> {
        self.tasks.join_next().await?.err().map(Stopped)
    }

    /// Finishes what is queued, for at most `wait`, and stops. Returns whether all was finished.
    ///
    /// # Errors
    /// A task has panicked.
    pub async fn stop(mut self, wait: Duration) -> Result<bool, Stopped> {
        self.drain.send_replace(true);
        let all = async {
            while let Some(ended) = self.tasks.join_next().await {
                ended?;
            }
            Ok(true)
        };
        tokio::time::timeout(wait, all).await.unwrap_or(Ok(false))
    }
}

fn state_of(core: &Core, draining: bool) -> State {
    State {
        phase: core.phase(),
        draining,
        published: core.reader().published(),
        head: core.head(),
        queued: core.queued(),
        queued_bytes: core.queued_bytes(),
        unappended: core.unappended(),
        unpublished: core.unpublished(),
        clock_ahead: core.clock_ahead(),
        counts: core.counts(),
    }
}

/// Whether nobody is shown anything older than `version` by this replica, at `now` by the journal's clock.
fn confirms(member: &Member, version: Version, now: Timestamp) -> bool {
    let published = member.standing.published.version >= version;
    let refuses = member.identity.refuses_after.is_some_and(|after| {
        let micros = i64::try_from(after.as_micros()).unwrap_or(i64::MAX);
        now > member.lease_until.saturating_add_micros(micros)
    });
    published || refuses
}

/// The task that owns the core.
struct Shell {
    core: Core,
    clock: Clock,
    renewal: Renewal,
    origin: Instant,
    rng: ChaCha8Rng,
    config: Config,
    workers: Workers,
    replies: HashMap<Ticket, oneshot::Sender<Reply>>,
    tickets: Ticket,
    impatient: Arc<AtomicUsize>,
    state: watch::Sender<State>,
    cluster: watch::Sender<Option<Arc<Cluster>>>,
}

/// A result from a worker, as the core takes it, when its job was begun and how long it took.
struct Returned {
    input: Input,
    begun: Uptime,
    took: Duration,
}

impl Shell {
    async fn run(
        mut self,
        mut submitted: mpsc::Receiver<Submission>,
        mut returned: mpsc::Receiver<Returned>,
        mut draining: watch::Receiver<bool>,
    ) {
        let mut outputs = Vec::new();
        let mut drain = false;
        let mut polled = None;
        self.step(Input::Tick, &mut outputs);
        while !self.core.is_drained() {
            let wake_at = self.core.wake_at();
            let wake = async {
                match wake_at {
                    Some(moment) => tokio::time::sleep_until((self.origin + moment.0).into()).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                Some(result) = returned.recv() => {
                    self.anchor(&result, &mut outputs);
                    polled = match &result.input {
                        Input::Polled(Ok(head)) => Some((result.begun, head.position.version)),
                        _ => None,
                    };
                    self.step(result.input, &mut outputs);
                }
                Ok(()) = draining.changed(), if !drain => {
                    drain = true;
                    self.step(Input::Drain, &mut outputs);
                }
                Some(submission) = submitted.recv() => {
                    self.submit(submission, &mut outputs);
                    // What came together is committed together: take all in before the next step is waited for.
                    for _ in 0..limits::SUBMISSIONS_MAX {
                        let Ok(submission) = submitted.try_recv() else { break };
                        self.submit(submission, &mut outputs);
                    }
                }
                () = wake => self.step(Input::Tick, &mut outputs),
            }
            let state = state_of(&self.core, drain);
            self.state.send_if_modified(|old| std::mem::replace(old, state) != state);
            self.answer_again(polled.take(), state);
            let cluster = self.core.cluster();
            self.cluster.send_if_modified(|old| {
                let changed = old.as_ref().map(Arc::as_ptr) != cluster.map(Arc::as_ptr);
                if changed {
                    *old = cluster.cloned();
                }
                changed
            });
        }
    }

    fn submit(&mut self, submission: Submission, outputs: &mut Vec<Output>) {
        self.tickets += 1;
        self.replies.insert(self.tickets, submission.reply);
        let deadline = Moment(self.origin.elapsed()) + self.config.write_deadline;
        let input = Input::Submit(self.tickets, Arc::new(submission.request), deadline);
        self.step(input, outputs);
    }

    fn anchor(&mut self, result: &Returned, outputs: &mut Vec<Output>) {
        if let Input::Polled(Ok(head)) = &result.input {
            let ahead = self.clock.anchor(head.now, result.took);
            self.step(Input::ClockCompared(ahead), outputs);
        }
    }

    /// Renews the lease that readers ask about, after the state is known that the poll has led to.
    fn answer_again(&mut self, polled: Option<(Uptime, Version)>, state: State) {
        if let Some((sent, head)) = polled {
            self.renewal.polled(sent, head);
        }
        self.renewal.published(state.phase.has_state().then_some(state.published.version));
    }

    /// The pause until the next head poll.
    fn poll_after(&mut self, input: &Input) -> Duration {
        let jitter = self.rng.random_range(0.8..1.2);
        let resumes = matches!(input, Input::Polled(Ok(_))) && self.renewal.is_over();
        let waited_for = resumes || self.impatient.load(Ordering::Relaxed) > 0;
        let pause = if waited_for { IMPATIENT_POLL } else { self.config.head_poll };
        pause.mul_f64(jitter)
    }

    fn step(&mut self, input: Input, outputs: &mut Vec<Output>) {
        report(&input);
        let (before, counted) = (self.core.phase(), self.core.counts());
        let poll_after = self.poll_after(&input);
        let (moment, time) = (Moment(self.origin.elapsed()), self.clock.now());
        let spans = self.config.spans.as_deref();
        let published = |core: &Core| core.reader().published().version;
        let applying = spans.and_then(|_| Applying::of(&input, published(&self.core)));
        self.core.step(Now { moment, time, poll_after }, input, outputs);
        if let (Some(applying), Some(spans)) = (applying, spans) {
            applying.done(spans, published(&self.core));
        }
        healing::report(&counted, &self.core.counts());
        let after = self.core.phase();
        if before != after {
            let version = self.core.reader().published().version;
            tracing::info!(from = ?before, to = ?after, version, "phase changed");
        }
        for output in outputs.drain(..) {
            match output {
                Output::Answer(ticket, reply) => {
                    if let Some(waiting) = self.replies.remove(&ticket) {
                        // A client that has gone away needs no answer.
                        let _ = waiting.send(reply);
                    }
                }
                Output::Published(_) => {}
                work => self.workers.hand_out(work),
            }
        }
    }
}

/// Says in the log what went wrong, once, where it is first seen.
fn report(input: &Input) {
    fn warn(what: &str, error: &dyn std::error::Error) {
        let cause = error.source().map(ToString::to_string);
        tracing::warn!(error = %error, cause, "{what}");
    }
    match input {
        Input::Committed(Err(error)) => warn("a batch was not committed", error),
        Input::Appended(Err(error)) => warn("the stream takes no entries", error),
        Input::StreamRead(Err(error)) => warn("the stream cannot be read", error),
        Input::LogRead(_, Err(error)) => warn("the log cannot be read", error),
        Input::Polled(Err(error)) => warn("the head cannot be read", error),
        Input::StreamInspected(Err(error)) => warn("the stream does not tell its top", error),
        Input::CheckpointSaved(Err(error)) => warn("the checkpoint cannot be written", error),
        Input::StreamTrimmed(Err(error)) => warn("the stream cannot be trimmed", error),
        Input::StreamReset(Err(error)) => warn("the stream cannot be reset", error),
        _ => {}
    }
}

/// One task per kind of work; each takes one job at a time, and the core hands none out before the last one
/// has come back.
#[derive(Debug)]
struct Workers {
    commit: mpsc::Sender<Output>,
    append: mpsc::Sender<Output>,
    stream: mpsc::Sender<Output>,
    heal: mpsc::Sender<Output>,
    relay: mpsc::Sender<Output>,
    poll: mpsc::Sender<Output>,
    inspect: mpsc::Sender<Output>,
    reset: mpsc::Sender<Output>,
    trim: mpsc::Sender<Output>,
    restore: mpsc::Sender<Output>,
    checkpoint: mpsc::Sender<Output>,
}

/// What the workers work on.
#[derive(Debug, Clone)]
struct Ports<J, S, C> {
    journal: J,
    stream: S,
    checkpoints: C,
    clock: Clock,
    spans: Sink,
}

impl Workers {
    fn start<J: Journal, S: Stream, C: Checkpoints>(
        tasks: &mut JoinSet<()>,
        ports: &Ports<J, S, C>,
        results: &mpsc::Sender<Returned>,
    ) -> Self {
        let mut worker = || {
            let (jobs, work) = mpsc::channel(1);
            tasks.spawn(run_worker(work, ports.clone(), results.clone()));
            jobs
        };
        Self {
            commit: worker(),
            append: worker(),
            stream: worker(),
            heal: worker(),
            relay: worker(),
            poll: worker(),
            inspect: worker(),
            reset: worker(),
            trim: worker(),
            restore: worker(),
            checkpoint: worker(),
        }
    }

    fn hand_out(&self, work: Output) {
        let worker = match &work {
            Output::Commit(_) => &self.commit,
            Output::Append(_) => &self.append,
            Output::ReadStream(_) => &self.stream,
            Output::ReadLog(Purpose::Heal, ..) => &self.heal,
            Output::ReadLog(Purpose::Relay, ..) => &self.relay,
            Output::Poll(..) => &self.poll,
            Output::InspectStream => &self.inspect,
            Output::ResetStream(..) => &self.reset,
            Output::TrimStream(..) => {
                // One that is still being trimmed is trimmed again in a while.
                let _ = self.trim.try_send(work);
                return;
            }
            Output::Restore => &self.restore,
            Output::LoadCheckpoint | Output::SaveCheckpoint(..) => &self.checkpoint,
            Output::Answer(..) | Output::Published(_) => unreachable!("not a worker's: {work:?}"),
        };
        let handed = worker.try_send(work);
        assert!(handed.is_ok(), "a worker was handed a second job: {handed:?}");
    }
}

async fn run_worker<J: Journal, S: Stream, C: Checkpoints>(
    mut jobs: mpsc::Receiver<Output>,
    Ports { journal, stream, checkpoints, clock, spans }: Ports<J, S, C>,
    results: mpsc::Sender<Returned>,
) {
    while let Some(job) = jobs.recv().await {
        let begun = Uptime::now();
        let input = match job {
            Output::Commit(batch) => {
                let result = journal.commit(Arc::clone(&batch)).await;
                if let Some(spans) = &spans {
                    traced::committed(&**spans, &batch, begun.elapsed(), &result);
                }
                Input::Committed(result)
            }
            Output::Append(records) => {
                let result = stream.append(Arc::clone(&records)).await;
                if let Some(spans) = &spans {
                    traced::appended(&**spans, &records, begun.elapsed(), &result);
                }
                Input::Appended(result)
            }
            Output::ReadStream(after) => {
                // The core is gone once the results are closed, and then nobody waits for the stream.
                tokio::select! {
                    read = stream.read(after, limits::READ_ENTRIES_MAX) => Input::StreamRead(read),
                    () = results.closed() => return,
                }
            }
            Output::ReadLog(purpose, after, max) => {
                Input::LogRead(purpose, journal.log(after, max).await)
            }
            Output::Poll(beat, at) => Input::Polled(journal.poll(beat, at).await),
            Output::InspectStream => Input::StreamInspected(stream.status().await),
            Output::ResetStream(top, chain) => Input::StreamReset(stream.reset(top, chain).await),
            Output::TrimStream(keep, max) => {
                let mut trimmed = Ok(());
                let alone = journal.alone(async { trimmed = stream.trim(keep, max).await }).await;
                Input::StreamTrimmed(alone.and(trimmed))
            }
            Output::Restore => {
                let position = async |chunks| journal.snapshot(chunks).await.map(Some);
                Input::Restored(build("journal", &clock, position).await)
            }
            Output::LoadCheckpoint => {
                let position = async |chunks| checkpoints.load(chunks).await;
                Input::CheckpointLoaded(build("checkpoint", &clock, position).await)
            }
            Output::SaveCheckpoint(position, ads) => {
                Input::CheckpointSaved(checkpoints.save(position, ads).await)
            }
            Output::Answer(..) | Output::Published(_) => unreachable!("not a worker's: {job:?}"),
        };
        if results.send(Returned { input, begun, took: begun.elapsed() }).await.is_err() {
            return;
        }
    }
}

/// Builds an engine, aside, on a thread of its own, from ads that arrive in chunks.
async fn build<F>(
    from: &'static str,
    clock: &Clock,
    send: impl FnOnce(Chunks) -> F,
) -> Option<Box<Engine>>
where
    F: Future<Output = Result<Option<Position>, Unavailable>>,
{
    let started = Instant::now();
    let (chunks, mut arriving) = mpsc::channel::<Vec<EncodedAd>>(SNAPSHOT_CHUNKS);
    let building = tokio::task::spawn_blocking(move || {
        let mut builder = Builder::default();
        while let Some(chunk) = arriving.blocking_recv() {
            builder.extend(chunk)?;
        }
        Ok::<_, Undecodable>(builder)
    });
    let position = send(chunks).await;
    let builder = match building.await.map_err(Cause::from).and_then(|built| Ok(built?)) {
        Ok(builder) => builder,
        Err(error) => {
            tracing::error!(from, %error, "an ad cannot be decoded");
            return None;
        }
    };
    let position = match position {
        Ok(position) => position?,
        Err(error) => {
            tracing::warn!(from, %error, cause = ?error.1, "the ads cannot be read");
            return None;
        }
    };
    let now = clock.now();
    let finished = tokio::task::spawn_blocking(move || builder.finish(position, now)).await;
    match finished.map_err(Cause::from).and_then(|engine| Ok(engine?)) {
        Ok(engine) => {
            let (ads, version) = (engine.reader().ads(), engine.applied().version);
            tracing::info!(from, ads, version, took = ?started.elapsed(), "restored");
            Some(Box::new(engine))
        }
        Err(error) => {
            tracing::error!(from, %error, "the ads are not those of their position");
            None
        }
    }
}

type Chunks = mpsc::Sender<Vec<EncodedAd>>;
