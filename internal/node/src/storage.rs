//! Chooses the adapter of each port: embedded, SQLite and the stream inside the process; in a cluster, PostgreSQL,
//! Redis and a checkpoint.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use placard_model::Version;
use placard_replica::ports::{NoCheckpoints, Unavailable};
use placard_replica::{Config, Expiry, Replica};
use placard_scheduler::ports::{Chores, Expirations, TaskStore};
use placard_scheduler::{Config as SchedulerConfig, Scheduler};
use placard_storage::checkpoint::CheckpointFile;
use placard_storage::directory::{DirectoryError, writable_sqlite};
use placard_storage::in_process::InProcess;
use placard_storage::postgres::{self, PostgresJournal};
use placard_storage::redis::{self, RedisStream};
use placard_storage::sqlite::{self, SqliteJournal};
use placard_tasks::{PostgresTasks, Shown, SqliteTasks, Wording};

pub use placard_storage::redis::{Sentinel, Server as Redis, Tls as RedisTls};
pub use placard_storage::secret::{Secret, read_file};

/// Where a node's journal and stream are.
#[derive(Debug, Clone)]
pub enum Storage {
    /// In this directory, for this node alone; made if it is missing.
    Embedded(PathBuf),
    /// On servers that a cluster shares.
    Cluster(Box<ClusterStorage>),
}

/// The servers of a cluster, and what this node keeps of its own.
#[derive(Clone)]
pub struct ClusterStorage {
    /// `postgres://user:password@host:port/database`, of one or several hosts.
    pub postgres_url: Secret,
    /// Where Redis is.
    pub redis: Redis,
    /// How Redis and this node authenticate each other over TLS.
    pub redis_tls: RedisTls,
    /// Where the checkpoint is; `None` for a node that keeps none.
    pub checkpoint_dir: Option<PathBuf>,
    /// How long rows of the log are kept.
    pub log_kept: Duration,
    /// Whether the journal's tables are brought up to date.
    pub run_migrations: bool,
    /// Whether PostgreSQL may be set up so that a crash of its machine loses or corrupts the journal.
    pub accept_unsafe_durability: bool,
}

/// Without the passwords.
impl fmt::Debug for ClusterStorage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClusterStorage")
            .field("redis", &self.redis)
            .field("checkpoint_dir", &self.checkpoint_dir)
            .field("run_migrations", &self.run_migrations)
            .field("accept_unsafe_durability", &self.accept_unsafe_durability)
            .finish_non_exhaustive()
    }
}

