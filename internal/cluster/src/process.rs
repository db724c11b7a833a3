//! A process that ends with the one that started it, even if that is killed, and whose output is in a file. Linux only:
//! the children of a process are found through `/proc`.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

/// How long a process may take to start or to stop.
pub(crate) const DEADLINE: Duration = Duration::from_secs(30);
/// How often a condition is looked at.
pub(crate) const PAUSE: Duration = Duration::from_millis(2);
/// Where the output of a process goes that has a directory of its own.
const LOG: &str = "server.log";
/// Variables that configure Placard start with this. None of the caller's own reach a process, but these: a replica logs
/// and traces as the caller wants.
const PREFIX: &str = "PLACARD_";
const SHARED: [&str; 4] =
    ["PLACARD_LOG", "PLACARD_LOG_FORMAT", "PLACARD_OTLP_ENDPOINT", "PLACARD_OTLP_SAMPLE"];

/// Runs the command in the place of this shell. Beside it, a process of no parent waits at the other end of
/// standard input: a line there tells it to go; its end tells that the process which started this is dead, and then it
/// kills the command with all its children and removes the directory, if it has one to remove.
/// That process ignores SIGHUP, which the kernel sends to a process group that loses its parent while a member is stopped.
const SUPERVISED: &str = r#"
directory=$1; shift
exec 3<&0
( trap '' HUP; ( read -r _ <&3 || {
    kill -STOP $$
    sh -c "kill -KILL $$ $(cat /proc/$$/task/$$/children)"
    [ -z "$directory" ] || rm -rf -- "$directory"
} ) >/dev/null 2>&1 & )
exec "$@" 3<&- </dev/null
"#;

/// Where a process runs, and where its output goes.
#[derive(Debug, Clone)]
pub(crate) struct Place {
    /// Its working directory.
    pub(crate) directory: PathBuf,
    /// The directory goes too if the process that starts this one is killed.
    pub(crate) is_temporary: bool,
    /// Standard error, and standard output unless that has a file of its own.
    pub(crate) log: PathBuf,
    /// Standard output of the last start.
    pub(crate) out: Option<PathBuf>,
}

impl Place {
    /// A temporary directory for one process.
    pub(crate) fn temporary(directory: &Path) -> Self {
        let (directory, log) = (directory.to_owned(), directory.join(LOG));
        Self { directory, is_temporary: true, log, out: None }
    }
}

/// A main process and, through it, its children.
#[derive(Debug)]
pub(crate) struct Process {
    child: Child,
    /// Kept apart from `child`, which would close it before it waits, and so trigger the supervisor.
    supervisor: Option<ChildStdin>,
    log: PathBuf,
    out: Option<PathBuf>,
    /// The length of its log before it was started.
    log_before: u64,
}

impl Process {
    /// Starts a command.
    pub(crate) fn start(place: &Place, command: &[String]) -> io::Result<Self> {
        Self::start_with(place, command, &[])
    }

