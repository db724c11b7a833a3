//! The journal of an embedded replica: one SQLite file in WAL mode with `synchronous=FULL`, one thread that
//! writes and two that read, and a lock on the directory against a second process. Its clock is this machine's.

#![expect(clippy::disallowed_methods, reason = "the journal's clock is this machine's")]

mod audit;
mod backup;
mod expirations;
mod opened;
mod records;
mod rows;
mod worker;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use placard_model::entry::{CAPACITY_LEVEL, Position, Record, format_level};
use placard_model::records::{EncodedRecord, Kind};
use placard_model::{Encoded, EncodedAd, Version, limits};
use placard_replica::ports::{
    BoxError, CommitError, Head, Heartbeat, Journal, Member, PollError, Unavailable,
};
use placard_replica::{Batch, Plan, Uptime, system_now};
use placard_scheduler::ports::{Chores, Expirations, Expired};
use rusqlite::{Connection, ErrorCode, OpenFlags, TransactionBehavior};
use rusqlite_migration::{Error, M, MigrationDefinitionError::DatabaseTooFarAhead, Migrations};
use tokio::sync::mpsc;
use uuid::Uuid;

use crate::chunk::Chunk;
use crate::directory::{DirLock, DirectoryError, writable_sqlite};
use opened::OpenedFile;
use worker::{JobError, Worker};

pub use audit::{AuditError, SqliteAudit};
pub use backup::{BackupError, backup};

const FILE: &str = "journal.sqlite";

/// WAL with a sync at every commit: with `NORMAL`, a power cut may lose what was acknowledged. The two
/// `fullfsync` lines matter on macOS, where a plain sync stops at the drive's cache.
const SETTINGS: &str = "
    PRAGMA journal_mode = WAL;
    PRAGMA synchronous = FULL;
    PRAGMA fullfsync = ON;
    PRAGMA checkpoint_fullfsync = ON;
    PRAGMA busy_timeout = 5000;
";

/// Why a journal was not opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The directory cannot be had.
    #[error(transparent)]
    Directory(#[from] DirectoryError),
    /// The file is there, but is no journal of ours.
    #[error("cannot open the journal {0}")]
    Journal(PathBuf, #[source] Box<dyn std::error::Error + Send + Sync>),
    /// The journal holds what this build cannot read.
    #[error(
        "the journal {0} needs format level {1}, and this build reads {own} at most: run a newer build",
        own = format_level()
    )]
    TooNew(PathBuf, u8),
}

/// A handle to the journal; its clones share it. The file is closed by [`SqliteJournal::close`], or a moment after the
/// last handle has gone.
#[derive(Debug, Clone)]
pub struct SqliteJournal {
    write: Arc<Worker>,
    read: Arc<Worker>,
    /// Apart from `read`, since a snapshot may take seconds.
    snapshot: Arc<Worker>,
    opened: Arc<OpenedFile>,
    /// Held for as long as the journal is open.
    _held: Arc<DirLock>,
}

impl SqliteJournal {
    /// Returns true if a directory holds a journal. An empty file does not count: SQLite takes it for a new one.
    pub fn is_in(directory: &Path) -> bool {
        std::fs::metadata(directory.join(FILE)).is_ok_and(|file| file.len() > 0)
    }

