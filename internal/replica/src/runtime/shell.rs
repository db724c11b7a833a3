//! The tokio side of the core: one task that owns it, one worker per port operation (`workers`), and the handle
//! through which the rest of the process reads and writes (`handle`). Every channel is bounded and private to these
//! files.

#![expect(
    clippy::disallowed_methods,
    reason = "the shell has the clock, the chance and the ids that the core takes"
)]

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use placard_model::entry::format_level;
use placard_model::{Timestamp, limits};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;
use uuid::Uuid;

use super::clock::{Clock, Reading};
use super::handle::{AskCommits, Handle, Submission};
use super::healing;
use super::log_feed::LogFeed;
use super::outage::Outage;
use super::read_permits::ReadPermits;
use super::state::State;
use super::traced::Applying;
use super::uptime::Uptime;
use super::workers::{Ports, Returned, Workers};
use crate::core::{Cluster, Core, Input, Moment, Now, Output, Reply, Settings, Ticket};
use crate::ports::{Checkpoints, CommitError, Identity, Journal, Stream};
use crate::reasons::reasons;
use crate::spans::Sink;

/// Results between the workers and the core: at most one of each kind is under way.
const RESULTS: usize = 16;
/// The pause between head polls while a client waits for all replicas.
const IMPATIENT_POLL: Duration = Duration::from_millis(25);

/// The configuration of a replica.
#[derive(Debug, Clone)]
pub struct Config {
    /// Where clients reach this replica, as `host:port`.
    pub address: String,
    /// The build's version.
    pub build: String,
    /// How long this replica counts as live after a head poll.
    pub lease: Duration,
    /// How long after the end of its lease it refuses reads; `None` if it goes on answering them.
    pub refuses_after: Option<Duration>,
    /// Most entries that the stream may hold.
    pub stream_entries_max: usize,
    /// The pause between two checkpoints; `None` for a replica that keeps none.
    pub checkpoint_every: Option<Duration>,
    /// Whether an empty journal may take the place of one that was not empty.
    pub takes_new_journal: bool,
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
            takes_new_journal: false,
            write_deadline: limits::WRITE_DEADLINE,
            head_poll: limits::HEAD_POLL,
            spans: None,
        }
    }
}

/// The replica has stopped before it was asked to.
#[derive(Debug, thiserror::Error)]
#[error("a task of the replica has ended unexpectedly")]
pub struct Stopped(#[from] tokio::task::JoinError);

/// A running replica.
#[derive(Debug)]
pub struct Replica {
    handle: Handle,
    drain: watch::Sender<bool>,
    tasks: JoinSet<()>,
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
                format_level: format_level(),
                refuses_after: config.refuses_after,
                marks_leaving: true,
            },
            lease: config.lease,
            stream_entries_max: config.stream_entries_max,
            checkpoint_every: config.checkpoint_every,
            takes_new_journal: config.takes_new_journal,
        });
        let clock = Clock::start();
        let origin = Uptime::now();
        let read_permits = ReadPermits::new(origin, &core);
        let (submissions, submitted) = mpsc::channel(limits::SUBMISSIONS_MAX);
        let (state, watched) = watch::channel(State::of(&core, false));
        let (cluster, cluster_watched) = watch::channel(None);
        let (stream_fault, fault_watched) = watch::channel(None);
        let (drain, draining) = watch::channel(false);
        let impatient = Arc::new(AtomicUsize::new(0));
        let handle = Handle {
            submissions,
            log: LogFeed::new(journal.clone(), core.reader(), watched.clone()),
            reader: core.reader(),
            clock: clock.clone(),
            replica,
            address: config.address.as_str().into(),
            read_permits: read_permits.clone(),
            state: watched,
            cluster: cluster_watched,
            stream_fault: fault_watched,
            impatient: Arc::clone(&impatient),
            commits: AskCommits::new(journal.clone()),
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
        let outages = Outages::new(config.checkpoint_every);
        let (polling, polled) = oneshot::channel();
        let workers = Workers::start(&mut tasks, &ports, &results, polling);
        let shell = Shell {
            core,
            clock,
            read_permits,
            origin,
            // Replicas that start together must not poll together.
            rng: ChaCha8Rng::seed_from_u64(replica.as_u64_pair().0),
            config,
            workers,
            replies: HashMap::new(),
            tickets: 0,
            impatient,
            state,
            cluster,
            stream_fault,
            outages,
        };
        let run = shell.run(submitted, returned, draining);
        tasks.spawn(async move {
            run.await;
            // A poll that is under way would register it again. If its worker has failed, no poll is under way.
            let _ = polled.await;
            if let Err(error) = journal.leave(replica).await {
                let cause = reasons(&error);
                tracing::warn!(%error, cause, "cannot leave the register; the lease will end");
            }
        });
        Self { handle, drain, tasks }
    }

    /// Returns the handle for reads and writes.
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
        let mut failed = None;
        let all = async {
            while let Some(ended) = self.tasks.join_next().await {
                // The others finish what they can.
                if let Err(error) = ended {
                    failed.get_or_insert(error);
                }
            }
        };
        let finished = tokio::time::timeout(wait, all).await.is_ok();
        failed.map_or(Ok(finished), |error| Err(Stopped(error)))
    }
}

