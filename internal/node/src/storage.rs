//! Which adapter stands behind which port: embedded, SQLite and the stream inside the process; in a cluster,
//! PostgreSQL, Redis and a checkpoint.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use placard_replica::ports::{Chores, NoCheckpoints};
use placard_replica::{Config, Replica};
use placard_storage::checkpoint::CheckpointFile;
use placard_storage::directory::DirectoryError;
use placard_storage::in_process::InProcess;
use placard_storage::postgres::{self, PostgresJournal};
use placard_storage::redis::{self, RedisStream};
use placard_storage::sqlite::{self, SqliteJournal};
use tokio::task::JoinHandle;

pub use placard_storage::redis::{Sentinel, Server as Redis};

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
    /// `postgres://user:password@host:port/database`; holds a password.
    pub postgres_url: String,
    /// Where Redis is.
    pub redis: Redis,
    /// Certificates, in PEM, of the authorities that Redis is checked against over TLS.
    pub redis_authorities_pem: Option<Vec<u8>>,
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
    /// The checkpoint's directory cannot be had.
    #[error(transparent)]
    Checkpoint(#[from] DirectoryError),
    /// The listener is unusable.
    #[error("cannot use the listener")]
    Listener(#[source] io::Error),
}

/// The pause between two trimmings of the journal.
const TRIM: Duration = Duration::from_secs(600);

/// What a node works on: its replica, and the upkeep of its journal.
#[derive(Debug)]
pub(crate) struct Started {
    pub(crate) replica: Replica,
    /// Runs until it is aborted.
    pub(crate) upkeep: Option<JoinHandle<()>>,
}

/// Opens what the node is to work on, and starts its replica.
pub(crate) async fn start(storage: Storage, config: Config) -> Result<Started, StartError> {
    match storage {
        Storage::Embedded(directory) => {
            let opened = tokio::task::spawn_blocking(move || SqliteJournal::open(&directory)).await;
            let journal =
                opened.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()))?;
            let replica = Replica::start(journal, InProcess::default(), NoCheckpoints, config);
            Ok(Started { replica, upkeep: None })
        }
        Storage::Cluster(cluster) => start_clustered(*cluster, config).await,
    }
}

async fn start_clustered(
    cluster: ClusterStorage,
    mut config: Config,
) -> Result<Started, StartError> {
    let stream = RedisStream::connect(&redis::Options {
        entries_max: Some(config.stream_entries_max as u64),
        authorities_pem: cluster.redis_authorities_pem.clone(),
        ..redis::Options::new(cluster.redis.clone())
    })?;
    let checkpoint = cluster.checkpoint_dir.as_deref().map(CheckpointFile::open).transpose()?;
    let journal = connect(&cluster, checkpoint.as_ref()).await?;
    match stream.check().await {
        Ok(warnings) => warnings.iter().for_each(|warning| tracing::warn!(%warning, "Redis")),
        Err(error) => {
            let cause = error.1.to_string();
            tracing::warn!(%error, cause, "the journal is tailed until Redis is there");
        }
    }
    let upkeep = tokio::spawn(keep_up(journal.clone(), cluster.log_kept));
    let replica = match checkpoint {
        Some(checkpoint) => Replica::start(journal, stream, checkpoint, config),
        None => {
            config.checkpoint_every = None;
            Replica::start(journal, stream, NoCheckpoints, config)
        }
    };
    Ok(Started { replica, upkeep: Some(upkeep) })
}

/// Now and then, drops what the journal need not keep: old rows of the log, behind a base row, and answers
/// whose idempotency keys have run out. One replica does so at a time, by a lock in the database.
async fn keep_up(journal: PostgresJournal, log_kept: Duration) {
    loop {
        tokio::time::sleep(TRIM).await;
        match (journal.trim_log(log_kept).await, journal.forget_answers().await) {
            (Ok(rows), Ok(answers)) => tracing::info!(rows, answers, "the journal was trimmed"),
            (Err(error), _) | (_, Err(error)) => {
                let cause = error.1.to_string();
                tracing::warn!(%error, cause, "the journal cannot be trimmed");
            }
        }
    }
}

/// Connects to the journal. One that cannot be reached is no reason not to start, if there is a checkpoint to
/// answer from.
async fn connect(
    cluster: &ClusterStorage,
    checkpoint: Option<&CheckpointFile>,
) -> Result<PostgresJournal, StartError> {
    let options = postgres::Options {
        run_migrations: cluster.run_migrations,
        accept_unsafe_durability: cluster.accept_unsafe_durability,
    };
    match PostgresJournal::connect(&cluster.postgres_url, options).await {
        Err(error @ postgres::OpenError::Connect(..))
            if checkpoint.is_some_and(CheckpointFile::exists) =>
        {
            tracing::warn!(%error, "starting from the checkpoint");
            Ok(PostgresJournal::new(&cluster.postgres_url, options)?)
        }
        connected => Ok(connected?),
    }
}

/// Brings the journal's tables up to date.
///
/// # Errors
/// The journal cannot be reached or migrated.
pub async fn migrate(postgres_url: &str) -> Result<(), StartError> {
    Ok(postgres::migrate(postgres_url).await?)
}
