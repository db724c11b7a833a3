//! A started process of the program under test: killed when it is dropped, so that no failing test leaves one
//! behind, with its output at hand.

use std::ffi::OsStr;
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use rustix::process::{Pid, Signal, kill_process};
use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};
use tokio::process::{Child, Command};
use tokio::task::JoinHandle;

use crate::wait::{PATIENCE, until};

/// Variables that configure the program start with this; none of the caller's own reach it.
const PREFIX: &str = "PLACARD_";

/// The program, running or ended.
#[derive(Debug)]
pub struct Process {
    child: Child,
    out: Arc<Mutex<Vec<String>>>,
    err: Arc<Mutex<Vec<String>>>,
    readers: Vec<JoinHandle<()>>,
}

/// The exit status of a process, and its output.
#[derive(Debug)]
pub struct Ended {
    /// Its exit status.
    pub status: ExitStatus,
    /// Its standard output, line by line.
    pub out: Vec<String>,
    /// Its standard error, line by line.
    pub err: Vec<String>,
}

impl Process {
    /// Starts `program` with these arguments and variables, in an environment without any of its own.
    ///
    /// # Panics
    /// It cannot be started.
    pub fn start(program: &str, arguments: &[&str], variables: &[(&str, &str)]) -> Self {
        Self::start_into(program, arguments, variables, (Stdio::piped(), Stdio::piped()))
    }

    /// As [`Process::start`], with these targets of standard output and error. Output that is not piped to this process
    /// is not collected.
    ///
    /// # Panics
    /// It cannot be started.
    pub fn start_into(
        program: &str,
        arguments: &[&str],
        variables: &[(&str, &str)],
        (out, err): (Stdio, Stdio),
    ) -> Self {
        let mut command = Command::new(program);
        command.args(arguments).kill_on_drop(true);
        command.stdin(Stdio::null()).stdout(out).stderr(err);
        let own = |name: &OsStr| name.to_string_lossy().starts_with(PREFIX);
        for (name, _) in std::env::vars_os().filter(|(name, _)| own(name)) {
            command.env_remove(name);
        }
        command.envs(variables.iter().copied());
        let mut child =
            command.spawn().unwrap_or_else(|error| panic!("cannot start {program}: {error}"));
        let (out, err) = (Arc::default(), Arc::default());
        let readers = vec![
            tokio::spawn(collect(child.stdout.take(), Arc::clone(&out))),
            tokio::spawn(collect(child.stderr.take(), Arc::clone(&err))),
        ];
        Self { child, out, err, readers }
    }

    /// Waits for the line of standard output that `find` finds something in, and returns that.
    ///
    /// # Panics
    /// The process ends without such a line, or does not print it in time.
    pub async fn line<T>(&mut self, what: &str, find: impl Fn(&str) -> Option<T>) -> T {
        until(what, async || {
            let ended = self.child.try_wait().expect("a child can be asked whether it has ended");
            if ended.is_some() {
                for reader in self.readers.drain(..) {
                    reader.await.expect("a reader does not panic");
                }
            }
            let found = lines(&self.out).iter().find_map(|line| find(line));
            if let (None, Some(status)) = (&found, ended) {
                panic!("ended with {status} without {what}: {:#?}", lines(&self.err));
            }
            found
        })
        .await
    }

    /// Waits for the line that names its address, and returns the URL in it.
    ///
    /// # Panics
    /// As [`Process::line`].
    pub async fn url(&mut self) -> String {
        let url = |line: &str| {
            let from = line.find("http://")?;
            line[from..].split_whitespace().next().map(str::to_owned)
        };
        self.line("its address", url).await
    }

    /// Waits until the process listens, and returns the URL. The address is found from outside: the process need not
    /// print it.
    ///
    /// # Panics
    /// It ends, or does not listen in time.
    pub async fn listens(&mut self) -> String {
        let id = self.child.id().expect("the process has not been waited for");
        until("a listening socket", async || {
            let ended = self.child.try_wait().expect("a child can be asked whether it has ended");
            assert!(ended.is_none(), "ended with {ended:?}: {:#?}", lines(&self.err));
            listening(id).map(|port| format!("http://127.0.0.1:{port}"))
        })
        .await
    }

    /// Waits for anything it says on standard error.
    ///
    /// # Panics
    /// It says nothing in time.
    pub async fn first_words(&mut self) {
        until("something on standard error", async || (!lines(&self.err).is_empty()).then_some(()))
            .await;
    }

    /// The lines of its standard output so far.
    pub fn out(&self) -> Vec<String> {
        lines(&self.out).clone()
    }

