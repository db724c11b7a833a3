//! A private HAProxy before replicas, with the configuration that operators are given.

use std::io;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};

use super::{Process, free_port, private_directory, program, started};

/// Where distributions keep the program, outside an ordinary user's path.
const DIRECTORY: &str = "/usr/sbin";
/// The configuration that operators start it with.
const CONFIGURATION: &str =
    concat!(env!("CARGO_MANIFEST_DIR"), "/../../scripts/haproxy/haproxy.cfg");
/// The socket, in its directory, over which it gets the replicas' addresses.
const SOCKET: &str = "haproxy.sock";

/// An HAProxy. It and its directory are gone when this is dropped.
#[derive(Debug)]
pub struct HaProxy {
    /// Before `directory`, so that it is dead before its files go.
    _process: Process,
    port: u16,
    directory: TempDir,
}

impl HaProxy {
    /// Starts one before servers at these ports of 127.0.0.1.
    ///
    /// # Errors
    /// HAProxy is not installed, or does not start within 30 s; the error holds its log.
    pub async fn start(servers: &[u16]) -> io::Result<Self> {
        started(async || Self::start_once(servers).await).await
    }

    async fn start_once(servers: &[u16]) -> io::Result<Self> {
        let directory = private_directory()?;
        let path = directory.path();
        let (port, statistics) = (free_port()?, free_port()?);
        let command = [
            "env".to_owned(),
            format!("LISTEN=127.0.0.1:{port}"),
            format!("STATS=127.0.0.1:{statistics}"),
            format!("ADMIN_SOCKET={SOCKET}"),
            program("haproxy", &[DIRECTORY.into()])?,
            "-db".to_owned(),
            "-f".to_owned(),
            CONFIGURATION.to_owned(),
        ];
        let mut process = Process::start(path, &command)?;
        process
            .ready(path, async |_| {
                let connected = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await;
                // The process that answers on the socket is this one, so the port is its own.
                connected.is_ok() && ask(&path.join(SOCKET), "show info").await.is_ok()
            })
            .await?;
        let started = Self { _process: process, port, directory };
        for (slot, server) in (1..).zip(servers) {
            let name = format!("replicas/replica{slot}");
            let place = format!("set server {name} addr 127.0.0.1 port {server}");
            ask(&started.socket(), &place).await?;
            ask(&started.socket(), &format!("set server {name} state ready")).await?;
        }
        Ok(started)
    }

    /// Returns the port that it listens on.
    pub fn port(&self) -> u16 {
        self.port
    }

    fn socket(&self) -> PathBuf {
        self.directory.path().join(SOCKET)
    }
}

async fn ask(socket: &Path, command: &str) -> io::Result<String> {
    let mut stream = UnixStream::connect(socket).await?;
    stream.write_all(format!("{command}\n").as_bytes()).await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    Ok(answer)
}
