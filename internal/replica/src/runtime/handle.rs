//! The handle through which the rest of the process reads and writes.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use placard_engine::Reader;
use placard_model::Version;
use placard_model::command::Request;
use tokio::sync::{mpsc, oneshot, watch};
use uuid::Uuid;

use super::clock::Clock;
use super::log_feed::LogFeed;
use super::read_permits::ReadPermits;
use super::state::State;
use crate::core::{Awaited, Cluster, Condition, Readiness, Reply};
use crate::ports::{Commits, Journal, Member};

/// The queue is full; nothing was taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the write queue is full")]
pub struct Overloaded;

/// Asks the journal whether it could run a commit.
#[derive(Clone)]
pub(super) struct AskCommits(Arc<dyn Fn() -> Commits + Send + Sync>);

impl AskCommits {
    pub(super) fn new<J: Journal>(journal: J) -> Self {
        Self(Arc::new(move || journal.commits()))
    }
}

impl fmt::Debug for AskCommits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("AskCommits").field(&(self.0)()).finish()
    }
}

/// The handle that request handlers hold: reads from memory, writes through the queue.
#[derive(Debug, Clone)]
pub struct Handle {
    pub(super) submissions: mpsc::Sender<Submission>,
    pub(super) reader: Reader,
    pub(super) clock: Clock,
    pub(super) replica: Uuid,
    pub(super) address: Arc<str>,
    pub(super) read_permits: ReadPermits,
    pub(super) state: watch::Receiver<State>,
    pub(super) cluster: watch::Receiver<Option<Arc<Cluster>>>,
    pub(super) stream_fault: watch::Receiver<Option<Arc<str>>>,
    /// The number of callers that wait for all replicas; while there are any, the register is read more often.
    pub(super) impatient: Arc<AtomicUsize>,
    pub(super) commits: AskCommits,
    pub(super) log: LogFeed,
}

/// Which replicas have published a version, and which have not said so in time.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Receipts {
    /// Those that have.
    pub confirmed: Vec<Member>,
    /// Those that have not.
    pub unconfirmed: Vec<Member>,
}

/// The journal tells another history than it did when the write was begun: the write's outcome is not known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the history that the write was in may be lost")]
pub struct Lost;

/// A caller that waits for all replicas, counted until it has been answered or has gone.
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
pub(super) struct Submission {
    pub(super) request: Request,
    pub(super) reply: oneshot::Sender<Reply>,
}

impl Handle {
    /// Returns a reader of what is published.
    pub fn reader(&self) -> &Reader {
        &self.reader
    }

    /// Returns the readers' clock.
    pub fn clock(&self) -> &Clock {
        &self.clock
    }

    /// Returns the replica's status.
    pub fn state(&self) -> State {
        *self.state.borrow()
    }

    /// Returns the handle that tells whether reads are answered, and how old the state behind an answer may be.
    pub fn read_permits(&self) -> &ReadPermits {
        &self.read_permits
    }

    /// Returns the published log.
    pub fn log(&self) -> &LogFeed {
        &self.log
    }

    /// Returns whether the journal has what it needs to run a commit.
    pub fn commits(&self) -> Commits {
        (self.commits.0)()
    }

    /// Returns whether clients may be sent to the replica in this state.
    pub fn readiness(&self, state: &State) -> Readiness {
        let State { phase, draining, emptied, .. } = *state;
        let condition = Condition { phase, draining, emptied, commits: self.commits() };
        Readiness::of(condition, self.read_permits.verdict())
    }

    /// Has a request decided. The work goes on even if the returned future is dropped.
    ///
    /// # Errors
    /// The queue is full.
    pub async fn write(&self, request: Request) -> Result<Reply, Overloaded> {
        let (reply, answered) = oneshot::channel();
        self.submissions.try_send(Submission { request, reply }).map_err(|_| Overloaded)?;
        // A core that is gone answers no client, and cannot say whether it had committed.
        Ok(answered.await.unwrap_or(Reply::Unknown))
    }

    /// Waits until readers see `version`, at most `wait`. Returns whether they do.
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

    /// Returns what is known of the cluster; `None` before the first head poll.
    pub fn cluster(&self) -> Option<Arc<Cluster>> {
        self.cluster.borrow().clone()
    }

    /// Returns why the stream is not used, in one sentence, for people; `None` if it is used. What it would bring then
    /// comes from the journal.
    pub fn stream_fault(&self) -> Option<Arc<str>> {
        self.stream_fault.borrow().clone()
    }

    /// Returns where clients reach this replica, as the register has it.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Waits until every registered replica has published `version`, or answers no reads any more, at most `wait`.
    /// `history` is this replica's [`State::history`] from before the write was begun.
    ///
    /// # Errors
    /// A state was given up meanwhile: a version of that number may be another one's.
    pub async fn confirmed(
        &self,
        version: Version,
        history: u64,
        wait: Duration,
    ) -> Result<Receipts, Lost> {
        let _impatient = Impatient::new(&self.impatient);
        let mut cluster = self.cluster.clone();
        let awaited = Awaited { version, history, polls: self.state().polls };
        let is_lost = || self.state().history != history;
        let reached = cluster.wait_for(|cluster| {
            is_lost() || cluster.as_ref().is_some_and(|cluster| cluster.is_on_all(awaited))
        });
        // In time or not, the receipts say how far everyone is.
        let _ = tokio::time::timeout(wait, reached).await;
        let cluster = self.cluster();
        if is_lost() {
            return Err(Lost);
        }
        let Some(cluster) = cluster else { return Ok(Receipts::default()) };
        let members = cluster.members.iter().cloned();
        let (confirmed, unconfirmed) = members.partition(|member| cluster.is_on(member, awaited));
        Ok(Receipts { confirmed, unconfirmed })
    }

    /// Waits until the readers' clock is the journal's.
    pub async fn anchored(&self) {
        let mut state = self.state.clone();
        // An error means that the replica has stopped.
        let _ = state.wait_for(|_| self.clock.is_anchored()).await;
    }

    /// Waits until clients may be sent to the replica.
    pub async fn ready(&self) {
        let mut state = self.state.clone();
        // An error means that the replica has stopped; then no caller needs to know whether it is ready.
        let _ = state.wait_for(|state| self.readiness(state).is_ready).await;
    }
}
