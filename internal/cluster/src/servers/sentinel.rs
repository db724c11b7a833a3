//! A private Redis Sentinel.

use std::io;

use tempfile::TempDir;

use super::redis::{RedisServer, answers};
use super::{Place, Process, free_port, private_directory, program, started};

/// A Sentinel that watches one master, and replaces it by itself once it has been silent for 300 ms. It and its
/// directory are gone when this is dropped.
#[derive(Debug)]
pub struct RedisSentinel {
    /// Before `directory`, so that it is dead before its files go.
    _process: Process,
    port: u16,
    _directory: TempDir,
}

impl RedisSentinel {
    /// Starts one. It knows those replicas that the master has by now.
    ///
    /// # Errors
    /// Redis is not installed, or does not start within 30 s; the error holds its log.
    pub async fn start(name: &str, master: &RedisServer) -> io::Result<Self> {
        started(async || Self::start_once(name, master).await).await
    }

    async fn start_once(name: &str, master: &RedisServer) -> io::Result<Self> {
        let directory = private_directory()?;
        let port = free_port()?;
        let settings = [
            "bind 127.0.0.1".to_owned(),
            format!("port {port}"),
            format!("dir {}", directory.path().display()),
            format!("sentinel monitor {name} 127.0.0.1 {} 1", master.port()),
            format!("sentinel down-after-milliseconds {name} 300"),
            format!("sentinel failover-timeout {name} 2000"),
        ];
        // It writes there what it has learnt.
        let file = directory.path().join("sentinel.conf");
        std::fs::write(&file, settings.join("\n"))?;
        let file = file.to_string_lossy().into_owned();
        let command = [program("redis-server", &[])?, file, "--sentinel".to_owned()];
        let mut process = Process::start(&Place::temporary(directory.path()), &command)?;
        process.ready(async |id| answers(port, None, id).await).await?;
        Ok(Self { _process: process, port, _directory: directory })
    }

    /// Returns the address that it listens on, as `host:port`.
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }
}
