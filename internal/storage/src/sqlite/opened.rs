//! Whether the file that is open is still the one of its name. SQLite goes on writing into a file that was deleted, or whose
//! name another file has taken: what is written there is gone when the server stops.

use std::io;
use std::path::{Path, PathBuf};

/// A file, as it was when it was opened.
#[derive(Debug)]
pub(super) struct OpenedFile {
    path: PathBuf,
    identity: Option<Identity>,
}

/// The device and the inode, where there are such.
type Identity = (u64, u64);

impl OpenedFile {
    pub(super) fn new(path: &Path) -> io::Result<Self> {
        let path = std::path::absolute(path)?;
        let identity = identity(&path)?;
        Ok(Self { path, identity })
    }

    /// Makes sure that its name still leads to it.
    pub(super) fn is_there(&self) -> io::Result<()> {
        match identity(&self.path) {
            Ok(found) if found == self.identity => Ok(()),
            Ok(_) => Err(io::Error::other(format!("{} is another file now", self.path.display()))),
            Err(error) => {
                let text = format!("{} was deleted or moved: {error}", self.path.display());
                Err(io::Error::new(error.kind(), text))
            }
        }
    }
}

#[cfg(unix)]
fn identity(path: &Path) -> io::Result<Option<Identity>> {
    use std::os::unix::fs::MetadataExt;
    std::fs::metadata(path).map(|file| Some((file.dev(), file.ino())))
}

#[cfg(not(unix))]
fn identity(path: &Path) -> io::Result<Option<Identity>> {
    // No other process deletes a file there while this one has it open.
    std::fs::metadata(path).map(|_| None)
}
