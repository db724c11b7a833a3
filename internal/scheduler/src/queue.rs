//! The queue of tasks, as apalis keeps it: one task for each second in which ads end. Tasks are hints. They may be
//! lost, done twice, or done by another replica; the sweep and the version conditions make up for it.

use std::error::Error;
use std::fmt;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use apalis::prelude::*;
use apalis_core::backend::Vacuum;
use apalis_core::backend::finalize::DurableError;
use apalis_postgres::{PgPool, PostgresStorage};
use apalis_sqlite::{SqliteConnectOptions, SqlitePool, SqlitePoolOptions, SqliteStorage};
use futures_util::{Stream, StreamExt};
use placard_model::limits;
use tokio::sync::watch;
use ulid::Ulid;

/// The queue, once it could be opened.
pub(crate) type Source = watch::Receiver<Option<Queue>>;

/// The work that a task of the queue calls.
pub(crate) trait Expire: Send + Sync {
    /// Runs the task of a second that has come.
    fn due(&self) -> Pin<Box<dyn Future<Output = ()> + Send + '_>>;
}

/// The name of the queue.
pub(crate) const QUEUE: &str = "placard-expiry";
/// The file of the queue of an embedded replica.
const FILE: &str = "expiry.db";
/// The interval of a worker's heartbeats, and how many of them may be missing before its tasks go to other workers.
const HEARTBEAT: Duration = Duration::from_secs(2);
const HEARTBEATS_MISSED: usize = 3;
/// Tasks that a worker takes at once.
const TASKS: usize = 8;
/// Attempts at a task.
const ATTEMPTS: usize = 3;

/// Returns the id of a second's task, which is the same for every replica. Both stores take only ids in the form of a
/// ULID; its time is the second.
fn task_id(second: u64) -> TaskId {
    TaskId::from_string(Ulid::from_parts(second.saturating_mul(1_000), 0).to_string())
}

/// Words an error of the database client that the queue uses; it says nothing of other errors.
#[derive(Clone)]
pub struct Wording(Arc<Tell>);

/// What a worker's poll of PostgreSQL fails with. It does not name its source as such.
type Polling = DurableError<apalis_postgres::Error, serde_json::Error>;

type Tell = dyn Fn(&(dyn Error + 'static)) -> Option<String> + Send + Sync;

impl Wording {
    /// Uses a function of the crate that knows the client.
    pub fn new(
        told: impl Fn(&(dyn Error + 'static)) -> Option<String> + Send + Sync + 'static,
    ) -> Self {
        Self(Arc::new(told))
    }

    /// Finds the error that this wording knows, and states it once, without the layers of apalis that it came through.
    fn told(&self, error: QueueError) -> QueueError {
        let mut next: Option<&(dyn Error + 'static)> = Some(&*error);
        while let Some(error) = next {
            let told = match error.downcast_ref() {
                Some(apalis_postgres::Error::Database(error)) => (self.0)(error),
                _ => (self.0)(error),
            };
            if let Some(told) = told {
                return Told(told).into();
            }
            next = match (error.downcast_ref(), error.downcast_ref()) {
                (Some(WorkerError::BackendError(error)), _) => Some(&**error),
                (_, Some(Polling::PollNextError(error))) => Some(error),
                _ => error.source(),
            };
        }
        error
    }
}

impl fmt::Debug for Wording {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Wording")
    }
}

/// An error in the words of [`Wording`].
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Told(String);

/// The place of the tasks.
#[derive(Debug, Clone)]
pub enum Tasks {
    /// In tables beside a cluster's journal, which are made or brought up to date first if `migrate` is set.
    Postgres {
        /// Connections for nothing else.
        pool: PgPool,
        /// Whether the tables are brought up to date.
        migrate: bool,
        /// Words what fails there.
        wording: Wording,
    },
    /// In a file of its own in this directory: apalis turns syncing off for the whole file.
    Sqlite {
        /// The directory of the journal.
        directory: PathBuf,
    },
}

impl Tasks {
    /// Returns the file that the tasks are in, if they are in a file.
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

pub(crate) type QueueError = Box<dyn Error + Send + Sync>;
pub(crate) type Working = Pin<Box<dyn Future<Output = Result<(), QueueError>> + Send>>;

/// The queue, opened.
#[derive(Debug, Clone)]
pub(crate) enum Queue {
    Postgres(PgPool, Wording),
    Sqlite(SqlitePool),
}

impl Queue {
    pub(crate) async fn open(tasks: &Tasks) -> Result<Self, QueueError> {
        match tasks {
            Tasks::Postgres { pool, migrate, wording } => {
                if *migrate && let Err(error) = PostgresStorage::setup(pool).await {
                    // A role that may not change tables need not, if the tables are there already.
                    let there = postgres(pool).fetch_by_id(&task_id(0)).await;
                    there.map_err(|_| wording.told(error.into()))?;
                }
                Ok(Self::Postgres(pool.clone(), wording.clone()))
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

    /// Ensures that there is a task for a second. Returns whether it was added just now.
    pub(crate) async fn push(&self, second: u64) -> Result<bool, QueueError> {
        self.try_push(second).await.map_err(|error| self.told(error))
    }

    fn told(&self, error: QueueError) -> QueueError {
        match self {
            Self::Postgres(_, wording) => wording.told(error),
            Self::Sqlite(_) => error,
        }
    }

    async fn try_push(&self, second: u64) -> Result<bool, QueueError> {
        let id = task_id(second);
        let task = TaskBuilder::new(second)
            .task_id(id.clone())
            .run_at_timestamp(second)
            .max_attempts(ATTEMPTS)
            .build();
        // Another replica may be quicker between the question and the answer.
        match self {
            Self::Postgres(pool, _) => {
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
        let queue = self.clone();
        let working = self.worker(name, expire);
        Box::pin(async move { working.await.map_err(|error| queue.told(error)) })
    }

    fn worker(self, name: &str, expire: Arc<dyn Expire>) -> Working {
        let task = move |_second: u64| {
            let expire = Arc::clone(&expire);
            async move {
                expire.due().await;
            }
        };
        match self {
            Self::Postgres(pool, _) => {
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
    /// Deletes tasks that are done from the file, which holds nothing else. Beside a PostgreSQL journal that is one of
    /// the journal's chores.
    pub(crate) async fn forget_done(&self) -> Result<u64, QueueError> {
        match self {
            Self::Postgres(..) => Ok(0),
            Self::Sqlite(pool) => Ok(sqlite(pool).vacuum().await? as u64),
        }
    }
}
