//! Keeps the commit's connection while no commit runs: it is opened when it is missing, and asked for a sign of life,
//! so that no write finds out that it is dead.

use std::sync::{Mutex, PoisonError, Weak};
use std::time::Duration;

use placard_replica::Outage;
use tokio::task::JoinHandle;

use super::sets::ConnectionSets;

/// The pause between two checks of the connection.
const PAUSE: Duration = Duration::from_secs(1);

/// The task that does it; it ends with this.
#[derive(Default)]
pub(super) struct Keeper(Mutex<Option<JoinHandle<()>>>);

impl Keeper {
    /// Ensures that the task runs. Every poll calls this, several times a second, so that a task that has ended, which
    /// it never should, is not missed for long.
    #[expect(clippy::disallowed_methods, reason = "it is watched by the next poll")]
    pub(super) fn keep(&self, sets: impl FnOnce() -> Weak<ConnectionSets>) {
        let mut task = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if task.as_ref().is_some_and(|task| !task.is_finished()) {
            return;
        }
        if task.is_some() {
            tracing::error!(
                "the task that keeps a connection to commit with has ended, and is started again"
            );
        }
        *task = Some(tokio::spawn(run(sets())));
    }
}

async fn run(sets: Weak<ConnectionSets>) {
    let mut outage = Outage::of("there is no connection to commit with");
    while let Some(sets) = sets.upgrade() {
        if let Some(kept) = sets.committer.set().keep_one().await {
            if kept.is_err() {
                // The place of this one may be what is missing.
                sets.reads.release();
            }
            outage.is(&kept);
        }
        drop(sets);
        tokio::time::sleep(PAUSE).await;
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        let task = self.0.get_mut().unwrap_or_else(PoisonError::into_inner);
        if let Some(task) = task {
            task.abort();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_keeper_that_has_ended_is_started_again() {
        let keeper = Keeper::default();
        let running = || keeper.0.lock().unwrap_or_else(PoisonError::into_inner);
        let id = || running().as_ref().map(JoinHandle::id);
        keeper.keep(Weak::new);
        let first = id();
        // The task has no sets, and ends at once; as after a panic, no caller waits for it.
        while running().as_ref().is_some_and(|task| !task.is_finished()) {
            tokio::task::yield_now().await;
        }
        keeper.keep(Weak::new);
        assert!(first.is_some() && id() != first, "{first:?}");
        let second = id();
        keeper.keep(|| unreachable!("one runs"));
        assert_eq!(id(), second);
    }
}
