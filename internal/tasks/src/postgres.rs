//! The tasks of a cluster, in tables beside its journal.

use std::sync::Arc;

use apalis::prelude::*;
use apalis_postgres::{PgPool, PostgresStorage};
use placard_model::limits;
use placard_scheduler::ports::{BoxError, Expire, TaskStore};

use crate::queue::{self, ATTEMPTS, HEARTBEAT, HEARTBEATS_MISSED, QUEUE, TASKS, Working, task_id};
use crate::wording::Wording;

/// The store of a cluster's tasks; cloning it is cheap.
#[derive(Debug, Clone)]
pub struct PostgresTasks {
    /// Connections for nothing else.
    pub pool: PgPool,
    /// Whether the tables are made, or brought up to date, when the store is opened.
    pub migrate: bool,
    /// Words what fails there.
    pub wording: Wording,
}

/// Brings the tables of the tasks beside a cluster's journal up to date, as a scheduler that may do so does by
/// itself.
///
/// # Errors
/// The server cannot be reached, or refuses: it may lack the extension hstore, or not let us make a schema.
pub async fn migrate(pool: &PgPool, wording: Wording) -> Result<(), BoxError> {
    PostgresTasks { pool: pool.clone(), migrate: true, wording }.open().await
}

pub(crate) fn storage(pool: &PgPool) -> PostgresStorage<u64> {
    let config = apalis_postgres::Config::default()
        .queue(QUEUE)
        .batch_size(TASKS)
        .heartbeat_interval(HEARTBEAT)
        .missed_heartbeats(HEARTBEATS_MISSED);
    PostgresStorage::new(pool).with_config(config)
}

fn working(pool: &PgPool, worker: String, expire: Arc<dyn Expire>) -> Working {
    let tasks = storage(pool).poll_with_interval(limits::EXPIRY_POLL);
    let task = move |_second: u64| queue::expire(Arc::clone(&expire));
    let worker = WorkerBuilder::new(worker).backend(tasks).catch_panic().build(task);
    queue::run(worker.stream())
}

impl PostgresTasks {
    async fn try_push(&self, second: u64) -> Result<bool, BoxError> {
        let id = task_id(second);
        let mut tasks = storage(&self.pool);
        if tasks.fetch_by_id(&id).await?.is_some() {
            return Ok(false);
        }
        let task = TaskBuilder::new(second)
            .task_id(id)
            .run_at_timestamp(second)
            .max_attempts(ATTEMPTS)
            .build();
        match tasks.push_task(task).await {
            // Another replica was quicker between the question and the answer.
            Err(TaskSinkError::PushError(apalis_postgres::Error::Database(error)))
                if error.as_database_error().is_some_and(|error| error.is_unique_violation()) =>
            {
                Ok(false)
            }
            pushed => Ok(pushed.map(|()| true)?),
        }
    }
}

impl TaskStore for PostgresTasks {
    async fn open(&self) -> Result<(), BoxError> {
        if self.migrate
            && let Err(error) = PostgresStorage::setup(&self.pool).await
        {
            // A role that may not change tables need not, if the tables are there already.
            let there = storage(&self.pool).fetch_by_id(&task_id(0)).await;
            there.map_err(|_| self.wording.told(error.into()))?;
        }
        Ok(())
    }

    async fn push(&self, second: u64) -> Result<bool, BoxError> {
        self.try_push(second).await.map_err(|error| self.wording.told(error))
    }

    async fn work(&self, worker: String, expire: Arc<dyn Expire>) -> Result<(), BoxError> {
        let ended = working(&self.pool, worker, expire).await;
        ended.map_err(|error| self.wording.told(error))
    }

    /// Deletes nothing: it is one of the journal's chores, which one replica does at a time.
    async fn forget_done(&self) -> Result<u64, BoxError> {
        Ok(0)
    }
}
