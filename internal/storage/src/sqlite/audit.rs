//! An embedded journal at one moment, whether or not a server writes to it meanwhile.

use std::path::{Path, PathBuf};

use placard_model::entry::{Position, Record, format_level};
use placard_model::{Encoded, Version};
use placard_replica::ports::{Audit, BoxError, Unavailable};
use rusqlite::Connection;
use tokio::sync::mpsc;

use super::worker::Worker;
use super::{FILE, connect, rows, send_all};

/// Why a journal cannot be audited.
#[derive(Debug, thiserror::Error)]
pub enum AuditError {
    /// There is no journal there.
    #[error("there is no journal in {0}")]
    Missing(PathBuf),
    /// The journal cannot be read.
    #[error("cannot read the journal {0}")]
    Journal(PathBuf, #[source] BoxError),
    /// The journal holds what this build cannot read.
    #[error(
        "the journal {0} needs format level {1}, and this build reads {own} at most: run a newer build",
        own = format_level()
    )]
    TooNew(PathBuf, u8),
}

/// The journal of a directory at one moment, which lasts until this is dropped.
#[derive(Debug)]
pub struct SqliteAudit {
    worker: Worker,
    head: Position,
    base: Position,
}

impl SqliteAudit {
    /// Begins an audit of the journal of a directory.
    ///
    /// # Errors
    /// There is no journal, or it cannot be read.
    pub fn begin(directory: &Path) -> Result<Self, AuditError> {
        let file = directory.join(FILE);
        if !file.is_file() {
            return Err(AuditError::Missing(directory.to_owned()));
        }
        let unreadable = |error| AuditError::Journal(file.clone(), error);
        // The directory's lock is a server's: one may start meanwhile.
        let connection = connect(&file).map_err(unreadable)?;
        let (level, head, base) =
            at_one_moment(&connection).map_err(|error| unreadable(error.into()))?;
        if level > format_level() {
            return Err(AuditError::TooNew(file, level));
        }
        let worker = Worker::start("journal-audit", connection);
        let worker = worker.map_err(|error| unreadable(error.into()))?;
        Ok(Self { worker, head, base })
    }

    async fn read<T: Send + 'static>(
        &self,
        what: &'static str,
        job: impl FnOnce(&mut Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, Unavailable> {
        let read = self.worker.run(job).await.map_err(|error| Unavailable(what, error.into()))?;
        read.map_err(|error| Unavailable(what, error.into()))
    }
}

/// Begins a transaction, which the connection's end will end: the journal's level, its head, and where its log begins.
fn at_one_moment(connection: &Connection) -> rusqlite::Result<(u8, Position, Position)> {
    connection.execute_batch("BEGIN")?;
    let (level, head) = (rows::level(connection)?, rows::head(connection)?);
    Ok((level, head, rows::base(connection)?.unwrap_or(head)))
}

impl Audit for SqliteAudit {
    fn head(&self) -> Position {
        self.head
    }

    fn base(&self) -> Position {
        self.base
    }

    async fn log(&mut self, after: Version, max: usize) -> Result<Vec<Record>, Unavailable> {
        let read = move |connection: &mut Connection| rows::log(connection, after, max);
        self.read("read the journal's log", read).await
    }

    async fn contents(&mut self, chunks: mpsc::Sender<Vec<Encoded>>) -> Result<(), Unavailable> {
        let send = move |connection: &mut Connection| send_all(connection, &chunks);
        self.read("read the journal's ads", send).await
    }

    async fn end(self) {}
}