    /// Opens the journal of a directory, which is made if it is missing, and makes sure that it can be written.
    ///
    /// # Errors
    /// The directory is in use, cannot be used, holds something else, or something that cannot be written.
    pub fn open(directory: &Path) -> Result<Self, OpenError> {
        let held = DirLock::take(directory)?;
        let file = directory.join(FILE);
        writable_sqlite(&file)?;
        let unusable = |error| OpenError::Journal(file.clone(), error);
        let mut connection = connect(&file).map_err(unusable)?;
        let migrations = Migrations::new(vec![
            M::up(include_str!("../../../../migrations/sqlite/0001_journal.sql")),
            M::up(include_str!("../../../../migrations/sqlite/0002_identity.sql")),
            M::up(include_str!("../../../../migrations/sqlite/0003_records.sql")),
            M::up(include_str!("../../../../migrations/sqlite/0004_pools_of_ads.sql")),
        ]);
        match migrations.to_latest(&mut connection) {
            // Those that only a newer build knows are left alone: they only ever add.
            Ok(()) | Err(Error::MigrationDefinition(DatabaseTooFarAhead)) => {}
            Err(error) => return Err(unusable(error.into())),
        }
        // No other process has the directory: it stays so.
        let level = rows::level(&connection).map_err(|error| unusable(error.into()))?;
        if level > format_level() {
            return Err(OpenError::TooNew(file, level));
        }
        try_to_write(&mut connection).map_err(|error| unusable(error.into()))?;
        let opened = OpenedFile::new(&file).map_err(|error| unusable(error.into()))?;
        let worker = |name, connection| {
            let started = Worker::start(name, connection).map(Arc::new);
            started.map_err(|error| unusable(error.into()))
        };
        let another = || connect(&file).map_err(unusable);
        Ok(Self {
            write: worker("journal-write", connection)?,
            read: worker("journal-read", another()?)?,
            snapshot: worker("journal-snapshot", another()?)?,
            opened: Arc::new(opened),
            _held: Arc::new(held),
        })
    }

    /// Closes the file after the work that was begun, so that the file alone is the journal: the content of the
    /// write-ahead log is put into it. Whatever is asked of the journal afterwards fails.
    ///
    /// # Errors
    /// The write-ahead log could not be emptied. It is beside the file then, and nothing is lost.
    pub async fn close(&self) -> Result<(), Unavailable> {
        const WHAT: &str = "close the journal";
        // The last connection to go removes the write-ahead log.
        for readers in [&self.snapshot, &self.read] {
            readers.close(|_| ()).await.map_err(|error| Unavailable(WHAT, error.into()))?;
        }
        let closed = self.write.close(empty_wal).await;
        let emptied = closed.map_err(|error| Unavailable(WHAT, error.into()))?;
        emptied.map_err(|error| Unavailable(WHAT, error.into()))
    }
}

/// Connects to a file by its name, whatever that looks like: SQLite would take a relative one that begins with `file:` for
/// a URI, which may name another file, or none.
fn connect(file: &Path) -> Result<Connection, BoxError> {
    let flags = OpenFlags::default() - OpenFlags::SQLITE_OPEN_URI;
    let connection = Connection::open_with_flags(std::path::absolute(file)?, flags)?;
    connection.execute_batch(SETTINGS)?;
    connection.set_prepared_statement_cache_capacity(32);
    Ok(connection)
}

/// Commits a transaction that changes nothing, through all that a commit goes through.
fn try_to_write(connection: &mut Connection) -> rusqlite::Result<()> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let tried = transaction.execute("UPDATE head SET version = version", []);
    match tried.and_then(|_| transaction.commit()) {
        // There may be room again, and reads are answered until then.
        Err(error) if error.sqlite_error_code() == Some(ErrorCode::DiskFull) => {
            tracing::warn!(%error, "the journal cannot be written for now");
            Ok(())
        }
        tried => tried,
    }
}

/// Puts what is in the write-ahead log into the file.
fn empty_wal(connection: &Connection) -> rusqlite::Result<()> {
    let is_busy: bool =
        connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get(0))?;
    if is_busy {
        let busy = rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_BUSY);
        return Err(rusqlite::Error::SqliteFailure(busy, None));
    }
    Ok(())
}

fn commit(connection: &mut Connection, batch: &Batch) -> Result<Plan, CommitError> {
    let transaction = connection
        .transaction_with_behavior(TransactionBehavior::Immediate)
        .map_err(not_committed)?;
    let current = rows::current(&transaction, batch, system_now()).map_err(not_committed)?;
    let plan = batch.plan(current)?;
    rows::write(&transaction, &plan).map_err(not_committed)?;
    transaction.commit().map_err(|error| match error.sqlite_error_code() {
        // The write-ahead log had no room for the pages: nothing of them counts.
        Some(ErrorCode::DiskFull) => CommitError::NotCommitted(error.into()),
        // A failed sync leaves open what a later reader of the file will find.
        _ => CommitError::Unknown(error.into()),
    })?;
    Ok(plan)
}

