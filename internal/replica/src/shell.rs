//! The tokio side of the core: one task that owns it, one worker per port operation, and the handle through
//! which the rest of the process reads and writes. Every channel is bounded and private to this file.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use placard_engine::{Builder, Engine, Reader};
use placard_model::command::Request;
use placard_model::entry::Position;
use placard_model::{EncodedAd, Version, limits};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;

use crate::core::{Core, Counts, Input, Moment, Output, Phase, Purpose, Ticket};
use crate::ports::{Journal, Stream};
use crate::{Clock, Reply};

/// Submissions between the handlers and the core, which takes them in at once.
const SUBMISSIONS: usize = 1_024;
/// Results between the workers and the core: at most one of each kind is under way.
const RESULTS: usize = 16;
/// Chunks of ads between the journal and the engine's builder.
const SNAPSHOT_CHUNKS: usize = 4;

/// How a replica is run.
#[derive(Debug, Clone)]
pub struct Config {
    /// How long a write may take before its client is answered without a definite result.
    pub write_deadline: Duration,
    /// The pause between two reads of the journal's head, before jitter.
    pub head_poll: Duration,
    /// Seeds the jitter.
    pub seed: u64,
}

impl Default for Config {
    fn default() -> Self {
        Self { write_deadline: limits::WRITE_DEADLINE, head_poll: limits::HEAD_POLL, seed: 0 }
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
    /// Requests that are durable and wait to be visible.
    pub unpublished: usize,
    /// By how many microseconds this replica's clock was ahead of the journal's at the last poll.
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
    state: watch::Receiver<State>,
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

    /// Waits until the replica is ready.
    pub async fn ready(&self) {
        let mut state = self.state.clone();
        // An error means that the replica has stopped, and then nobody needs to be told that it is ready.
        let _ = state.wait_for(|state| state.phase == Phase::Ready).await;
    }
}

impl Replica {
    /// Starts a replica on a journal and a stream; it restores by itself.
    pub fn start<J: Journal, S: Stream>(journal: J, stream: S, config: Config) -> Self {
        let core = Core::new();
        let clock = Clock::start();
        let (submissions, submitted) = mpsc::channel(SUBMISSIONS);
        let (state, watched) = watch::channel(state_of(&core, false, 0));
        let (drain, draining) = watch::channel(false);
        let handle =
            Handle { submissions, reader: core.reader(), clock: clock.clone(), state: watched };
        let mut tasks = JoinSet::new();
        let (results, returned) = mpsc::channel(RESULTS);
        let workers = Workers::start(&mut tasks, &journal, &stream, &results);
        let shell = Shell {
            core,
            clock,
            origin: Instant::now(),
            rng: ChaCha8Rng::seed_from_u64(config.seed),
            config,
            workers,
            replies: HashMap::new(),
            tickets: 0,
            clock_ahead: 0,
            state,
        };
        tasks.spawn(shell.run(submitted, returned, draining));
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

fn state_of(core: &Core, draining: bool, clock_ahead: i64) -> State {
    State {
        phase: core.phase(),
        draining,
        published: core.reader().published(),
        head: core.head(),
        queued: core.queued(),
        unpublished: core.unpublished(),
        clock_ahead,
        counts: core.counts(),
    }
}

/// The task that owns the core.
struct Shell {
    core: Core,
    clock: Clock,
    origin: Instant,
    rng: ChaCha8Rng,
    config: Config,
    workers: Workers,
    replies: HashMap<Ticket, oneshot::Sender<Reply>>,
    tickets: Ticket,
    clock_ahead: i64,
    state: watch::Sender<State>,
}

/// A result from a worker, as the core takes it, and how the head's clock compares.
struct Returned {
    input: Input,
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
                    self.anchor(&result);
                    self.step(result.input, &mut outputs);
                }
                Ok(()) = draining.changed(), if !drain => {
                    drain = true;
                    self.step(Input::Drain, &mut outputs);
                }
                Some(submission) = submitted.recv() => {
                    self.submit(submission, &mut outputs);
                    // What came together is committed together: take all in before the next step is waited for.
                    while let Ok(submission) = submitted.try_recv() {
                        self.submit(submission, &mut outputs);
                    }
                }
                () = wake => self.step(Input::Tick, &mut outputs),
            }
            let state = state_of(&self.core, drain, self.clock_ahead);
            self.state.send_if_modified(|old| std::mem::replace(old, state) != state);
        }
    }

    fn submit(&mut self, submission: Submission, outputs: &mut Vec<Output>) {
        self.tickets += 1;
        self.replies.insert(self.tickets, submission.reply);
        let deadline = Moment(self.origin.elapsed()) + self.config.write_deadline;
        let input = Input::Submit(self.tickets, Arc::new(submission.request), deadline);
        self.step(input, outputs);
    }

    fn anchor(&mut self, result: &Returned) {
        if let Input::HeadRead(Ok(head)) = &result.input {
            self.clock_ahead = self.clock.anchor(head.now, result.took);
        }
    }

    fn step(&mut self, input: Input, outputs: &mut Vec<Output>) {
        report(&input);
        let jitter = self.rng.random_range(0.8..1.2);
        let before = self.core.phase();
        let now = Moment(self.origin.elapsed());
        self.core.step(now, self.config.head_poll.mul_f64(jitter), input, outputs);
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
        Input::HeadRead(Err(error)) => warn("the head cannot be read", error),
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
    head: mpsc::Sender<Output>,
    restore: mpsc::Sender<Output>,
}

