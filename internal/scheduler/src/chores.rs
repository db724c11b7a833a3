//! Housekeeping: deletes what the journal and the tasks' store need not keep, each kind on its own timer. The journal ensures
//! that only one of several replicas does a chore at a time.

use std::time::Duration;

use placard_model::limits;
use placard_replica::expiry::Chore;
use placard_replica::{Expiry, Outage};
use tokio::sync::watch;

use crate::ports::{BoxError, Chores, TaskStore};

/// Does a chore repeatedly, until its task is dropped.
pub(crate) async fn run<J: Chores, T: TaskStore>(
    chore: Chore,
    journal: J,
    (tasks, is_open): (T, watch::Receiver<bool>),
    log_kept: Duration,
    expiry: Expiry,
) {
    let every = match chore {
        Chore::Log => limits::TRIM_LOG,
        Chore::Answers => limits::FORGET_ANSWERS,
        Chore::Tasks => limits::FORGET_TASKS,
    };
    let outage = Outage::of(match chore {
        Chore::Log => "old rows of the log are kept: the chore fails",
        Chore::Answers => "answers whose keys have run out are kept: the chore fails",
        Chore::Tasks => "tasks that are done are kept: the chore fails",
    });
    let mut outage = outage.tried_every(every);
    loop {
        tokio::time::sleep(every).await;
        let open = is_open.borrow().then_some(&tasks);
        let done = once(chore, &journal, open, log_kept).await;
        expiry.note(|account| {
            let chored = &mut account.chores[chore as usize];
            match &done {
                Ok(rows) => {
                    chored.runs += 1;
                    chored.rows += rows;
                }
                Err(_) => chored.failures += 1,
            }
        });
        match done {
            Ok(rows) => {
                outage.works();
                if rows > 0 {
                    tracing::info!(chore = chore.code(), rows, "deleted expired rows");
                }
            }
            Err(error) => outage.failed(&*error),
        }
    }
}

async fn once<J: Chores, T: TaskStore>(
    chore: Chore,
    journal: &J,
    tasks: Option<&T>,
    log_kept: Duration,
) -> Result<u64, BoxError> {
    match chore {
        Chore::Log => Ok(journal.trim_log(log_kept).await?),
        Chore::Answers => Ok(journal.forget_answers().await?),
        Chore::Tasks => {
            let beside = journal.forget_tasks(limits::TASKS_KEPT).await?;
            let apart = match tasks {
                Some(tasks) => tasks.forget_done().await?,
                None => 0,
            };
            Ok(beside + apart)
        }
    }
}
