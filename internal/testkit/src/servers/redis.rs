//! A private Redis.

use std::io;
use std::net::Ipv4Addr;
use std::path::Path;
use std::time::Duration;

use rustix::process::Signal;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::{Process, Settings, TRIES, free_port, private_directory, program};

/// A Redis that holds only what its test puts into it. It keeps nothing over a restart unless its settings
/// (`appendonly`, `save`) say so. It and its directory are gone when this is dropped.
#[derive(Debug)]
pub struct RedisServer {
    /// `None` while it is stopped. Before `directory`, so that it is dead before its files go.
    process: Option<Process>,
    port: u16,
    settings: Settings,
    directory: TempDir,
}

impl RedisServer {
    /// Starts one.
    ///
    /// # Errors
    /// Redis is not installed, or does not start within 30 s; the error holds its log.
    pub async fn start() -> io::Result<Self> {
        Self::start_with(&[]).await
    }

    /// Starts one with further settings, as in `redis.conf`: `("appendonly", "yes")`.
    ///
    /// # Errors
    /// As for [`RedisServer::start`].
    pub async fn start_with(settings: &[(&str, &str)]) -> io::Result<Self> {
        let mut all = Settings::default();
        all.set(&[("bind", "127.0.0.1"), ("save", ""), ("appendonly", "no")]);
        all.set(settings);
        let directory = private_directory()?;
        let mut server = Self { process: None, port: 0, settings: all, directory };
        for _ in 1..TRIES {
            server.port = free_port()?;
            if server.restart().await.is_ok() {
                return Ok(server);
            }
        }
        server.port = free_port()?;
        server.restart().await?;
        Ok(server)
    }

    /// Returns its URL: `redis://127.0.0.1:<port>`.
    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// The port that it has, also over restarts.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Its directory, which holds its files and its log.
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// Ends it as a service manager does (SIGTERM), and waits until it has gone.
    ///
    /// # Errors
    /// It has not gone within 30 s.
    pub async fn stop(&mut self) -> io::Result<()> {
        match self.process.take() {
            Some(process) => process.stop(Signal::TERM).await,
            None => Ok(()),
        }
    }

    /// Kills it (SIGKILL), and waits until it is dead.
    pub async fn kill(&mut self) {
        if let Some(process) = self.process.take() {
            process.kill().await;
        }
    }

    /// Starts it again on the same port and directory; kills it first if it runs.
    ///
    /// # Errors
    /// As for [`RedisServer::start`].
    pub async fn restart(&mut self) -> io::Result<()> {
        self.kill().await;
        let mut command = vec![program("redis-server", &[])?];
        let own = [("port", self.port.to_string()), ("dir", self.path())];
        let own = own.map(|(name, value)| (name.to_owned(), value));
        for (name, value) in self.settings.0.iter().chain(&own) {
            command.extend([format!("--{name}"), value.clone()]);
        }
        let mut process = Process::start(self.directory.path(), &command)?;
        let port = self.port;
        process.ready(self.directory.path(), async |id| answers(port, id).await).await?;
        self.process = Some(process);
        Ok(())
    }

    /// Starts it again with settings changed; kills it first if it runs.
    ///
    /// # Errors
    /// As for [`RedisServer::start`].
    pub async fn restart_with(&mut self, settings: &[(&str, &str)]) -> io::Result<()> {
        self.settings.set(settings);
        self.restart().await
    }

    /// Starts it again without anything that it had kept; kills it first if it runs.
    ///
    /// # Errors
    /// As for [`RedisServer::start`], or its files cannot be removed.
    pub async fn restart_empty(&mut self) -> io::Result<()> {
        self.kill().await;
        for entry in std::fs::read_dir(self.directory.path())? {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                std::fs::remove_dir_all(entry.path())?;
            } else {
                std::fs::remove_file(entry.path())?;
            }
        }
        self.restart().await
    }

    /// Holds it (SIGSTOP): connections stay, and nothing is answered.
    pub fn pause(&self) {
        self.process.iter().for_each(Process::pause);
    }

    /// Lets it go on after [`RedisServer::pause`].
    pub fn resume(&self) {
        self.process.iter().for_each(Process::resume);
    }

    fn path(&self) -> String {
        self.directory.path().to_string_lossy().into_owned()
    }
}

/// Returns true if the process, and no other, answers on the port and has loaded its data.
pub(super) async fn answers(port: u16, process: u32) -> bool {
    let asked = async {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await?;
        stream.write_all(b"INFO server\r\nPING\r\n").await?;
        let (mut answer, mut buffer) = (Vec::new(), [0; 4_096]);
        while !(answer.ends_with(b"\r\n+PONG\r\n") || answer.starts_with(b"-")) {
            match stream.read(&mut buffer).await? {
                0 => break,
                read => answer.extend_from_slice(&buffer[..read]),
            }
        }
        io::Result::Ok(String::from_utf8_lossy(&answer).into_owned())
    };
    let answer = tokio::time::timeout(Duration::from_millis(200), asked).await;
    matches!(answer, Ok(Ok(answer))
        if answer.ends_with("+PONG\r\n") && answer.contains(&format!("process_id:{process}\r\n")))
}
