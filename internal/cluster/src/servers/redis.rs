//! A private Redis.

use std::fs;
use std::io::{self, Write};
use std::net::Ipv4Addr;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::process::Signal;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::{Place, Process, Settings, free_port, private_directory, program, started};

/// A Redis that holds only what its test puts into it. It keeps nothing over a restart unless its settings
/// (`appendonly`, `save`) say so. It, and its directory if that is temporary, are gone when this is dropped.
#[derive(Debug)]
pub struct RedisServer {
    /// `None` while it is stopped. Before `_temporary`, so that it is dead before its files go.
    process: Option<Process>,
    port: u16,
    password: Option<String>,
    settings: Settings,
    place: Place,
    directory: PathBuf,
    _temporary: Option<TempDir>,
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
        let temporary = private_directory()?;
        let mut server = Self {
            process: None,
            port: 0,
            password: None,
            settings: all,
            place: Place::temporary(temporary.path()),
            directory: temporary.path().to_owned(),
            _temporary: Some(temporary),
        };
        server.start_anywhere().await?;
        Ok(server)
    }

    /// Starts one at this place that keeps its data in a directory, which is made if it is not there, and has this
    /// password.
    pub(crate) async fn start_at(
        place: Place,
        directory: PathBuf,
        password: &str,
        settings: &[(&str, &str)],
    ) -> io::Result<Self> {
        fs::create_dir_all(&directory)?;
        let mut all = Settings::default();
        all.set(&[("bind", "127.0.0.1"), ("requirepass", password)]);
        all.set(settings);
        let mut server = Self {
            process: None,
            port: 0,
            password: Some(password.to_owned()),
            settings: all,
            place,
            directory,
            _temporary: None,
        };
        server.start_anywhere().await?;
        Ok(server)
    }

    async fn start_anywhere(&mut self) -> io::Result<()> {
        started(async || {
            self.port = free_port()?;
            self.restart().await
        })
        .await
    }

    /// Returns its URL: `redis://127.0.0.1:<port>`, with its password if it has one.
    pub fn url(&self) -> String {
        let login = self.password.as_ref().map(|password| format!(":{password}@"));
        format!("redis://{}127.0.0.1:{}", login.unwrap_or_default(), self.port)
    }

    /// The port that it has, also over restarts.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Its directory, which holds its files and its log.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Ends it as a service manager does (SIGTERM), and waits until it has gone.
    ///
    /// # Errors
    /// It has not gone within 30 s.
    pub async fn stop(&mut self) -> io::Result<()> {
        match self.process.take() {
            Some(mut process) => process.stop(Signal::TERM).await,
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
        let command = [program("redis-server", &[])?, self.configure()?];
        let mut process = Process::start(&self.place, &command)?;
        let (port, password) = (self.port, self.password.as_deref());
        process.ready(async |id| answers(port, password, id).await).await?;
        self.process = Some(process);
        Ok(())
    }

    /// Writes its configuration, and returns the file's name. Any process could read a command line.
    fn configure(&self) -> io::Result<String> {
        let file = self.directory.join("redis.conf");
        let mut options = fs::File::options();
        let mut text = options.create(true).write(true).truncate(true).mode(0o600).open(&file)?;
        let own = [("port", self.port.to_string()), ("dir", self.path())];
        let own = own.map(|(name, value)| (name.to_owned(), value));
        for (name, value) in self.settings.0.iter().chain(&own) {
            writeln!(text, "{name} {value:?}")?;
        }
        Ok(file.to_string_lossy().into_owned())
    }

    /// Its process, unless it was stopped.
    pub(crate) fn process(&mut self) -> Option<&mut Process> {
        self.process.as_mut()
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
        for entry in fs::read_dir(&self.directory)? {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                fs::remove_dir_all(entry.path())?;
            } else {
                fs::remove_file(entry.path())?;
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
        self.directory.to_string_lossy().into_owned()
    }
}

/// Returns true if the process, and no other, answers on the port and has loaded its data.
pub(super) async fn answers(port: u16, password: Option<&str>, process: u32) -> bool {
    let asked = async {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await?;
        let login = password.map(|password| format!("AUTH {password}\r\n")).unwrap_or_default();
        stream.write_all(format!("{login}INFO server\r\nPING\r\n").as_bytes()).await?;
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
