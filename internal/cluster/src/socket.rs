//! Sockets in a cluster's directory, however long its name is: the address of a socket holds 108 bytes at most.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};

use tokio::net::{UnixListener, UnixStream};

/// Connects to the socket of this name.
pub(crate) async fn connect(directory: &Path, name: &str) -> io::Result<UnixStream> {
    let opened = File::open(directory)?;
    UnixStream::connect(short(&opened, name)).await
}

/// Listens on a socket of this name, which replaces another.
pub(crate) fn listen(directory: &Path, name: &str) -> io::Result<UnixListener> {
    let opened = File::open(directory)?;
    match std::fs::remove_file(directory.join(name)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => UnixListener::bind(short(&opened, name)),
    }
}

/// The name of a file in an open directory.
fn short(directory: &File, name: &str) -> PathBuf {
    format!("/proc/self/fd/{}/{name}", directory.as_raw_fd()).into()
}
