//! The tasks that a node runs beside its replica and its scheduler, which watch their own tasks. Every task is watched,
//! so that none ends unnoticed while the rest goes on as if it still ran.

use std::collections::HashMap;
use std::error::Error;
use std::future::pending;

use tokio::task::{AbortHandle, Id, JoinError, JoinSet};

/// A task of the node has ended by itself, which none should.
#[derive(Debug, thiserror::Error)]
#[error("{task} has ended unexpectedly")]
pub struct Ended {
    /// The task's name.
    pub task: &'static str,
    #[source]
    cause: Option<Box<dyn Error + Send + Sync>>,
}

impl Ended {
    /// With what it has panicked, if it has.
    pub(crate) fn of<E: Error + Send + Sync + 'static>(
        task: &'static str,
        cause: Option<E>,
    ) -> Self {
        Self { task, cause: cause.map(Into::into) }
    }
}

/// Running tasks by their names. Each returns at its end whether it has finished what it had begun.
#[derive(Debug, Default)]
pub(crate) struct Tasks {
    running: JoinSet<bool>,
    names: HashMap<Id, &'static str>,
}

impl Tasks {
    pub(crate) fn spawn(
        &mut self,
        name: &'static str,
        task: impl Future<Output = bool> + Send + 'static,
    ) -> AbortHandle {
        let handle = self.running.spawn(task);
        self.names.insert(handle.id(), name);
        handle
    }

    /// Waits until a task ends, which none should before it is asked to.
    pub(crate) async fn failed(&mut self) -> Ended {
        match self.running.join_next_with_id().await {
            Some(Ok((id, _))) => Ended::of(self.name(id), None::<JoinError>),
            Some(Err(error)) => Ended::of(self.name(error.id()), Some(error)),
            None => pending().await,
        }
    }

    /// Waits until all have ended, once all were asked to, also if one of them panics; each bounds by itself how long that
    /// takes. Returns whether all have finished.
    ///
    /// # Errors
    /// The first that has panicked.
    pub(crate) async fn finished(mut self) -> Result<bool, Ended> {
        let (mut finished, mut failed) = (true, None);
        while let Some(ended) = self.running.join_next_with_id().await {
            match ended {
                Ok((_, has)) => finished &= has,
                Err(error) if error.is_cancelled() => {}
                Err(error) => {
                    let ended = Ended::of(self.name(error.id()), Some(error));
                    failed.get_or_insert(ended);
                }
            }
        }
        failed.map_or(Ok(finished), Err)
    }

    fn name(&self, id: Id) -> &'static str {
        self.names.get(&id).copied().unwrap_or("a task")
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::oneshot;

    use super::*;

    #[tokio::test]
    async fn ended_or_panicking_task_is_reported_by_name() {
        let mut tasks = Tasks::default();
        tasks.spawn("a task that stays", pending());
        tasks.spawn("a task that panics", async { panic!("as a test wants it") });
        let ended = tasks.failed().await;
        assert_eq!(ended.to_string(), "a task that panics has ended unexpectedly");
        let cause = ended.source().expect("it has panicked").to_string();
        assert!(cause.contains("as a test wants it"), "{cause}");
        tasks.spawn("a task that returns", async { true });
        assert_eq!(tasks.failed().await.task, "a task that returns");
    }

    #[tokio::test]
    async fn tasks_that_are_asked_to_end_are_waited_for() {
        let mut tasks = Tasks::default();
        tasks.spawn("upkeep", pending()).abort();
        tasks.spawn("the API", async { true });
        assert!(tasks.finished().await.expect("none panics"));
        let mut tasks = Tasks::default();
        tasks.spawn("the API", async { false });
        assert!(!tasks.finished().await.expect("none panics"));
        let mut tasks = Tasks::default();
        tasks.spawn("the API", async { panic!("as a test wants it") });
        assert_eq!(tasks.finished().await.map_err(|ended| ended.task), Err("the API"));
    }

    /// The other tasks were aborted in the middle of their work.
    #[tokio::test]
    async fn tasks_end_in_peace_beside_one_that_panics() {
        let (done, is_done) = oneshot::channel();
        let mut tasks = Tasks::default();
        tasks.spawn("upkeep", async { panic!("as a test wants it") });
        tasks.spawn("the API", async {
            // For longer than the panic takes.
            for _ in 0..1_000 {
                tokio::task::yield_now().await;
            }
            done.send(()).is_ok()
        });
        assert_eq!(tasks.finished().await.map_err(|ended| ended.task), Err("upkeep"));
        assert!(is_done.await.is_ok(), "its requests are answered");
    }
}