fn not_committed(error: rusqlite::Error) -> CommitError {
    match error.sqlite_error_code() {
        Some(ErrorCode::ConstraintViolation | ErrorCode::TooBig | ErrorCode::TypeMismatch) => {
            CommitError::Refused(error.into())
        }
        _ => CommitError::NotCommitted(error.into()),
    }
}

fn snapshot(
    connection: &mut Connection,
    chunks: &mpsc::Sender<Vec<Encoded>>,
) -> rusqlite::Result<Position> {
    let transaction = connection.transaction()?;
    let position = rows::head(&transaction)?;
    send_all(&transaction, chunks)?;
    Ok(position)
}

/// Sends all ads and records, inside the caller's transaction.
fn send_all(connection: &Connection, chunks: &mpsc::Sender<Vec<Encoded>>) -> rusqlite::Result<()> {
    let mut statement = connection.prepare_cached("SELECT encoded FROM ads")?;
    let mut ads = statement.query([])?;
    let mut chunk = Chunk::default();
    while let Some(row) = ads.next()? {
        chunk.push(EncodedAd::from_bytes(row.get::<_, Vec<u8>>(0)?.into()));
        // A closed channel means that the builder has given up, and says why itself.
        if chunk.is_full() && chunks.blocking_send(chunk.take()).is_err() {
            return Ok(());
        }
    }
    // Below that level there are none, and a file that an older build has made has no table for them.
    if rows::level(connection)? < CAPACITY_LEVEL {
        let _ = chunks.blocking_send(chunk.take());
        return Ok(());
    }
    let mut statement = connection.prepare_cached("SELECT kind, encoded FROM records")?;
    let mut records = statement.query([])?;
    while let Some(row) = records.next()? {
        let kind = Kind::from_number(row.get(0)?);
        let kind = kind.ok_or(rusqlite::Error::IntegralValueOutOfRange(0, row.get(0)?))?;
        chunk.push(EncodedRecord::from_bytes(kind, row.get::<_, Vec<u8>>(1)?.into()));
        if chunk.is_full() && chunks.blocking_send(chunk.take()).is_err() {
            return Ok(());
        }
    }
    let _ = chunks.blocking_send(chunk.take());
    Ok(())
}

/// Shortest time for which log rows are kept: a repeated batch asks the log what it has written.
const LOG_KEPT_MIN: Duration = Duration::from_secs(3600);
/// Rows that one transaction deletes at most, since commits wait for it.
const CHORE_ROWS: usize = 1_000;

impl SqliteJournal {
    /// Does a job on the thread that reads, or on the one that writes.
    async fn ask<T: Send + 'static>(
        worker: &Worker,
        what: &'static str,
        job: impl FnOnce(&mut Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, Unavailable> {
        let done = worker.run(job).await.map_err(|error| Unavailable(what, error.into()))?;
        done.map_err(|error| Unavailable(what, error.into()))
    }

    /// Deletes by a statement of a time and a number of rows, repeatedly until nothing that old is left.
    async fn delete(
        &self,
        what: &'static str,
        statement: &'static str,
        keep: Duration,
    ) -> Result<u64, Unavailable> {
        let mut all = 0;
        loop {
            let before = system_now().saturating_add_micros(-(keep.as_micros() as i64)).micros();
            let some = move |connection: &mut Connection| {
                connection.prepare_cached(statement)?.execute(rusqlite::params![before, CHORE_ROWS])
            };
            let gone = Self::ask(&self.write, what, some).await?;
            all += gone as u64;
            if gone < CHORE_ROWS {
                return Ok(all);
            }
        }
    }
}

impl Expirations for SqliteJournal {
    async fn expired(&self, max: usize) -> Result<Expired, Unavailable> {
        let read =
            move |connection: &mut Connection| expirations::expired(connection, system_now(), max);
        Self::ask(&self.read, "read what has ended", read).await
    }

    async fn upcoming(&self, ahead: Duration, max: usize) -> Result<Vec<u64>, Unavailable> {
        let read = move |connection: &mut Connection| {
            expirations::upcoming(connection, system_now(), ahead, max)
        };
        Self::ask(&self.read, "read what will end", read).await
    }
}

impl Chores for SqliteJournal {
    async fn trim_log(&self, keep: Duration) -> Result<u64, Unavailable> {
        // Only what nothing older stands behind goes, so that the log has no holes.
        const OLDEST: &str = "
            DELETE FROM log WHERE version < (
                SELECT coalesce(min(version) FILTER (WHERE at >= ?1), max(version) + 1)
                  FROM (SELECT version, at FROM log ORDER BY version LIMIT ?2))";
        self.delete("trim the journal's log", OLDEST, keep.max(LOG_KEPT_MIN)).await
    }

