//! One task for each kind of work that the core hands out: each takes a job to its port and brings the result back.

#![expect(
    clippy::disallowed_methods,
    reason = "they time what they do, for the log and for traces"
)]

use std::sync::Arc;
use std::time::{Duration, Instant};

use placard_engine::{Builder, Engine, Replaced};
use placard_model::entry::{Incarnation, Position};
use placard_model::{Encoded, Undecodable, limits};
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;

use super::clock::Clock;
use super::outage::Outage;
use super::traced;
use super::uptime::Uptime;
use crate::core::{Input, Output, Purpose};
use crate::ports::{BoxError, Checkpoints, Journal, Stream, Unavailable};
use crate::reasons::reasons;
use crate::spans::Sink;

/// Chunks of ads between the journal and the engine's builder.
const SNAPSHOT_CHUNKS: usize = 4;

/// A result from a worker, as the core takes it.
pub(super) struct Returned {
    pub(super) input: Input,
}

/// One task per kind of work; each takes one job at a time, and the core hands none out before the last one
/// has come back.
pub(super) struct Workers {
    /// Not work: it takes effect on all that is handed out later.
    follow: Box<dyn Fn(Incarnation) + Send>,
    commit: mpsc::Sender<Output>,
    append: mpsc::Sender<Output>,
    stream: mpsc::Sender<Output>,
    heal: mpsc::Sender<Output>,
    relay: mpsc::Sender<Output>,
    look_up: mpsc::Sender<Output>,
    poll: mpsc::Sender<Output>,
    inspect: mpsc::Sender<Output>,
    reset: mpsc::Sender<Output>,
    trim: mpsc::Sender<Output>,
    restore: mpsc::Sender<Output>,
    checkpoint: mpsc::Sender<Output>,
    free: mpsc::Sender<Output>,
}

/// The ports that the workers use.
#[derive(Debug, Clone)]
pub(super) struct Ports<J, S, C> {
    pub(super) journal: J,
    pub(super) stream: S,
    pub(super) checkpoints: C,
    pub(super) clock: Clock,
    pub(super) spans: Sink,
}

impl Workers {
    /// Starts the workers; `polling` gets a message when the last poll is over.
    pub(super) fn start<J: Journal, S: Stream, C: Checkpoints>(
        tasks: &mut JoinSet<()>,
        ports: &Ports<J, S, C>,
        results: &mpsc::Sender<Returned>,
        polling: oneshot::Sender<()>,
    ) -> Self {
        let (poll, work) = mpsc::channel(1);
        let polls = run_worker(work, ports.clone(), results.clone());
        tasks.spawn(async move {
            polls.await;
            // There is no receiver if the replica does not leave the register.
            let _ = polling.send(());
        });
        let mut worker = || {
            let (jobs, work) = mpsc::channel(1);
            tasks.spawn(run_worker(work, ports.clone(), results.clone()));
            jobs
        };
        let journal = ports.journal.clone();
        Self {
            follow: Box::new(move |incarnation| journal.follow(incarnation)),
            commit: worker(),
            append: worker(),
            stream: worker(),
            heal: worker(),
            relay: worker(),
            look_up: worker(),
            poll,
            inspect: worker(),
            reset: worker(),
            trim: worker(),
            restore: worker(),
            checkpoint: worker(),
            free: worker(),
        }
    }

    pub(super) fn hand_out(&self, work: Output) {
        let worker = match &work {
            Output::Commit(_) => &self.commit,
            Output::Append(..) => &self.append,
            Output::ReadStream(..) => &self.stream,
            Output::ReadLog(Purpose::Heal, ..) => &self.heal,
            Output::ReadLog(Purpose::Relay, ..) => &self.relay,
            Output::ReadLog(Purpose::LookUp, ..) => &self.look_up,
            Output::Poll(..) => &self.poll,
            Output::Follow(journal) => return (self.follow)(*journal),
            Output::Free(_) => {
                queue_or_drop_aside(&self.free, work);
                return;
            }
            Output::InspectStream(_) => &self.inspect,
            Output::ResetStream(..) => &self.reset,
            Output::TrimStream(..) => {
                // One that is still being trimmed is trimmed again in a while.
                let _ = self.trim.try_send(work);
                return;
            }
            Output::Restore => &self.restore,
            Output::LoadCheckpoint | Output::SaveCheckpoint(_) => &self.checkpoint,
            Output::Answer(..) | Output::Published(_) => unreachable!("not a worker's: {work:?}"),
        };
        let handed = worker.try_send(work);
        assert!(handed.is_ok(), "a worker was handed a second job: {handed:?}");
    }
}

