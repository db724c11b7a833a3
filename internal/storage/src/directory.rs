//! A data directory, held by one process at a time, and whether what is in it can be written.

use std::ffi::OsString;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use tempfile::NamedTempFile;

const LOCK: &str = "lock";
/// The prefix of a trial file, which is made and removed again to see whether files can be made.
const TRIAL: &str = ".placard-trial-";
/// The suffixes of the files that SQLite keeps beside a file.
const BESIDE_SQLITE: [&str; 3] = ["-wal", "-shm", "-journal"];

/// Why a directory cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum DirectoryError {
    /// The directory cannot be made or used.
    #[error("cannot use the data directory {0}")]
    Unusable(PathBuf, #[source] io::Error),
    /// Another process has the directory.
    #[error("the data directory {0} is in use by another process")]
    InUse(PathBuf),
    /// A file that will have to be written cannot be.
    #[error("cannot write {0}")]
    Unwritable(PathBuf, #[source] io::Error),
}

/// The directory is this process's for as long as this is kept.
#[derive(Debug)]
pub(crate) struct DirLock {
    _lock: File,
}

impl DirLock {
    /// Makes the directory if it is missing, takes it, and makes sure that files can be made in it.
    pub(crate) fn take(directory: &Path) -> Result<Self, DirectoryError> {
        let unusable = |error| DirectoryError::Unusable(directory.to_owned(), error);
        std::fs::create_dir_all(directory).map_err(unusable)?;
        let lock = directory.join(LOCK);
        // A file of that name may belong to another program: nothing that is in it is lost.
        let file = OpenOptions::new().write(true).create(true).truncate(false).open(&lock);
        let file = file.map_err(|error| DirectoryError::Unwritable(lock, error))?;
        let held = Self::lock(directory, file)?;
        let trial = tempfile::Builder::new().prefix(TRIAL).tempfile_in(directory);
        match trial.and_then(NamedTempFile::close) {
            Ok(()) => {}
            // There may be room again, and what is there can be read until then.
            Err(error)
                if matches!(error.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded) =>
            {
                tracing::warn!(%error, "no file can be made in the data directory for now");
            }
            Err(error) => return Err(unusable(error)),
        }
        Ok(held)
    }

    fn lock(directory: &Path, file: File) -> Result<Self, DirectoryError> {
        match file.try_lock() {
            Ok(()) => Ok(Self { _lock: file }),
            Err(TryLockError::WouldBlock) => Err(DirectoryError::InUse(directory.to_owned())),
            Err(TryLockError::Error(error)) => {
                Err(DirectoryError::Unusable(directory.to_owned(), error))
            }
        }
    }
}

/// Makes sure that a file can be written, if it is there.
pub(crate) fn writable(file: &Path) -> Result<(), DirectoryError> {
    match OpenOptions::new().read(true).write(true).open(file) {
        Ok(_) => Ok(()),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        Err(error) => Err(DirectoryError::Unwritable(file.to_owned(), error)),
    }
}

/// Makes sure that a SQLite file and what SQLite keeps beside it can be written, as far as they are there. SQLite itself
/// is content to read, and says only at the first write, and not of which file, that it cannot. To be asked before this
/// process has the file open, since closing it here would undo SQLite's locks.
///
/// # Errors
/// One of them cannot be written; the error names it.
pub fn writable_sqlite(file: &Path) -> Result<(), DirectoryError> {
    writable(file)?;
    BESIDE_SQLITE.into_iter().try_for_each(|beside| {
        let mut name = OsString::from(file);
        name.push(beside);
        writable(Path::new(&name))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// People keep files under such names, and links to others.
    #[test]
    fn directory_is_probed_without_touching_its_files() {
        let directory = tempfile::tempdir().unwrap();
        let elsewhere = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(&elsewhere, "somebody's").unwrap();
        std::fs::write(directory.path().join("trial"), "somebody's").unwrap();
        std::os::unix::fs::symlink(&elsewhere, directory.path().join(LOCK)).unwrap();
        drop(DirLock::take(directory.path()).unwrap());
        for file in ["trial", LOCK] {
            let kept = std::fs::read_to_string(directory.path().join(file)).unwrap();
            assert_eq!(kept, "somebody's", "{file}");
        }
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 2);
    }
}
