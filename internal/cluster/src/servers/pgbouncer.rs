//! A private PgBouncer before a private PostgreSQL.

use std::fs;
use std::io;
use std::net::Ipv4Addr;
use std::path::Path;

use tempfile::TempDir;
use tokio::net::TcpStream;

use super::postgres::{PostgresServer, as_user, give};
use super::{Place, Process, free_port, private_directory, program, started};

/// Where distributions keep the program, outside an ordinary user's path.
const DIRECTORY: &str = "/usr/sbin";

/// A PgBouncer whose clients are the superuser of the server behind it. It and its directory are gone when this is
/// dropped.
#[derive(Debug)]
pub struct PgBouncer {
    /// Before `directory`, so that it is dead before its files go.
    process: Process,
    port: u16,
    _directory: TempDir,
}

impl PgBouncer {
    /// Starts one with these settings, as in `pgbouncer.ini`: `("pool_mode", "session")`.
    ///
    /// # Errors
    /// PgBouncer is not installed, or does not start within 30 s; the error holds its log.
    pub async fn start(server: &PostgresServer, settings: &[(&str, &str)]) -> io::Result<Self> {
        started(async || Self::start_once(server, settings).await).await
    }

    async fn start_once(server: &PostgresServer, settings: &[(&str, &str)]) -> io::Result<Self> {
        let directory = private_directory()?;
        let path = directory.path();
        let (port, pid) = (free_port()?, path.join("pgbouncer.pid"));
        let behind = server.port();
        let mut lines = vec![
            "[databases]".to_owned(),
            format!("postgres = host=127.0.0.1 port={behind} dbname=postgres user=postgres"),
            "[pgbouncer]".to_owned(),
            "listen_addr = 127.0.0.1".to_owned(),
            format!("listen_port = {port}"),
            "unix_socket_dir =".to_owned(),
            "auth_type = any".to_owned(),
            format!("pidfile = {}", pid.display()),
        ];
        lines.extend(settings.iter().map(|(name, value)| format!("{name} = {value}")));
        let file = path.join("pgbouncer.ini");
        fs::write(&file, lines.join("\n"))?;
        give(path)?;
        let mut command = as_user(program("pgbouncer", &[DIRECTORY.into()])?.into());
        command.push(file.to_string_lossy().into_owned());
        let mut process = Process::start(&Place::temporary(path), &command)?;
        process.ready(async |id| listens(&pid, id, port).await).await?;
        Ok(Self { process, port, _directory: directory })
    }

    /// Returns the port that it listens on.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Holds it (SIGSTOP): connections stay, and nothing passes.
    pub fn pause(&self) {
        self.process.pause();
    }

    /// Lets it go on after [`PgBouncer::pause`].
    pub fn resume(&self) {
        self.process.resume();
    }
}

async fn listens(pid: &Path, process: u32, port: u16) -> bool {
    let own = fs::read_to_string(pid).unwrap_or_default().trim() == process.to_string();
    own && TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await.is_ok()
}