    async fn forget_answers(&self) -> Result<u64, Unavailable> {
        const OLDEST: &str = "
            DELETE FROM idempotency WHERE scope IN (
                SELECT scope FROM idempotency WHERE at < ?1 ORDER BY at LIMIT ?2)";
        self.delete("forget old answers", OLDEST, limits::IDEMPOTENCY_KEPT).await
    }

    /// The tasks of an embedded replica are in a file of their own.
    async fn forget_tasks(&self, _: Duration) -> Result<u64, Unavailable> {
        Ok(0)
    }
}

impl Journal for SqliteJournal {
    async fn commit(&self, batch: Arc<Batch>) -> Result<Plan, CommitError> {
        let opened = Arc::clone(&self.opened);
        let commit = move |connection: &mut Connection| {
            opened.is_there().map_err(|error| CommitError::NotCommitted(error.into()))?;
            let plan = commit(connection, &batch)?;
            // It may have gone meanwhile, and the plan with it.
            opened.is_there().map_err(|error| CommitError::Unknown(error.into()))?;
            Ok(plan)
        };
        let committed = self.write.run(commit).await;
        committed.unwrap_or_else(|error| {
            Err(match error {
                // It was rolled back while its thread unwound; the batch is to blame.
                JobError::Panicked => CommitError::Refused(error.into()),
                JobError::Closed => CommitError::NotCommitted(error.into()),
            })
        })
    }

    /// The directory's lock ensures that this replica is the only one: the register is its own row.
    async fn poll(&self, heartbeat: Heartbeat, at: Version) -> Result<Head, PollError> {
        const WHAT: &str = "read the journal's head";
        self.opened.is_there().map_err(|error| Unavailable(WHAT, error.into()))?;
        let read = move |connection: &mut Connection| {
            let transaction = connection.transaction()?;
            let position = rows::head(&transaction)?;
            let chain_at = rows::chain_at(&transaction, at)?;
            let asked = Uptime::now();
            let now = system_now();
            let answered = Uptime::now();
            let Heartbeat { identity, status, lease, .. } = heartbeat;
            let lease_until = now.saturating_add_micros(lease.as_micros() as i64);
            let members = vec![Member { identity, status, seen_at: now, lease_until }];
            let left = Vec::new();
            let incarnation = rows::incarnation(&transaction)?;
            let level = rows::level(&transaction)?;
            Ok::<_, rusqlite::Error>(Head {
                position,
                chain_at,
                now,
                asked,
                answered,
                members,
                left,
                incarnation,
                level,
            })
        };
        Ok(Self::ask(&self.read, WHAT, read).await?)
    }

    async fn leave(&self, _: Uuid) -> Result<(), Unavailable> {
        Ok(())
    }

    async fn log(&self, after: Version, max: usize) -> Result<Vec<Record>, Unavailable> {
        const WHAT: &str = "read the journal's log";
        let read = move |connection: &mut Connection| rows::log(connection, after, max);
        let records = self.read.run(read).await.map_err(|error| Unavailable(WHAT, error.into()))?;
        records.map_err(|error| Unavailable(WHAT, error.into()))
    }

    async fn snapshot(&self, chunks: mpsc::Sender<Vec<Encoded>>) -> Result<Position, Unavailable> {
        const WHAT: &str = "read the journal's ads";
        let read = move |connection: &mut Connection| snapshot(connection, &chunks);
        let position =
            self.snapshot.run(read).await.map_err(|error| Unavailable(WHAT, error.into()))?;
        position.map_err(|error| Unavailable(WHAT, error.into()))
    }

    /// Runs the work: no other process has this file.
    async fn exclusively(
        &self,
        work: impl Future<Output = ()> + Send,
    ) -> Result<bool, Unavailable> {
        work.await;
        Ok(true)
    }
}
