//! Makes a copy of an embedded journal, whether or not a server writes to it meanwhile.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use placard_model::entry::Position;
use placard_replica::ports::BoxError;
use rusqlite::backup::{Backup, StepResult};
use rusqlite::{Connection, ErrorCode};
use tempfile::NamedTempFile;

use super::{FILE, connect, rows};

/// The prefix of an unfinished copy's name.
const UNFINISHED: &str = ".placard-backup-";
/// All pages at once: between two steps another process's commit would make SQLite begin from the start.
const ALL_PAGES: i32 = -1;

/// Why there is no copy.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// There is no journal there.
    #[error("there is no journal in {0}")]
    Missing(PathBuf),
    /// The journal cannot be read.
    #[error("cannot read the journal {0}")]
    Journal(PathBuf, #[source] BoxError),
    /// A file of the copy's name is there. It is left as it is.
    #[error("{0} is there already")]
    Exists(PathBuf),
    /// The copy cannot be written.
    #[error("cannot write {0}")]
    Copy(PathBuf, #[source] BoxError),
}

/// Copies the journal of a directory, as it is at one moment, into a new file: one that is a journal by itself, and is
/// there when all of it is on the disk. A server on that directory goes on reading and writing.
///
/// # Errors
/// There is no journal, it cannot be read, or the file is there or cannot be written.
pub fn backup(directory: &Path, to: &Path) -> Result<Position, BackupError> {
    let file = directory.join(FILE);
    if !file.is_file() {
        return Err(BackupError::Missing(directory.to_owned()));
    }
    if to.symlink_metadata().is_ok() {
        return Err(BackupError::Exists(to.to_owned()));
    }
    let unreadable = |error| BackupError::Journal(file.clone(), error);
    let unwritable = |error: BoxError| BackupError::Copy(to.to_owned(), error);
    let told = |failure| match failure {
        Failure::Journal(error) => unreadable(error),
        Failure::Copy(error) => unwritable(error),
    };
    // The directory's lock is a server's: one may start meanwhile. SQLite's own locks ensure that the last connection
    // cleans up, whichever that is.
    let journal = connect(&file).map_err(unreadable)?;
    let beside = to.parent().filter(|parent| !parent.as_os_str().is_empty());
    let beside = beside.unwrap_or(Path::new("."));
    // Before the work: it is to be synced at the end.
    let directory = File::open(beside).map_err(|error| unwritable(error.into()))?;
    let copy = tempfile::Builder::new().prefix(UNFINISHED).tempfile_in(beside);
    let copy = copy.map_err(|error| unwritable(error.into()))?;
    copy_pages(&journal, copy.path()).map_err(told)?;
    let position = written(&copy).map_err(told)?;
    match copy.persist_noclobber(to) {
        Ok(_) => {}
        Err(error) if error.error.kind() == io::ErrorKind::AlreadyExists => {
            return Err(BackupError::Exists(to.to_owned()));
        }
        Err(error) => return Err(unwritable(error.error.into())),
    }
    // The name is in the directory, and lasts when the directory does.
    directory.sync_all().map_err(|error| unwritable(error.into()))?;
    Ok(position)
}

/// On which side something failed.
enum Failure {
    Journal(BoxError),
    Copy(BoxError),
}

impl<E: Into<BoxError>> From<E> for Failure {
    fn from(error: E) -> Self {
        Self::Copy(error.into())
    }
}

/// A step reads the journal and writes the copy. Only the journal is shared, can be damaged, and is read.
fn step_failed(error: rusqlite::Error) -> Failure {
    use rusqlite::ffi::{SQLITE_IOERR_READ, SQLITE_IOERR_SHORT_READ};
    let is_read = error.sqlite_error().is_some_and(|error| {
        [SQLITE_IOERR_READ, SQLITE_IOERR_SHORT_READ].contains(&error.extended_code)
    });
    match error.sqlite_error_code() {
        Some(
            ErrorCode::DatabaseCorrupt
            | ErrorCode::NotADatabase
            | ErrorCode::DatabaseBusy
            | ErrorCode::DatabaseLocked,
        ) => Failure::Journal(error.into()),
        _ if is_read => Failure::Journal(error.into()),
        _ => Failure::Copy(error.into()),
    }
}

/// Copies what the journal holds at this moment.
fn copy_pages(journal: &Connection, to: &Path) -> Result<(), Failure> {
    let mut copy = Connection::open(std::path::absolute(to)?)?;
    // No other process has the file, and it is thrown away if this does not succeed.
    copy.execute_batch("PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF;")?;
    match Backup::new(journal, &mut copy)?.step(ALL_PAGES).map_err(step_failed)? {
        StepResult::Done => Ok(()),
        // Not with pages left: all were asked for.
        other => Err(Failure::Journal(format!("it is locked ({other:?})").into())),
    }
}

/// Makes sure that the copy is on the disk and is a journal: where that ends.
fn written(copy: &NamedTempFile) -> Result<Position, Failure> {
    copy.as_file().sync_all()?;
    let connection = connect(copy.path())?;
    // The copy is what the journal is, or is not.
    let position = rows::head(&connection).map_err(|error| Failure::Journal(error.into()))?;
    // Closing it removes what the look has made beside it.
    connection.close().map_err(|(_, error)| error)?;
    copy.as_file().sync_all()?;
    Ok(position)
}