impl Workers {
    fn start<J: Journal, S: Stream>(
        tasks: &mut JoinSet<()>,
        journal: &J,
        stream: &S,
        results: &mpsc::Sender<Returned>,
    ) -> Self {
        let mut worker = || {
            let (jobs, work) = mpsc::channel(1);
            tasks.spawn(run_worker(work, journal.clone(), stream.clone(), results.clone()));
            jobs
        };
        Self {
            commit: worker(),
            append: worker(),
            stream: worker(),
            heal: worker(),
            relay: worker(),
            head: worker(),
            restore: worker(),
        }
    }

    fn hand_out(&self, work: Output) {
        let worker = match &work {
            Output::Commit(_) => &self.commit,
            Output::Append(_) => &self.append,
            Output::ReadStream(_) => &self.stream,
            Output::ReadLog(Purpose::Heal, ..) => &self.heal,
            Output::ReadLog(Purpose::Relay, ..) => &self.relay,
            Output::ReadHead(_) => &self.head,
            Output::Restore => &self.restore,
            Output::Answer(..) | Output::Published(_) => unreachable!("not a worker's: {work:?}"),
        };
        let handed = worker.try_send(work);
        assert!(handed.is_ok(), "a worker was handed a second job: {handed:?}");
    }
}

async fn run_worker<J: Journal, S: Stream>(
    mut jobs: mpsc::Receiver<Output>,
    journal: J,
    stream: S,
    results: mpsc::Sender<Returned>,
) {
    while let Some(job) = jobs.recv().await {
        let started = Instant::now();
        let input = match job {
            Output::Commit(batch) => Input::Committed(journal.commit(batch).await),
            Output::Append(records) => Input::Appended(stream.append(records).await),
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
            Output::ReadHead(at) => Input::HeadRead(journal.head(at).await),
            Output::Restore => Input::Restored(restore(&journal).await),
            Output::Answer(..) | Output::Published(_) => unreachable!("not a worker's: {job:?}"),
        };
        if results.send(Returned { input, took: started.elapsed() }).await.is_err() {
            return;
        }
    }
}

/// Builds an engine from the journal's ads, aside, on a thread of its own.
async fn restore<J: Journal>(journal: &J) -> Option<Box<Engine>> {
    let started = Instant::now();
    let (chunks, mut arriving) = mpsc::channel::<Vec<EncodedAd>>(SNAPSHOT_CHUNKS);
    let building = tokio::task::spawn_blocking(move || {
        let mut builder = Builder::default();
        while let Some(chunk) = arriving.blocking_recv() {
            for ad in chunk {
                builder.push(ad)?;
            }
        }
        Ok::<_, placard_model::Undecodable>(builder)
    });
    let position = journal.snapshot(chunks).await;
    let built = building.await;
    let engine = match (position, built) {
        (Ok(position), Ok(Ok(builder))) => {
            tokio::task::spawn_blocking(move || builder.finish(position)).await
        }
        (Err(error), _) => {
            tracing::warn!(%error, cause = ?std::error::Error::source(&error), "no snapshot could be read");
            return None;
        }
        (_, Ok(Err(error))) => {
            tracing::error!(%error, "an ad of the journal cannot be decoded");
            return None;
        }
        (_, Err(error)) => {
            tracing::error!(%error, "the restore has failed");
            return None;
        }
    };
    match engine {
        Ok(Ok(engine)) => {
            let (ads, version) = (engine.reader().ads(), engine.applied().version);
            tracing::info!(ads, version, took = ?started.elapsed(), "restored from the journal");
            Some(Box::new(engine))
        }
        Ok(Err(error)) => {
            tracing::error!(%error, "the journal's ads do not sum to its head's digest");
            None
        }
        Err(error) => {
            tracing::error!(%error, "the restore has failed");
            None
        }
    }
}