/// Queues work that no task waits for. If there is no room it is too large to be dropped on this thread.
fn queue_or_drop_aside<T: Send + 'static>(queue: &mpsc::Sender<T>, work: T) {
    if let Err(TrySendError::Full(work) | TrySendError::Closed(work)) = queue.try_send(work) {
        tokio::task::spawn_blocking(move || drop(work));
    }
}

async fn run_worker<J: Journal, S: Stream, C: Checkpoints>(
    mut jobs: mpsc::Receiver<Output>,
    Ports { journal, stream, checkpoints, clock, spans }: Ports<J, S, C>,
    results: mpsc::Sender<Returned>,
) {
    let mut restoring =
        Outage::of("the journal's ads cannot be restored").tried_every(limits::RESTORE_PAUSE_MAX);
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
            Output::Append(of, records) => {
                // The clients that its commit has answered, and all other tasks that are ready, run first: a thread
                // goes on with what it has woken last, and would make them wait for the stream.
                tokio::task::yield_now().await;
                let begun = Uptime::now();
                let result = stream.of(of).append(Arc::clone(&records)).await;
                if let Some(spans) = &spans {
                    traced::appended(&**spans, &records, begun.elapsed(), &result);
                }
                Input::Appended(result)
            }
            Output::ReadStream(of, after) => {
                let stream = stream.of(of);
                // The core is gone once the results are closed, and then the stream is not needed.
                tokio::select! {
                    read = stream.read(after, limits::READ_ENTRIES_MAX) => Input::StreamRead(read),
                    () = results.closed() => return,
                }
            }
            Output::ReadLog(purpose, after, max) => {
                Input::LogRead(purpose, journal.log(after, max).await)
            }
            Output::Poll(heartbeat, at) => Input::Polled(journal.poll(heartbeat, at).await),
            Output::InspectStream(of) => Input::StreamInspected(stream.of(of).status().await),
            Output::ResetStream(of, top, chain) => {
                Input::StreamReset(stream.of(of).reset(top, chain).await)
            }
            Output::TrimStream(of, keep, max, head) => {
                let stream = stream.of(of);
                let mut trimmed = Ok(());
                let trim = async { trimmed = stream.trim(keep, max, head).await };
                let exclusively = journal.exclusively(trim).await;
                Input::StreamTrimmed(exclusively.and(trimmed))
            }
            Output::Restore => {
                let position = async |chunks| journal.snapshot(chunks).await.map(Some);
                let built = build("journal", &clock, position).await;
                restoring.is(&built);
                Input::Restored(built.unwrap_or_default())
            }
            Output::LoadCheckpoint => {
                let position = async |chunks| checkpoints.load(chunks).await;
                let built = build("checkpoint", &clock, position).await;
                if let Err(error) = &built {
                    let cause = reasons(error);
                    tracing::warn!(%error, cause, "the checkpoint cannot be restored");
                }
                Input::CheckpointLoaded(built.unwrap_or_default())
            }
            Output::Free(replaced) => {
                free(replaced).await;
                continue;
            }
            Output::SaveCheckpoint(snapshot) => {
                // Writing goes on by itself; a replica that stops does not wait for it.
                let position = snapshot.position();
                tokio::select! {
                    saved = checkpoints.save(position, || snapshot.collect()) => Input::CheckpointSaved(saved),
                    () = results.closed() => return,
                }
            }
            Output::Answer(..) | Output::Published(_) | Output::Follow(_) => {
                unreachable!("not a worker's: {job:?}")
            }
        };
        if results.send(Returned { input }).await.is_err() {
            return;
        }
    }
}

