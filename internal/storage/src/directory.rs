//! A data directory, held by one process at a time.

use std::fs::{File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

const LOCK: &str = "lock";

/// Why a directory cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum DirectoryError {
    /// The directory cannot be made or used.
    #[error("cannot use the data directory {0}")]
    Unusable(PathBuf, #[source] io::Error),
    /// Another process has the directory.
    #[error("the data directory {0} is in use by another process")]
    InUse(PathBuf),
}

/// The directory is this process's for as long as this is kept.
#[derive(Debug)]
pub(crate) struct Held {
    _lock: File,
}

impl Held {
    /// Makes the directory if it is missing, and takes it.
    pub(crate) fn take(directory: &Path) -> Result<Self, DirectoryError> {
        let unusable = |error| DirectoryError::Unusable(directory.to_owned(), error);
        std::fs::create_dir_all(directory).map_err(unusable)?;
        let lock = File::create(directory.join(LOCK)).map_err(unusable)?;
        match lock.try_lock() {
            Ok(()) => Ok(Self { _lock: lock }),
            Err(TryLockError::WouldBlock) => Err(DirectoryError::InUse(directory.to_owned())),
            Err(TryLockError::Error(error)) => Err(unusable(error)),
        }
    }
}
