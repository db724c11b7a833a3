//! The queue of tasks, as apalis keeps it: one task for each second in which ads end. Tasks are hints. They may be
//! lost, done twice, or done by another replica; the sweep and the version conditions make up for it.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use apalis::prelude::*;
use apalis_core::backend::Vacuum;
use apalis_postgres::{PgPool, PostgresStorage};
use apalis_sqlite::{SqliteConnectOptions, SqlitePool, SqlitePoolOptions, SqliteStorage};
use futures_util::{Stream, StreamExt};
use placard_model::limits;
use ulid::Ulid;

use crate::Expire;

/// The name of the queue.
pub(crate) const QUEUE: &str = "placard-expiry";
/// The file of the queue of an embedded replica.
const FILE: &str = "expiry.db";
/// How often a worker says that it lives, and how many such words may be missing before its tasks go to others.
const HEARTBEAT: Duration = Duration::from_secs(2);
const HEARTBEATS_MISSED: usize = 3;
/// Tasks that a worker takes at once.
const TASKS: usize = 8;
/// How often a task is tried.
const ATTEMPTS: usize = 3;

/// The same for every replica. Both stores take only ids in the form of a ULID; its time is the second.
fn task_id(second: u64) -> TaskId {
    TaskId::from_string(Ulid::from_parts(second.saturating_mul(1_000), 0).to_string())
}

/// Where the tasks are.
#[derive(Debug, Clone)]
pub enum Tasks {
    /// In tables beside a cluster's journal, which are made or brought up to date first if `migrate` is set.
    Postgres {
        /// Connections for nothing else.
        pool: PgPool,
        /// Whether the tables are brought up to date.
        migrate: bool,
    },
    /// In a file of its own in this directory: apalis turns syncing off for the whole file.
    Sqlite {
        /// The directory of the journal.
        directory: PathBuf,
    },
}

impl Tasks {
    /// The file that the tasks are in, if they are in one.
    pub fn file(&self) -> Option<PathBuf> {
        match self {
            Self::Postgres { .. } => None,
            Self::Sqlite { directory } => Some(file(directory)),
        }
    }
}

/// Its whole name, whatever that looks like: SQLite would take a relative one that begins with `file:` for a URI, which
/// may name another file, or none.
pub(crate) fn file(directory: &Path) -> PathBuf {
    let file = directory.join(FILE);
    // It fails only where there is no working directory to begin from, and then nothing can be opened.
    std::path::absolute(&file).unwrap_or(file)
}

pub(crate) type Cause = Box<dyn Error + Send + Sync>;
pub(crate) type Working = Pin<Box<dyn Future<Output = Result<(), Cause>> + Send>>;

/// The queue, opened.
#[derive(Debug, Clone)]
pub(crate) enum Queue {
    Postgres(PgPool),
    Sqlite(SqlitePool),
}

impl Queue {
    pub(crate) async fn open(tasks: &Tasks) -> Result<Self, Cause> {
        match tasks {
            Tasks::Postgres { pool, migrate } => {
                let opened = Self::Postgres(pool.clone());
                if *migrate && let Err(error) = PostgresStorage::setup(pool).await {
                    // Whoever may not change tables need not, where somebody else has made them.
                    postgres(pool).fetch_by_id(&task_id(0)).await.map_err(|_| error)?;
                }
                Ok(opened)
            }
            Tasks::Sqlite { directory } => {
                let options = SqliteConnectOptions::new().filename(file(directory));
                let options = options.create_if_missing(true);
                let pool =
                    SqlitePoolOptions::new().max_connections(2).connect_with(options).await?;
                SqliteStorage::setup(&pool).await?;
                Ok(Self::Sqlite(pool))
            }
        }
    }

    /// Sees to it that there is a task for a second; whether it was added just now.
    pub(crate) async fn push(&self, second: u64) -> Result<bool, Cause> {
        let id = task_id(second);
        let task = TaskBuilder::new(second)
            .task_id(id.clone())
            .run_at_timestamp(second)
            .max_attempts(ATTEMPTS)
            .build();
        // Another replica may be quicker between the question and the answer.
        match self {
            Self::Postgres(pool) => {
                let mut tasks = postgres(pool);
                if tasks.fetch_by_id(&id).await?.is_some() {
                    return Ok(false);
                }
                match tasks.push_task(task).await {
                    Err(TaskSinkError::PushError(apalis_postgres::Error::Database(error)))
                        if error
                            .as_database_error()
                            .is_some_and(|error| error.is_unique_violation()) =>
                    {
                        Ok(false)
                    }
                    pushed => Ok(pushed.map(|()| true)?),
                }
            }
            Self::Sqlite(pool) => {
                let mut tasks = sqlite(pool);
                if tasks.fetch_by_id(&id).await?.is_some() {
                    return Ok(false);
                }
                Ok(tasks.push_task(task).await.map(|()| true)?)
            }
        }
    }

    /// Takes tasks that are due and does them, until something fails.
    pub(crate) fn work(self, name: &str, expire: Arc<dyn Expire>) -> Working {
        let task = move |_second: u64| {
            let expire = Arc::clone(&expire);
            async move {
                expire.due().await;
            }
        };
        match self {
            Self::Postgres(pool) => {
                let tasks = postgres(&pool).poll_with_interval(limits::EXPIRY_POLL);
                let worker = WorkerBuilder::new(name).backend(tasks).catch_panic().build(task);
                run(worker.stream())
            }
            Self::Sqlite(pool) => {
                let tasks = sqlite(&pool).poll_with_interval(limits::EXPIRY_POLL);
                let worker = WorkerBuilder::new(name).backend(tasks).catch_panic().build(task);
                run(worker.stream())
            }
        }
    }
}

/// Runs a worker until something fails.
fn run<T>(
    mut events: impl Stream<Item = Result<T, WorkerError>> + Send + Unpin + 'static,
) -> Working {
    Box::pin(async move {
        while let Some(event) = events.next().await {
            event?;
        }
        Ok(())
    })
}

pub(crate) fn postgres(pool: &PgPool) -> PostgresStorage<u64> {
    let config = apalis_postgres::Config::default()
        .queue(QUEUE)
        .batch_size(TASKS)
        .heartbeat_interval(HEARTBEAT)
        .missed_heartbeats(HEARTBEATS_MISSED);
    PostgresStorage::new(pool).with_config(config)
}

pub(crate) fn sqlite(pool: &SqlitePool) -> SqliteStorage<u64> {
    let config = apalis_sqlite::Config::default()
        .queue(QUEUE)
        .batch_size(TASKS)
        .heartbeat_interval(HEARTBEAT)
        .missed_heartbeats(HEARTBEATS_MISSED);
    SqliteStorage::new(pool).with_config(config)
}

impl Queue {
    /// Drops tasks that are done from the file that holds nothing else. Beside a journal that is one of its chores.
    pub(crate) async fn forget_done(&self) -> Result<u64, Cause> {
        match self {
            Self::Postgres(_) => Ok(0),
            Self::Sqlite(pool) => Ok(sqlite(pool).vacuum().await? as u64),
        }
    }
}
