//! What the two stores have in common: the name of the queue, the ids of its tasks, and how a worker runs.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use apalis::prelude::{TaskId, WorkerError};
use futures_util::{Stream, StreamExt};
use placard_scheduler::ports::{BoxError, Expire};
use ulid::Ulid;

/// The name of the queue.
pub(crate) const QUEUE: &str = "placard-expiry";
/// The interval of a worker's heartbeats, and how many of them may be missing before its tasks go to other workers.
pub(crate) const HEARTBEAT: Duration = Duration::from_secs(2);
pub(crate) const HEARTBEATS_MISSED: usize = 3;
/// Tasks that a worker takes at once.
pub(crate) const TASKS: usize = 8;
/// Attempts at a task.
pub(crate) const ATTEMPTS: usize = 3;

/// Returns the id of a second's task, which is the same for every replica. Both stores take only ids in the form of a
/// ULID; its time is the second.
pub(crate) fn task_id(second: u64) -> TaskId {
    TaskId::from_string(Ulid::from_parts(second.saturating_mul(1_000), 0).to_string())
}

/// Does one task.
pub(crate) async fn expire(due: Arc<dyn Expire>) {
    due.due().await;
}

/// A worker that runs until something fails.
pub(crate) type Working = Pin<Box<dyn Future<Output = Result<(), BoxError>> + Send>>;

/// Runs a worker. It is boxed, because the compiler cannot tell of an async function with such a worker that it is `Send`.
pub(crate) fn run<T>(
    mut events: impl Stream<Item = Result<T, WorkerError>> + Send + Unpin + 'static,
) -> Working {
    Box::pin(async move {
        while let Some(event) = events.next().await {
            event?;
        }
        Ok(())
    })
}