/// Drops a replaced state when no reader uses it any more, on a thread that no task waits for.
async fn free(replaced: Box<Replaced>) {
    /// The pause between two checks for readers that still use it.
    const PAUSE: Duration = Duration::from_millis(10);
    let mut left = Some(replaced);
    while let Some(replaced) = left {
        let freed = tokio::task::spawn_blocking(move || replaced.free().err()).await;
        left = freed.unwrap_or_default();
        if left.is_some() {
            tokio::time::sleep(PAUSE).await;
        }
    }
}

/// The reason why no engine could be built.
#[derive(Debug, thiserror::Error)]
enum BuildError {
    #[error("the ads cannot be read")]
    Unread(#[source] Unavailable),
    #[error("an ad cannot be decoded")]
    Undecodable(#[source] BoxError),
    #[error("the ads are not those of their position")]
    Mismatch(#[source] BoxError),
}

/// Builds an engine, aside, on a thread of its own, from ads that arrive in chunks. Returns `None` if the source is empty.
async fn build<F>(
    from: &'static str,
    clock: &Clock,
    send: impl FnOnce(Chunks) -> F,
) -> Result<Option<Box<Engine>>, BuildError>
where
    F: Future<Output = Result<Option<Position>, Unavailable>>,
{
    let started = Instant::now();
    let (chunks, mut arriving) = mpsc::channel::<Vec<Encoded>>(SNAPSHOT_CHUNKS);
    let building = tokio::task::spawn_blocking(move || {
        let mut builder = Builder::default();
        while let Some(chunk) = arriving.blocking_recv() {
            builder.extend(chunk)?;
        }
        Ok::<_, Undecodable>(builder)
    });
    let position = send(chunks).await;
    let builder = building.await.map_err(BoxError::from).and_then(|built| Ok(built?));
    let builder = builder.map_err(BuildError::Undecodable)?;
    let position = match position {
        Ok(Some(position)) => position,
        none => {
            // The builder may hold most of the ads.
            tokio::task::spawn_blocking(move || drop(builder));
            return none.map(|_| None).map_err(BuildError::Unread);
        }
    };
    let now = clock.now();
    let finished = tokio::task::spawn_blocking(move || builder.finish(position, now)).await;
    let engine = finished.map_err(BoxError::from).and_then(|engine| Ok(engine?));
    let engine = engine.map_err(BuildError::Mismatch)?;
    let (ads, version) = (engine.reader().ads(), engine.applied().version);
    tracing::info!(from, ads, version, took = ?started.elapsed(), "restored");
    Ok(Some(Box::new(engine)))
}

type Chunks = mpsc::Sender<Vec<Encoded>>;

#[cfg(test)]
mod tests {
    use std::thread::{self, ThreadId};

    use super::*;

    /// Reports the thread that drops it.
    struct State(mpsc::Sender<ThreadId>);

    impl Drop for State {
        fn drop(&mut self) {
            let _ = self.0.try_send(thread::current().id());
        }
    }

    #[tokio::test]
    async fn state_beyond_queue_is_dropped_on_another_thread() {
        let (queue, queued) = mpsc::channel(1);
        let (dropped, mut threads) = mpsc::channel(3);
        queue_or_drop_aside(&queue, State(dropped.clone()));
        queue_or_drop_aside(&queue, State(dropped.clone()));
        assert_ne!(threads.recv().await, Some(thread::current().id()), "there is no room");
        drop(queued);
        assert_eq!(
            threads.recv().await,
            Some(thread::current().id()),
            "the first was in the queue"
        );
        queue_or_drop_aside(&queue, State(dropped));
        assert_ne!(threads.recv().await, Some(thread::current().id()), "nobody takes it");
    }
}
