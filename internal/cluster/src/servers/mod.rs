//! Private servers: each on a free port of 127.0.0.1, in a temporary directory of its own or in a cluster's, and gone
//! with its handle, also if the test fails or its process is killed.

pub mod caddy;
pub mod haproxy;
pub mod nginx;
pub mod pgbouncer;
pub mod postgres;
pub mod redis;
pub mod sentinel;

use std::io;
use std::net::TcpListener;
use std::path::PathBuf;

use uuid::Uuid;

use crate::process::{Place, Process};

/// Starts that may fail because another process took the port first.
const TRIES: usize = 5;
/// Below the range that the system draws from for outgoing connections, so that a stopped server finds its
/// port free again.
const PORTS: std::ops::Range<u16> = 12_000..32_000;

/// Starts a server, again if it does not start: another process may have taken its port first.
pub(crate) async fn started<S>(mut start: impl AsyncFnMut() -> io::Result<S>) -> io::Result<S> {
    for _ in 1..TRIES {
        if let Ok(started) = start().await {
            return Ok(started);
        }
    }
    start().await
}

/// Returns a port that no process listens on. Another process may take it first: the caller, which starts a server,
/// then tries again.
pub(crate) fn free_port() -> io::Result<u16> {
    let range = u128::from(PORTS.end - PORTS.start);
    for _ in 0..1_000 {
        let drawn = (Uuid::new_v4().as_u128() % range) as u16;
        let port = PORTS.start + drawn;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return Ok(port);
        }
    }
    Err(io::Error::other("there is no free port"))
}

/// Finds a program: in one of the directories, or in those of `PATH`.
fn program(name: &str, directories: &[PathBuf]) -> io::Result<String> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let paths: Vec<_> = std::env::split_paths(&path).collect();
    let found = directories.iter().chain(&paths).map(|directory| directory.join(name));
    let found = found.into_iter().find(|file| file.is_file());
    found.map(|file| file.to_string_lossy().into_owned()).ok_or_else(|| {
        let message = format!(
            "{name} is not installed; 'scripts/install-servers haproxy' installs all that a cluster needs"
        );
        io::Error::new(io::ErrorKind::NotFound, message)
    })
}

/// An empty directory that goes with the returned value.
fn private_directory() -> io::Result<tempfile::TempDir> {
    tempfile::Builder::new().prefix("placard-").tempdir()
}

/// Settings by name; a later one replaces an earlier one.
#[derive(Debug, Clone, Default)]
struct Settings(Vec<(String, String)>);

impl Settings {
    fn set(&mut self, settings: &[(&str, &str)]) {
        for (name, value) in settings {
            self.0.retain(|(known, _)| known != name);
            self.0.push(((*name).to_owned(), (*value).to_owned()));
        }
    }
}
