//! Private servers for tests and benches: each on a free port of 127.0.0.1, in a temporary directory of its own, and
//! gone with its handle, also if the test fails or its process is killed. Linux only: the processes of a server are
//! found through `/proc`.

pub mod caddy;
pub mod haproxy;
pub mod nginx;
pub mod pgbouncer;
pub mod postgres;
pub mod redis;
pub mod sentinel;

use std::io::{self, Write};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use uuid::Uuid;

/// How long a server may take to start or to stop.
const DEADLINE: Duration = Duration::from_secs(30);
/// Starts that may fail because another process took the port first.
const TRIES: usize = 5;
/// How often a condition is looked at.
const PAUSE: Duration = Duration::from_millis(2);
/// Below the range that the system draws from for outgoing connections, so that a stopped server finds its
/// port free again.
const PORTS: std::ops::Range<u16> = 12_000..32_000;
/// Where a server's output goes, in its directory.
const LOG: &str = "server.log";

/// Runs the command in the place of this shell. Beside it, a process of no parent waits at the other end of
/// standard input: a line there tells it to go; its end tells that the test process is dead, and then it kills
/// the server with all its children and removes the directory.
const SUPERVISED: &str = r#"
directory=$1; shift
exec 3<&0
( ( read -r _ <&3 || {
    kill -STOP $$
    sh -c "kill -KILL $$ $(cat /proc/$$/task/$$/children)"
    rm -rf -- "$directory"
} ) >/dev/null 2>&1 & )
exec "$@" 3<&- </dev/null
"#;

/// Starts a server, again if it does not start: another process may have taken its port first.
async fn started<S>(start: impl AsyncFn() -> io::Result<S>) -> io::Result<S> {
    for _ in 1..TRIES {
        if let Ok(started) = start().await {
            return Ok(started);
        }
    }
    start().await
}

/// A server's main process and, through it, its children.
#[derive(Debug)]
struct Process {
    child: Child,
    /// Kept apart from `child`, which would close it before it waits, and so trigger the supervisor.
    supervisor: Option<ChildStdin>,
}

impl Process {
    /// Starts a command whose output goes to the directory's log.
    fn start(directory: &Path, command: &[String]) -> io::Result<Self> {
        let log = std::fs::File::options().create(true).append(true).open(directory.join(LOG))?;
        let mut child = Command::new("sh")
            .args(["-c", SUPERVISED, "sh"])
            .arg(directory)
            .args(command)
            .current_dir(directory)
            .stdin(Stdio::piped())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()?;
        let supervisor = child.stdin.take();
        Ok(Self { child, supervisor })
    }

    fn id(&self) -> u32 {
        self.child.id()
    }

    /// Waits until the server is ready.
    async fn ready(
        &mut self,
        directory: &Path,
        mut is_ready: impl AsyncFnMut(u32) -> bool,
    ) -> io::Result<()> {
        let since = Instant::now();
        while !is_ready(self.id()).await {
            let ended = self.child.try_wait()?;
            if ended.is_some() || since.elapsed() > DEADLINE {
                let log = std::fs::read_to_string(directory.join(LOG)).unwrap_or_default();
                return Err(io::Error::other(format!("the server did not start:\n{log}")));
            }
            tokio::time::sleep(PAUSE).await;
        }
        Ok(())
    }

    /// Asks the server to end, and waits until it has.
    async fn stop(mut self, signal: Signal) -> io::Result<()> {
        send(self.id(), signal);
        let since = Instant::now();
        while self.child.try_wait()?.is_none() {
            if since.elapsed() > DEADLINE {
                return Err(io::Error::other("the server did not stop"));
            }
            tokio::time::sleep(PAUSE).await;
        }
        Ok(())
    }

    /// Kills the server with all its children, and waits until they are dead.
    async fn kill(mut self) {
        let children = self.strike();
        let since = Instant::now();
        while children.iter().any(|child| is_alive(*child)) && since.elapsed() < DEADLINE {
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Holds the server with all its children.
    fn pause(&self) {
        // First the one that makes new ones.
        send(self.id(), Signal::STOP);
        self.children().into_iter().for_each(|child| send(child, Signal::STOP));
    }

    /// Lets the server go on.
    fn resume(&self) {
        self.children().into_iter().for_each(|child| send(child, Signal::CONT));
        send(self.id(), Signal::CONT);
    }

    fn children(&self) -> Vec<u32> {
        let id = self.id();
        let list = std::fs::read_to_string(format!("/proc/{id}/task/{id}/children"));
        list.unwrap_or_default().split_whitespace().filter_map(|id| id.parse().ok()).collect()
    }

    /// Kills everything; only the main process is certain to be dead on return.
    fn strike(&mut self) -> Vec<u32> {
        if !matches!(self.child.try_wait(), Ok(None)) {
            return Vec::new();
        }
        send(self.id(), Signal::STOP);
        let children = self.children();
        children.iter().for_each(|child| send(*child, Signal::KILL));
        // An error means that it has ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
        children
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let children = self.strike();
        // Their files are about to be removed. Nothing else can be done here meanwhile, and it is soon over.
        let since = Instant::now();
        while children.iter().any(|child| is_alive(*child)) && since.elapsed() < DEADLINE {
            std::thread::yield_now();
        }
        // Tells the supervisor to go; the server's id may be another's from here on.
        let _ = self.supervisor.take().map(|mut pipe| pipe.write_all(b"\n"));
    }
}

/// Sends a signal; a process that is gone needs none.
fn send(id: u32, signal: Signal) {
    let id = i32::try_from(id).ok().and_then(Pid::from_raw);
    let _ = id.map(|id| kill_process(id, signal));
}

fn is_alive(id: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{id}/stat")).unwrap_or_default();
    // The state follows the name, which is in parentheses and may hold anything.
    stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with(['Z', 'X']))
}

/// Returns a port that no process listens on. Another process may take it first: the caller, which starts a server,
/// then tries again.
fn free_port() -> io::Result<u16> {
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
        let message = format!("{name} is not installed: run scripts/install-servers");
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
