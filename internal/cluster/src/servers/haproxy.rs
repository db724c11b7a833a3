//! A private HAProxy before replicas, with the configuration that operators are given.

use std::io;
use std::net::Ipv4Addr;

use rustix::process::Signal;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::{Place, Process, free_port, private_directory, program, started};
use crate::process::DEADLINE;
use crate::socket;

/// Where distributions keep the program, outside an ordinary user's path.
const DIRECTORY: &str = "/usr/sbin";
/// The configuration that operators start it with.
const CONFIGURATION: &str =
    concat!(env!("CARGO_MANIFEST_DIR"), "/../../scripts/haproxy/haproxy.cfg");
/// The socket, in its directory, over which it gets the replicas' addresses.
const SOCKET: &str = "haproxy.sock";
/// The replicas that the configuration has room for.
pub const SLOTS: u16 = 32;

/// An HAProxy. It, and its directory if that is temporary, are gone when this is dropped.
#[derive(Debug)]
pub struct HaProxy {
    /// `None` while it is stopped. Before `_temporary`, so that it is dead before its files go.
    process: Option<Process>,
    port: u16,
    statistics: u16,
    place: Place,
    _temporary: Option<TempDir>,
}

impl HaProxy {
    /// Starts one before servers at these ports of 127.0.0.1.
    ///
    /// # Errors
    /// HAProxy is not installed, or does not start within 30 s; the error holds its log.
    pub async fn start(servers: &[u16]) -> io::Result<Self> {
        let proxy = started(async || {
            let directory = private_directory()?;
            let place = Place::temporary(directory.path());
            let proxy = Self::start_at(place, free_port()?, free_port()?).await?;
            Ok(Self { _temporary: Some(directory), ..proxy })
        });
        let proxy = proxy.await?;
        for (slot, server) in (1..).zip(servers) {
            proxy.admit(slot, *server).await?;
        }
        Ok(proxy)
    }

    /// Starts one at this place and these ports, before no servers yet.
    pub(crate) async fn start_at(place: Place, port: u16, statistics: u16) -> io::Result<Self> {
        let mut proxy = Self { process: None, port, statistics, place, _temporary: None };
        proxy.restart().await?;
        Ok(proxy)
    }

    /// Starts it again, before no servers yet; kills it first if it runs.
    pub(crate) async fn restart(&mut self) -> io::Result<()> {
        if let Some(process) = self.process.take() {
            process.kill().await;
        }
        let (port, statistics) = (self.port, self.statistics);
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
        let mut process = Process::start(&self.place, &command)?;
        process
            .ready(async |_| {
                let connected = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await;
                // It has all of its ports, and they are its own, once it answers on the socket.
                connected.is_ok() && self.ask("show info").await.is_ok_and(|info| !info.is_empty())
            })
            .await?;
        self.process = Some(process);
        Ok(())
    }

    /// Ends it, and waits until it has gone.
    pub(crate) async fn stop(&mut self) -> io::Result<()> {
        match self.process.take() {
            Some(mut process) => process.stop(Signal::TERM).await,
            None => Ok(()),
        }
    }

    /// Returns the port of its statistics.
    pub fn statistics(&self) -> u16 {
        self.statistics
    }

    /// Its process, unless it was stopped.
    pub(crate) fn process(&mut self) -> Option<&mut Process> {
        self.process.as_mut()
    }

    /// Returns the port that it listens on.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Makes it send requests to the server at this port once it has found that ready.
    pub(crate) async fn admit(&self, slot: u16, port: u16) -> io::Result<()> {
        let server = format!("replicas/replica{slot}");
        self.ask(&format!("set server {server} addr 127.0.0.1 port {port}")).await?;
        self.ask(&format!("set server {server} state ready")).await?;
        Ok(())
    }

    /// Returns true if it has found the server of a slot ready.
    pub(crate) async fn has_found(&self, slot: u16) -> bool {
        let answer = self.ask("show stat replicas 4 -1").await.unwrap_or_default();
        let mut lines = answer.lines().map(|line| line.split(',').collect::<Vec<_>>());
        let names = lines.next().unwrap_or_default();
        let column = |name| names.iter().position(|found| *found == name);
        let columns = [column("svname"), column("status"), column("check_status")];
        let wanted = [&*format!("replica{slot}"), "UP", "L7OK"];
        lines.any(|line| {
            let found = columns.map(|column| column.and_then(|column| line.get(column).copied()));
            found == wanted.map(Some)
        })
    }

    /// Makes it send no request to a slot any more.
    pub(crate) async fn dismiss(&self, slot: u16) -> io::Result<()> {
        self.ask(&format!("set server replicas/replica{slot} state maint")).await.map(drop)
    }

    async fn ask(&self, command: &str) -> io::Result<String> {
        let asked = async {
            let mut stream = socket::connect(&self.place.directory, SOCKET).await?;
            stream.write_all(format!("{command}\n").as_bytes()).await?;
            let mut answer = String::new();
            stream.read_to_string(&mut answer).await?;
            Ok(answer)
        };
        let late = |_| Err(io::Error::other("HAProxy does not answer"));
        tokio::time::timeout(DEADLINE, asked).await.unwrap_or_else(late)
    }
}