    /// The lines of its standard error so far.
    pub fn err(&self) -> Vec<String> {
        lines(&self.err).clone()
    }

    /// Sends SIGTERM.
    pub fn terminate(&self) {
        self.signal(Signal::TERM);
    }

    /// Sends SIGINT.
    pub fn interrupt(&self) {
        self.signal(Signal::INT);
    }

    /// Sends SIGHUP.
    pub fn hang_up(&self) {
        self.signal(Signal::HUP);
    }

    /// Returns true if it has ended.
    pub fn has_ended(&mut self) -> bool {
        self.child.try_wait().expect("a child can be asked whether it has ended").is_some()
    }

    /// Holds it (SIGSTOP): its connections stay, and nothing is answered from the return on.
    ///
    /// # Panics
    /// It is not held in time.
    pub fn pause(&self) {
        self.signal(Signal::STOP);
        let id = self.child.id().expect("the process has not been waited for");
        let since = Instant::now();
        // A thread that runs stops at its next return from the kernel.
        while !is_held(id) {
            assert!(since.elapsed() < PATIENCE, "not held after {PATIENCE:?}");
            std::thread::yield_now();
        }
    }

    /// Lets it go on after [`Process::pause`].
    pub fn resume(&self) {
        self.signal(Signal::CONT);
    }

    fn signal(&self, signal: Signal) {
        let id = self.child.id().expect("the process has not been waited for");
        let pid = i32::try_from(id).ok().and_then(Pid::from_raw).expect("a child has an id");
        kill_process(pid, signal).expect("a child can be signalled");
    }

    /// Kills it at once (SIGKILL), waits until it is gone, and returns its status and output.
    ///
    /// # Panics
    /// It has ended before.
    pub async fn kill(mut self) -> Ended {
        let ended = self.child.try_wait().expect("a child can be asked whether it has ended");
        assert!(ended.is_none(), "ended by itself with {ended:?}: {:#?}", lines(&self.err));
        self.child.kill().await.expect("a child can be killed");
        self.ended().await
    }

    /// Waits until it ends.
    ///
    /// # Panics
    /// It does not end in time.
    pub async fn ended(mut self) -> Ended {
        let status = match tokio::time::timeout(PATIENCE, self.child.wait()).await {
            Ok(status) => status.expect("a child can be waited for"),
            Err(_) => panic!("has not ended after {PATIENCE:?}: {:#?}", lines(&self.err)),
        };
        for reader in self.readers.drain(..) {
            reader.await.expect("a reader does not panic");
        }
        Ended { status, out: lines(&self.out).clone(), err: lines(&self.err).clone() }
    }
}

/// Returns true if every thread of a process is stopped (proc(5)).
fn is_held(process: u32) -> bool {
    let Ok(threads) = std::fs::read_dir(format!("/proc/{process}/task")) else { return true };
    threads.filter_map(Result::ok).all(|thread| {
        let stat = std::fs::read_to_string(thread.path().join("stat")).unwrap_or_default();
        // The state follows the name, which is in parentheses and may hold anything.
        stat.rsplit_once(") ").is_none_or(|(_, rest)| rest.starts_with(['T', 'Z', 'X']))
    })
}

/// A port that a process listens on (proc(5)), if it does.
fn listening(process: u32) -> Option<u16> {
    const LISTENS: &str = "0A";
    let files = std::fs::read_dir(format!("/proc/{process}/fd")).ok()?;
    let names = files.filter_map(|file| std::fs::read_link(file.ok()?.path()).ok());
    let names: Vec<_> = names.map(|name| name.to_string_lossy().into_owned()).collect();
    let sockets = std::fs::read_to_string(format!("/proc/{process}/net/tcp")).ok()?;
    sockets.lines().skip(1).find_map(|line| {
        let fields: Vec<_> = line.split_whitespace().collect();
        let [_, local, _, state, .., inode] = fields.get(..10)? else { return None };
        let is_own = names.contains(&format!("socket:[{inode}]"));
        let (_, port) = local.split_once(':')?;
        (*state == LISTENS && is_own).then(|| u16::from_str_radix(port, 16).ok())?
    })
}

async fn collect(stream: Option<impl AsyncRead + Unpin>, into: Arc<Mutex<Vec<String>>>) {
    let Some(stream) = stream else { return };
    let mut arriving = BufReader::new(stream).lines();
    while let Ok(Some(line)) = arriving.next_line().await {
        lines(&into).push(line);
    }
}

fn lines(of: &Mutex<Vec<String>>) -> MutexGuard<'_, Vec<String>> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
}
