//! Commands to a running cluster from another process: one line over a socket in its directory. The cluster answers
//! with lines about what it does, and then with `done` or an error.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};

use crate::cluster::REPLICAS_MAX;
use crate::socket;

const NAME: &str = "control";
/// The last line of an answer.
const DONE: &str = "done";
const ERROR: &str = "error: ";
/// The longest command, in bytes.
const COMMAND_BYTES_MAX: u64 = 100;
/// How long a client may take to say its command.
const PATIENCE: Duration = Duration::from_secs(2);

/// A command to a running cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Command {
    /// Have this number of replicas.
    Scale(u16),
    /// Restart the replicas in turn.
    Roll,
    /// Show the parts and the replicas.
    Status,
}

impl Command {
    fn line(self) -> String {
        match self {
            Self::Scale(replicas) => format!("scale {replicas}\n"),
            Self::Roll => "roll\n".to_owned(),
            Self::Status => "status\n".to_owned(),
        }
    }

    fn parse(line: &str) -> Option<Self> {
        let mut words = line.split_whitespace();
        let command = match (words.next()?, words.next(), words.next()) {
            ("scale", Some(replicas), None) => {
                let replicas = replicas.parse().ok()?;
                (1..=REPLICAS_MAX).contains(&replicas).then_some(Self::Scale(replicas))?
            }
            ("roll", None, None) => Self::Roll,
            ("status", None, None) => Self::Status,
            _ => return None,
        };
        Some(command)
    }
}

/// The socket of a running cluster. It is gone when this is dropped.
#[derive(Debug)]
pub struct Control {
    listener: UnixListener,
    path: PathBuf,
}

impl Control {
    /// Listens in a cluster's directory. Only this user may connect.
    ///
    /// # Errors
    /// The socket cannot be made.
    pub fn listen(directory: &Path) -> io::Result<Self> {
        let listener = socket::listen(directory, NAME)?;
        let path = directory.join(NAME);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600))?;
        Ok(Self { listener, path })
    }

    /// Waits for a client. The returned future may be dropped: the next one finds the client.
    pub async fn accept(&self) -> Client {
        loop {
            match self.listener.accept().await {
                Ok((stream, _)) => return Client(stream),
                // Such as too many open files: that passes.
                Err(_) => tokio::time::sleep(PATIENCE).await,
            }
        }
    }
}

impl Drop for Control {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}

/// A client that waits for what its command brings.
#[derive(Debug)]
pub struct Client(UnixStream);

impl Client {
    /// Waits for its command; `None` if it has gone, says nothing for two seconds, or says something else.
    pub async fn command(&mut self) -> Option<Command> {
        let said = async {
            let mut line = String::new();
            BufReader::new((&mut self.0).take(COMMAND_BYTES_MAX)).read_line(&mut line).await?;
            // From here on lines can be written at once.
            self.0.writable().await?;
            io::Result::Ok(line)
        };
        Command::parse(&tokio::time::timeout(PATIENCE, said).await.ok()?.ok()?)
    }

    /// Tells it a line. A client that does not read it loses it.
    pub fn tell(&self, line: &str) {
        let _ = self.0.try_write(format!("{line}\n").as_bytes());
    }

    /// Tells it that its command was done, or why not.
    pub async fn end(mut self, done: Result<(), String>) {
        let last = done.err().map_or_else(|| DONE.to_owned(), |error| format!("{ERROR}{error}"));
        // It may have gone.
        let _ = self.0.write_all(format!("{last}\n").as_bytes()).await;
    }
}

/// Has the cluster in this directory do something, and tells each line of its answer.
///
/// # Errors
/// No cluster runs there, or it cannot do that.
pub async fn ask(directory: &Path, command: Command, tell: &dyn Fn(&str)) -> io::Result<()> {
    let not_there =
        |_| io::Error::other("no cluster is running; 'make cluster' starts one".to_owned());
    let mut stream = socket::connect(directory, NAME).await.map_err(not_there)?;
    stream.write_all(command.line().as_bytes()).await.map_err(not_there)?;
    let (mut lines, mut last) = (BufReader::new(stream).lines(), String::new());
    while let Some(line) = lines.next_line().await.unwrap_or_default() {
        if !last.is_empty() {
            tell(&last);
        }
        last = line;
    }
    match last.strip_prefix(ERROR) {
        _ if last == DONE => Ok(()),
        Some(error) => Err(io::Error::other(error.to_owned())),
        None => Err(io::Error::other("the cluster has stopped")),
    }
}

/// Returns true if a cluster runs in this directory.
pub async fn is_there(directory: &Path) -> bool {
    socket::connect(directory, NAME).await.is_ok()
}