/// Why a node did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The embedded journal cannot be opened.
    #[error(transparent)]
    Embedded(#[from] sqlite::OpenError),
    /// The cluster's journal cannot be used.
    #[error(transparent)]
    Journal(#[from] postgres::OpenError),
    /// The stream is described wrongly.
    #[error(transparent)]
    Stream(#[from] redis::OptionsError),
    /// Redis is of a kind that cannot hold a stream.
    #[error(transparent)]
    Redis(redis::Warning),
    /// The journal was there, and cannot be asked whether it is empty.
    #[error(transparent)]
    Unasked(#[from] Unavailable),
    /// The data directory cannot be opened or locked, or something in it cannot be written.
    #[error(transparent)]
    Directory(#[from] DirectoryError),
    /// The journal is empty, and a journal that was not empty is known.
    #[error(
        "{0} is empty, and {1} knows of one that is not: restore that one; or say --new-journal once, and this one takes \
         its place"
    )]
    Emptied(String, String),
    /// The listener is unusable.
    #[error("cannot use the listener")]
    Listener(#[source] io::Error),
    /// Writes are to be traced, and cannot be.
    #[error(transparent)]
    Telemetry(#[from] placard_telemetry::StartError),
}

impl StartError {
    /// Returns true if the node cannot start until its configuration is changed: a URL, or a file that one names, cannot
    /// be used. What other servers, files and tables are like may change by itself.
    pub fn is_of_the_configuration(&self) -> bool {
        matches!(self, Self::Stream(_) | Self::Journal(postgres::OpenError::Url(_)))
    }
}

/// The started parts of a node: its replica, and what runs beside it.
#[derive(Debug)]
pub(crate) struct Started {
    pub(crate) replica: Replica,
    /// Runs until it is dropped.
    pub(crate) scheduler: Scheduler,
    pub(crate) expiry: Expiry,
    /// The tasks that a board shows.
    pub(crate) board: Shown,
    /// A journal that must be closed at the end.
    pub(crate) embedded: Option<SqliteJournal>,
}

/// Opens the node's journal and stream, and starts its replica.
pub(crate) async fn start(storage: Storage, config: Config) -> Result<Started, StartError> {
    match storage {
        Storage::Embedded(directory) => {
            let tasks = SqliteTasks::in_directory(&directory);
            let queue = SqliteTasks::file(&directory);
            let board = Shown::Sqlite(directory.clone());
            let takes_new = config.takes_new_journal;
            let opened = tokio::task::spawn_blocking(move || {
                // Checked first, so that a refused start has changed nothing.
                writable_sqlite(&queue)?;
                if !takes_new && !SqliteJournal::is_in(&directory) {
                    refuse_beside(&directory, &queue)?;
                }
                Ok::<_, StartError>(SqliteJournal::open(&directory)?)
            });
            let journal = opened
                .await
                .unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()))?;
            let stream = InProcess::default();
            let replica = Replica::start(journal.clone(), stream, NoCheckpoints, config);
            let config = SchedulerConfig::default();
            let started = scheduled(replica, journal.clone(), tasks, config, board);
            Ok(Started { embedded: Some(journal), ..started })
        }
        Storage::Cluster(cluster) => start_clustered(*cluster, config).await,
    }
}

/// Refuses to begin a journal in a directory in which there was one, or a replica of a cluster.
fn refuse_beside(directory: &Path, queue: &Path) -> Result<(), StartError> {
    let checkpoint = CheckpointFile::in_directory(directory);
    let known = [checkpoint.as_path(), queue].into_iter().find(|file| file.exists());
    known.map_or(Ok(()), |known| {
        let place = format!("the journal in {}", directory.display());
        Err(StartError::Emptied(place, known.display().to_string()))
    })
}

/// Refuses a journal that is empty where another one is known, by the checkpoint, the register or Redis.
async fn refuse_emptied(
    journal: &PostgresJournal,
    stream: &RedisStream,
    checkpoint: Option<&CheckpointFile>,
) -> Result<(), StartError> {
    let Some(empty) = journal.emptiness().await? else { return Ok(()) };
    // A Redis that is away is not asked: no start depends on it.
    let remembered = stream.remembered().await.ok().flatten();
    let saved = checkpoint.and_then(CheckpointFile::version).filter(|version| *version > 0);
    let known = saved
        .map(|version| format!("the checkpoint, of version {version},"))
        .or_else(|| empty.known_by.map(|address| format!("the replica {address}")))
        .or_else(|| {
            let other = remembered.filter(|known| Some(*known) != empty.journal);
            other.map(|_| "Redis".to_owned())
        });
    known.map_or(Ok(()), |known| {
        let place = format!("the journal in PostgreSQL at {}", empty.place);
        Err(StartError::Emptied(place, known))
    })
}

/// Makes an empty journal replace another: everything by which a replica would find the other one again is removed.
async fn begin_anew(
    journal: &PostgresJournal,
    stream: &RedisStream,
    checkpoint: Option<&CheckpointFile>,
) -> Result<(), StartError> {
    if journal.emptiness().await?.is_none() {
        return Ok(());
    }
    checkpoint.map_or(Ok(()), CheckpointFile::set_aside)?;
    if let Err(error) = stream.forget().await {
        let cause = placard_replica::reasons(&error);
        tracing::warn!(%error, cause, "say --new-journal again until something was written");
    }
    Ok(())
}

async fn start_clustered(
    cluster: ClusterStorage,
    mut config: Config,
) -> Result<Started, StartError> {
    let stream = RedisStream::connect(&redis::Options {
        entries_max: Some(config.stream_entries_max as u64),
        tls: cluster.redis_tls.clone(),
        ..redis::Options::new(cluster.redis.clone())
    })?;
    let checkpoint = cluster.checkpoint_dir.as_deref().map(CheckpointFile::open).transpose()?;
    let takes_new = config.takes_new_journal;
    let journal = connect(&cluster, &stream, checkpoint.as_ref(), takes_new).await?;
    match stream.check().await {
        Ok(warnings) if warnings.contains(&redis::Warning::Cluster) => {
            return Err(StartError::Redis(redis::Warning::Cluster));
        }
        Ok(warnings) => warnings.iter().for_each(|warning| tracing::warn!(%warning, "Redis")),
        Err(error) => {
            let cause = placard_replica::reasons(&error);
            tracing::warn!(%error, cause, "Redis was not checked: the journal is tailed until the stream can be used");
        }
    }
    let known = journal.clone();
    let wording = Wording::new(move |error| known.told(error));
    let pool = journal.tasks_pool();
    let migrate = cluster.run_migrations;
    let tasks = PostgresTasks { pool, migrate, wording };
    let board = Shown::Postgres(journal.board_pool());
    let scheduler = SchedulerConfig { log_kept: cluster.log_kept, ..SchedulerConfig::default() };
    let replica = match checkpoint {
        Some(checkpoint) => Replica::start(journal.clone(), stream, checkpoint, config),
        None => {
            config.checkpoint_every = None;
            Replica::start(journal.clone(), stream, NoCheckpoints, config)
        }
    };
    Ok(scheduled(replica, journal, tasks, scheduler, board))
}

/// Starts the scheduler that deletes ended ads on a replica's behalf.
fn scheduled<J: Expirations + Chores>(
    replica: Replica,
    journal: J,
    tasks: impl TaskStore,
    config: SchedulerConfig,
    board: Shown,
) -> Started {
    let expiry = Expiry::default();
    let handle = replica.handle().clone();
    let scheduler = Scheduler::start(journal, tasks, handle, expiry.clone(), config);
    Started { replica, scheduler, expiry, board, embedded: None }
}

/// Connects to the journal. One that cannot be reached is no reason not to start, if there is a checkpoint to
/// answer from.
async fn connect(
    cluster: &ClusterStorage,
    stream: &RedisStream,
    checkpoint: Option<&CheckpointFile>,
    takes_new: bool,
) -> Result<PostgresJournal, StartError> {
    let options = postgres::Options {
        run_migrations: cluster.run_migrations,
        accept_older_tables: false,
        accept_unsafe_durability: cluster.accept_unsafe_durability,
    };
    let connected = async {
        let journal = PostgresJournal::reach(cluster.postgres_url.clone(), options).await?;
        stream.remember_at(journal.place().clone());
        if takes_new {
            journal.prepare(options).await?;
            begin_anew(&journal, stream, checkpoint).await?;
        } else {
            // First, so that a start that is refused for it has made no tables. An older build's are asked once they are migrated,
            // and the next step says what else prevents asking.
            match refuse_emptied(&journal, stream, checkpoint).await {
                Ok(()) | Err(StartError::Unasked(_)) => {}
                refused => refused?,
            }
            journal.prepare(options).await?;
            refuse_emptied(&journal, stream, checkpoint).await?;
        }
        Ok(journal)
    };
    match connected.await {
        Err(
            error
            @ (StartError::Journal(postgres::OpenError::Connect(..)) | StartError::Unasked(_)),
        ) if checkpoint.is_some_and(CheckpointFile::exists) => {
            let cause = placard_replica::reasons(&error);
            tracing::warn!(%error, cause, "starting from the checkpoint");
            let journal = PostgresJournal::new(cluster.postgres_url.clone(), options)?;
            stream.remember_at(journal.place().clone());
            Ok(journal)
        }
        connected => connected,
    }
}

/// Copies an embedded journal into a new file. Returns the version of the last entry in it.
///
/// # Errors
/// There is no journal in the directory, it cannot be read, or the file is there or cannot be written.
pub async fn backup(directory: PathBuf, to: PathBuf) -> Result<Version, sqlite::BackupError> {
    let copied = tokio::task::spawn_blocking(move || sqlite::backup(&directory, &to)).await;
    let copied = copied.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()));
    copied.map(|position| position.version)
}

/// Brings the journal's tables up to date.
///
/// # Errors
/// The journal cannot be reached or migrated.
pub async fn migrate(postgres_url: Secret) -> Result<(), StartError> {
    let pool = postgres::migrate(postgres_url).await?;
    // The sweep works without them, so a server that lacks what they need is no reason to fail.
    if let Err(error) = placard_tasks::migrate(&pool, Wording::new(postgres::told)).await {
        let cause = placard_replica::reasons(&*error);
        tracing::warn!(%error, cause, "the tables of expiry's tasks are not up to date");
    }
    Ok(())
}
