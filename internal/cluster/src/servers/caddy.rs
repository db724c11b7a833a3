//! A private Caddy before replicas, with the configuration in the manual.

use std::fs;
use std::io;
use std::net::Ipv4Addr;
use std::path::Path;

use tempfile::TempDir;
use tokio::net::TcpStream;

use super::{Place, Process, free_port, private_directory, program, started};

/// The manual.
const MANUAL: &str = include_str!("../../../../docs/OPERATIONS.md");
/// The addresses that operators replace with theirs.
const SERVERS: [&str; 3] = ["ads-1:8080", "ads-2:8080", "ads-3:8080"];

/// A Caddy. It and its directory are gone when this is dropped.
#[derive(Debug)]
pub struct Caddy {
    /// Before `directory`, so that it is dead before its files go.
    _process: Process,
    port: u16,
    _directory: TempDir,
}

impl Caddy {
    /// Starts one before servers at these ports of 127.0.0.1.
    ///
    /// # Errors
    /// Caddy is not installed, or does not start within 30 s; the error holds its log.
    pub async fn start(servers: [u16; SERVERS.len()]) -> io::Result<Self> {
        started(async || Self::start_once(servers).await).await
    }

    async fn start_once(servers: [u16; SERVERS.len()]) -> io::Result<Self> {
        let directory = private_directory()?;
        let path = directory.path();
        let port = free_port()?;
        fs::write(path.join("Caddyfile"), configuration(port, servers)?)?;
        let mut process = Process::start(&Place::temporary(path), &command(path)?)?;
        process
            .ready(async |_| TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await.is_ok())
            .await?;
        Ok(Self { _process: process, port, _directory: directory })
    }

    /// Returns the port that it listens on.
    pub fn port(&self) -> u16 {
        self.port
    }
}

/// Whatever Caddy writes is in its own directory.
fn command(directory: &Path) -> io::Result<Vec<String>> {
    let directory = directory.display();
    let places = ["HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME"];
    let places = places.map(|name| format!("{name}={directory}"));
    let run = [&program("caddy", &[])?, "run", "--config", "Caddyfile"].map(str::to_owned);
    Ok(["env".to_owned()].into_iter().chain(places).chain(run).collect())
}

fn configuration(port: u16, servers: [u16; SERVERS.len()]) -> io::Result<String> {
    let block = MANUAL.split_once("```caddyfile\n").and_then(|(_, rest)| rest.split_once("```"));
    let (block, _) = block.ok_or_else(|| io::Error::other("the manual has no block for Caddy"))?;
    let listen = format!("http://:{port} {{\n\tbind 127.0.0.1\n");
    let mut block = block.replacen(":8080 {\n", &listen, 1);
    for (server, port) in SERVERS.into_iter().zip(servers) {
        block = block.replace(server, &format!("127.0.0.1:{port}"));
    }
    Ok(format!("{{\n\tadmin off\n}}\n{block}"))
}