    /// Starts a command with these variables.
    pub(crate) fn start_with(
        place: &Place,
        command: &[String],
        variables: &[(String, OsString)],
    ) -> io::Result<Self> {
        let log = File::options().create(true).append(true).open(&place.log)?;
        let log_before = log.metadata()?.len();
        let out = match &place.out {
            Some(out) => File::create(out)?,
            None => log.try_clone()?,
        };
        let removed = if place.is_temporary { place.directory.as_path() } else { Path::new("") };
        let mut child = without_settings(&mut Command::new("sh"))
            .args(["-c", SUPERVISED, "sh"])
            .arg(removed)
            .args(command)
            .envs(variables.iter().map(|(name, value)| (name, value)))
            .current_dir(&place.directory)
            // Ctrl-C is for the process that starts it, which then stops what it has started in order.
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(out)
            .stderr(log)
            .spawn()?;
        let supervisor = child.stdin.take();
        Ok(Self { child, supervisor, log: place.log.clone(), out: place.out.clone(), log_before })
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// How it has ended, if it has.
    pub(crate) fn ended(&mut self) -> Option<ExitStatus> {
        // An error would mean that it is not a child of this process.
        self.child.try_wait().ok().flatten()
    }

    /// What it has said since its start.
    pub(crate) fn said(&self) -> String {
        let log = || {
            let mut log = File::open(&self.log)?;
            log.seek(SeekFrom::Start(self.log_before))?;
            let mut said = Vec::new();
            log.read_to_end(&mut said)?;
            io::Result::Ok(said)
        };
        let out = self.out.as_ref().and_then(|out| fs::read(out).ok()).unwrap_or_default();
        String::from_utf8_lossy(&[log().unwrap_or_default(), out].concat()).into_owned()
    }

    /// Waits until it is ready.
    pub(crate) async fn ready(
        &mut self,
        mut is_ready: impl AsyncFnMut(u32) -> bool,
    ) -> io::Result<()> {
        let since = Instant::now();
        while !is_ready(self.id()).await {
            if self.child.try_wait()?.is_some() || since.elapsed() > DEADLINE {
                return Err(io::Error::other(NotStarted(self.said())));
            }
            tokio::time::sleep(PAUSE).await;
        }
        Ok(())
    }

    /// Asks it to end.
    pub(crate) fn signal(&mut self, signal: Signal) {
        // The id of a process that was waited for may be another's.
        if self.ended().is_none() {
            send(self.id(), signal);
        }
    }

    /// Asks it to end, and waits until it has.
    pub(crate) async fn stop(&mut self, signal: Signal) -> io::Result<()> {
        self.signal(signal);
        self.gone().await
    }

    /// Waits until it has ended.
    pub(crate) async fn gone(&mut self) -> io::Result<()> {
        let since = Instant::now();
        while self.child.try_wait()?.is_none() {
            if since.elapsed() > DEADLINE {
                return Err(io::Error::other("the process did not stop"));
            }
            tokio::time::sleep(PAUSE).await;
        }
        Ok(())
    }

    /// Kills it with all its children, and waits until they are dead.
    pub(crate) async fn kill(mut self) {
        let children = self.strike();
        let since = Instant::now();
        while children.iter().any(|child| is_alive(*child)) && since.elapsed() < DEADLINE {
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Holds it with all its children.
    pub(crate) fn pause(&self) {
        // First the one that makes new ones.
        send(self.id(), Signal::STOP);
        self.children().into_iter().for_each(|child| send(child, Signal::STOP));
    }

    /// Lets it go on.
    pub(crate) fn resume(&self) {
        self.children().into_iter().for_each(|child| send(child, Signal::CONT));
        send(self.id(), Signal::CONT);
    }

    fn children(&self) -> Vec<u32> {
        let id = self.id();
        let list = fs::read_to_string(format!("/proc/{id}/task/{id}/children"));
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
        // Tells the supervisor to go; the process' id may be another's from here on.
        let _ = self.supervisor.take().map(|mut pipe| pipe.write_all(b"\n"));
    }
}

/// A process that ended, or was not ready in time, and what it had said.
#[derive(Debug)]
pub(crate) struct NotStarted(String);

impl NotStarted {
    /// The line that tells most about why.
    pub(crate) fn reason(&self) -> &str {
        let lines = || self.0.lines().map(str::trim).filter(|line| !line.is_empty());
        let is_telling = |line: &&str| {
            let line = line.to_ascii_lowercase();
            ["alert", "fatal", "error"].iter().any(|word| line.contains(word))
        };
        lines().find(is_telling).or_else(|| lines().next_back()).unwrap_or("it says nothing")
    }
}

impl std::fmt::Display for NotStarted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "the process did not start:\n{}", self.0)
    }
}

impl std::error::Error for NotStarted {}

/// Leaves out those of the caller's settings of Placard that are not shared.
pub fn without_settings(command: &mut Command) -> &mut Command {
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if text.starts_with(PREFIX) && !SHARED.contains(&&*text) {
            command.env_remove(&name);
        }
    }
    command
}

/// Sends a signal; a process that is gone needs none.
fn send(id: u32, signal: Signal) {
    let id = i32::try_from(id).ok().and_then(Pid::from_raw);
    let _ = id.map(|id| kill_process(id, signal));
}

fn is_alive(id: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{id}/stat")).unwrap_or_default();
    // The state follows the name, which is in parentheses and may hold anything.
    stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with(['Z', 'X']))
}
