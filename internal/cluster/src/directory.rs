//! A cluster's directory: one that is kept, or a temporary one that a link points to for as long as it is there.

use std::fs;
use std::io;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use crate::control;

/// The directory of a cluster. A temporary one is gone when this is dropped.
#[derive(Debug)]
pub struct Directory {
    path: PathBuf,
    temporary: Option<TempDir>,
    link: Option<PathBuf>,
}

impl Directory {
    /// Takes a directory, which is made if it is not there, and kept.
    ///
    /// # Errors
    /// A cluster runs in it, or it cannot be made.
    pub async fn kept(path: &Path) -> io::Result<Self> {
        unused(path).await?;
        let made = std::path::absolute(path);
        let made = made.and_then(|path| fs::create_dir_all(&path).map(|()| path));
        let path = made.map_err(|error| unusable(path, &error))?;
        Ok(Self { path, temporary: None, link: None })
    }

    /// Makes a temporary directory, and a link to it.
    ///
    /// # Errors
    /// The link is to the directory of a cluster that runs, or one of them cannot be made.
    pub async fn temporary(link: &Path) -> io::Result<Self> {
        unused(link).await?;
        let made = || {
            fs::create_dir_all(link.parent().unwrap_or(link))?;
            let temporary = tempfile::Builder::new().prefix("placard-run-").tempdir()?;
            // PostgreSQL, which may be another user's process, passes through.
            fs::set_permissions(temporary.path(), fs::Permissions::from_mode(0o711))?;
            // It may be that of a cluster that was killed.
            let _ = fs::remove_file(link);
            symlink(temporary.path(), link)?;
            Ok(temporary)
        };
        let temporary = made().map_err(|error| unusable(link, &error))?;
        let path = temporary.path().to_owned();
        Ok(Self { path, temporary: Some(temporary), link: Some(link.to_owned()) })
    }

    /// Returns its path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Returns true if it is gone when this is dropped.
    pub fn is_temporary(&self) -> bool {
        self.temporary.is_some()
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        if let Some(link) = &self.link
            && fs::read_link(link).is_ok_and(|to| to == self.path)
        {
            let _ = fs::remove_file(link);
        }
    }
}

async fn unused(path: &Path) -> io::Result<()> {
    if control::is_there(path).await {
        return Err(io::Error::other("a cluster is running already; DATA=DIR starts another"));
    }
    Ok(())
}

fn unusable(path: &Path, error: &io::Error) -> io::Error {
    io::Error::other(format!("cannot use {}: {error}", path.display()))
}
