//! The tasks of an embedded replica, in a file beside its journal: apalis turns syncing off for the whole file.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use apalis::prelude::*;
use apalis_core::backend::Vacuum;
use apalis_sqlite::{SqliteConnectOptions, SqlitePool, SqlitePoolOptions, SqliteStorage};
use placard_model::limits;
use placard_scheduler::ports::{BoxError, Expire, TaskStore};

use crate::queue::{self, ATTEMPTS, HEARTBEAT, HEARTBEATS_MISSED, QUEUE, TASKS, Working, task_id};

/// The file's name.
const FILE: &str = "expiry.db";

/// The store of an embedded replica's tasks; cloning it is cheap.
#[derive(Debug, Clone)]
pub struct SqliteTasks(SqlitePool);

impl SqliteTasks {
    /// Returns the store of a directory. The file is made when the store is opened. This is called inside a runtime.
    pub fn in_directory(directory: &Path) -> Self {
        let options = SqliteConnectOptions::new().filename(Self::file(directory));
        let pool = SqlitePoolOptions::new().max_connections(2);
        Self(pool.connect_lazy_with(options.create_if_missing(true)))
    }

    /// Returns the file that the tasks of a directory are in, by its whole name, whatever that looks like: SQLite would
    /// take a relative one that begins with `file:` for a URI, which may name another file, or none.
    pub fn file(directory: &Path) -> PathBuf {
        let file = directory.join(FILE);
        // It fails only where there is no working directory to begin from, and then nothing can be opened.
        std::path::absolute(&file).unwrap_or(file)
    }
}

pub(crate) fn storage(pool: &SqlitePool) -> SqliteStorage<u64> {
    let config = apalis_sqlite::Config::default()
        .queue(QUEUE)
        .batch_size(TASKS)
        .heartbeat_interval(HEARTBEAT)
        .missed_heartbeats(HEARTBEATS_MISSED);
    SqliteStorage::new(pool).with_config(config)
}

fn working(pool: &SqlitePool, worker: String, expire: Arc<dyn Expire>) -> Working {
    let tasks = storage(pool).poll_with_interval(limits::EXPIRY_POLL);
    let task = move |_second: u64| queue::expire(Arc::clone(&expire));
    let worker = WorkerBuilder::new(worker).backend(tasks).catch_panic().build(task);
    queue::run(worker.stream())
}

impl TaskStore for SqliteTasks {
    async fn open(&self) -> Result<(), BoxError> {
        Ok(SqliteStorage::setup(&self.0).await?)
    }

    async fn push(&self, second: u64) -> Result<bool, BoxError> {
        let id = task_id(second);
        let mut tasks = storage(&self.0);
        if tasks.fetch_by_id(&id).await?.is_some() {
            return Ok(false);
        }
        let task = TaskBuilder::new(second)
            .task_id(id)
            .run_at_timestamp(second)
            .max_attempts(ATTEMPTS)
            .build();
        Ok(tasks.push_task(task).await.map(|()| true)?)
    }

    async fn work(&self, worker: String, expire: Arc<dyn Expire>) -> Result<(), BoxError> {
        working(&self.0, worker, expire).await
    }

    async fn forget_done(&self) -> Result<u64, BoxError> {
        Ok(storage(&self.0).vacuum().await? as u64)
    }
}