/// The task that owns the core.
struct Shell {
    core: Core,
    clock: Clock,
    read_permits: ReadPermits,
    origin: Uptime,
    rng: ChaCha8Rng,
    config: Config,
    workers: Workers,
    replies: HashMap<Ticket, oneshot::Sender<Reply>>,
    tickets: Ticket,
    impatient: Arc<AtomicUsize>,
    state: watch::Sender<State>,
    cluster: watch::Sender<Option<Arc<Cluster>>>,
    stream_fault: watch::Sender<Option<Arc<str>>>,
    outages: Outages,
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
            let pause = self.core.wake_at().map(|moment| moment - self.now());
            let wake = async {
                match pause {
                    Some(pause) => tokio::time::sleep(pause).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                Some(result) = returned.recv() => {
                    self.anchor(&result, &mut outputs);
                    self.step(result.input, &mut outputs);
                }
                Ok(()) = draining.changed(), if !drain => {
                    drain = true;
                    self.step(Input::Drain, &mut outputs);
                }
                Some(submission) = submitted.recv() => {
                    // Requests that arrive together go into one batch, and the first of them does not go alone.
                    let mut burst = vec![submission];
                    while burst.len() < limits::SUBMISSIONS_MAX {
                        let Ok(submission) = submitted.try_recv() else { break };
                        burst.push(submission);
                    }
                    self.submit(burst, &mut outputs);
                }
                () = wake => self.step(Input::Tick, &mut outputs),
            }
            let state = State::of(&self.core, drain);
            self.state.send_if_modified(|old| std::mem::replace(old, state) != state);
            let cluster = self.core.cluster();
            self.cluster.send_if_modified(|old| {
                let changed = old.as_ref().map(Arc::as_ptr) != cluster.map(Arc::as_ptr);
                if changed {
                    *old = cluster.cloned();
                }
                changed
            });
            let fault = self.outages.of_stream(self.core.unappended() > 0);
            self.stream_fault.send_if_modified(|old| {
                let changed = old.as_deref() != fault;
                if changed {
                    *old = fault.map(Arc::from);
                }
                changed
            });
        }
    }

    fn submit(&mut self, burst: Vec<Submission>, outputs: &mut Vec<Output>) {
        let deadline = self.now() + self.config.write_deadline;
        let submitted = burst.into_iter().map(|Submission { request, reply }| {
            self.tickets += 1;
            self.replies.insert(self.tickets, reply);
            (self.tickets, Arc::new(request))
        });
        let input = Input::Submit(submitted.collect(), deadline);
        self.step(input, outputs);
    }

    /// Sets the readers' clock by the one that a head poll has brought.
    fn anchor(&mut self, result: &Returned, outputs: &mut Vec<Output>) {
        let Input::Polled(Ok(head)) = &result.input else { return };
        let reading = Reading::of(head);
        let correction = self.clock.compared(&reading);
        let (compared, by_ms) = (Input::ClockCompared(correction.ahead), correction.ahead / 1_000);
        if correction.step.is_some() && self.clock.is_anchored() {
            tracing::warn!(
                by_ms,
                "readers' clock is set by the journal's: one of the two has moved, or an answer was delayed"
            );
        }
        match correction.steps_back() {
            // The index goes back first: an ad that readers are to find again must be there by then.
            Some(time) => self.step_at(time, compared, outputs),
            None => self.step(compared, outputs),
        }
        self.clock.take(&correction, reading);
    }

    fn now(&self) -> Moment {
        Moment(self.origin.elapsed())
    }

    /// The pause until the next head poll.
    fn poll_after(&mut self, input: &Input) -> Duration {
        let jitter = self.rng.random_range(0.8..1.2);
        let has_state = self.core.phase().has_state();
        let resumes = has_state
            && matches!(input, Input::Polled(Ok(_)))
            && self.core.wants_another_poll(self.now());
        let waited_for = resumes || self.impatient.load(Ordering::Relaxed) > 0;
        let pause = if waited_for { IMPATIENT_POLL } else { self.config.head_poll };
        pause.mul_f64(jitter)
    }

    fn step(&mut self, input: Input, outputs: &mut Vec<Output>) {
        self.step_at(self.clock.now(), input, outputs);
    }

    /// Takes a step; `time` is the readers' time.
    fn step_at(&mut self, time: Timestamp, input: Input, outputs: &mut Vec<Output>) {
        self.outages.report(&input);
        let (before, counted) = (self.core.phase(), self.core.counts());
        let was_emptied = self.core.is_emptied();
        let poll_after = self.poll_after(&input);
        let moment = self.now();
        let spans = self.config.spans.as_deref();
        let published = |core: &Core| core.reader().published().version;
        let applying = spans.and_then(|_| Applying::of(&input, published(&self.core)));
        self.core.step(Now { moment, time, poll_after }, input, outputs);
        if let (Some(applying), Some(spans)) = (applying, spans) {
            applying.done(spans, published(&self.core));
        }
        self.read_permits.publish(self.core.read_facts());
        healing::report(&counted, &self.core.counts());
        let is_emptied = self.core.is_emptied();
        if was_emptied != is_emptied {
            let version = self.core.reader().published().version;
            healing::report_emptied(is_emptied, version);
        }
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

/// Tracks whether each kind of work on the ports succeeds.
struct Outages {
    commits: Outage,
    log: Outage,
    head: Outage,
    append: Outage,
    stream: Outage,
    top: Outage,
    trim: Outage,
    reset: Outage,
    checkpoint: Outage,
}

impl Outages {
    fn new(checkpoint_every: Option<Duration>) -> Self {
        Self {
            commits: Outage::of("batches are not committed"),
            log: Outage::of("the log cannot be read"),
            head: Outage::of("the head cannot be read"),
            append: Outage::of("cannot append to the stream"),
            stream: Outage::of("the stream cannot be read"),
            top: Outage::of("cannot read the stream's last entry"),
            trim: Outage::of("the stream cannot be trimmed").tried_every(limits::STREAM_TRIM),
            reset: Outage::of("the stream cannot be reset"),
            checkpoint: Outage::of("the checkpoint cannot be written")
                .tried_every(checkpoint_every.unwrap_or_default()),
        }
    }

    /// Why the stream is not used, if it is not. That it takes no entries counts only while there are some to append: then
    /// it is tried again.
    fn of_stream(&self, has_more: bool) -> Option<&str> {
        let append = self.append.cause().filter(|_| has_more);
        self.stream.cause().or_else(|| self.top.cause()).or(append)
    }

    /// Logs what went wrong, where it is first seen, and when it works again.
    fn report(&mut self, input: &Input) {
        match input {
            // That is one request's fault.
            Input::Committed(Err(error @ CommitError::Refused(_))) => {
                let cause = reasons(error);
                tracing::warn!(
                    %error,
                    cause,
                    "a batch is refused: it is halved until the request to blame stands alone"
                );
            }
            Input::Committed(result) => self.commits.is(result),
            Input::Appended(result) => self.append.is(result),
            Input::StreamRead(result) => self.stream.is(result),
            Input::LogRead(_, result) => self.log.is(result),
            Input::Polled(result) => {
                self.head.is(result);
                self.settle();
            }
            Input::StreamInspected(result) => self.top.is(result),
            Input::CheckpointSaved(result) => self.checkpoint.is(result),
            Input::StreamTrimmed(result) => self.trim.is(result),
            Input::StreamReset(result) => self.reset.is(result),
            _ => {}
        }
    }

    /// Logs which outages are over. This is done with each poll, since some work may not be tried again for hours.
    fn settle(&mut self) {
        let Self { commits, log, append, stream, top, reset, .. } = self;
        for outage in [commits, log, append, stream, top, reset] {
            outage.settle();
        }
    }
}
