//! Replicas: how one is started on a PostgreSQL and a Redis, and where it says that it serves.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::Path;
use std::time::Instant;

use rustix::process::Signal;

use crate::process::{Place, Process};

/// The command line and the variables of a replica. Its servers are in variables, since their URLs may hold passwords.
#[derive(Debug, Clone, Copy)]
pub struct Serve<'a> {
    /// Where it listens: `127.0.0.1:0` is any free port.
    pub listen: &'a str,
    /// How long it serves on once it is about to stop, in milliseconds.
    pub drain_delay: &'a str,
    /// Where the journal is.
    pub postgres_url: &'a str,
    /// Where the stream is.
    pub redis_url: &'a str,
    /// Further options.
    pub options: &'a [&'a str],
}

impl<'a> Serve<'a> {
    /// Returns its arguments.
    pub fn arguments(&self) -> Vec<&'a str> {
        let own = ["serve", "--listen", self.listen, "--drain-delay", self.drain_delay];
        [&own[..], self.options].concat()
    }

    /// Returns its variables.
    pub fn variables(&self) -> [(&'static str, &'a str); 2] {
        [("PLACARD_POSTGRES_URL", self.postgres_url), ("PLACARD_REDIS_URL", self.redis_url)]
    }
}

/// A replica of a cluster. It listens at another port each time it is started.
#[derive(Debug)]
pub(crate) struct Replica {
    process: Option<Process>,
    /// The port at which the balancer has found it ready, since it was started.
    pub(crate) admitted: Option<u16>,
    /// The port at which the balancer looks for it, and since when.
    pub(crate) announced: Option<(u16, Instant)>,
    place: Place,
    command: Vec<String>,
    variables: Vec<(String, OsString)>,
}

impl Replica {
    /// One that is not started yet.
    pub(crate) fn new(
        place: Place,
        command: Vec<String>,
        variables: Vec<(String, OsString)>,
    ) -> Self {
        Self { process: None, admitted: None, announced: None, place, command, variables }
    }

    /// Starts it; it may still be restoring.
    pub(crate) fn spawn(&mut self) -> io::Result<()> {
        (self.process, self.admitted, self.announced) = (None, None, None);
        let process = Process::start_with(&self.place, &self.command, &self.variables)?;
        self.process = Some(process);
        Ok(())
    }

    /// Waits until it is ready, and returns its port.
    pub(crate) async fn ready(&mut self) -> io::Result<u16> {
        let out = self.place.out.clone();
        let Some(process) = &mut self.process else {
            return Err(io::Error::other("it was not started"));
        };
        process.ready(async |_| address(out.as_deref()).is_some()).await?;
        let no_port = || io::Error::other("it does not say at which port it serves");
        self.port().ok_or_else(no_port)
    }

    /// The port at which it serves, once it is ready.
    pub(crate) fn port(&self) -> Option<u16> {
        self.address()?.rsplit_once(':')?.1.parse().ok()
    }

    /// Where it serves, once it is ready.
    pub(crate) fn address(&self) -> Option<String> {
        address(self.place.out.as_deref())
    }

    /// The port at which it is ready, if the balancer has not found it there yet.
    pub(crate) fn unadmitted(&mut self) -> Option<u16> {
        let is_running = self.process.as_mut().is_some_and(|process| process.ended().is_none());
        // The port is in a file, which is read only until then.
        if is_running && self.admitted.is_none() { self.port() } else { None }
    }

    /// Its process, unless it was stopped.
    pub(crate) fn process(&mut self) -> Option<&mut Process> {
        self.process.as_mut()
    }

    /// Asks it to end.
    pub(crate) fn begin_stop(&mut self) {
        self.process.iter_mut().for_each(|process| process.signal(Signal::TERM));
    }

    /// Waits until it has ended, after [`Replica::begin_stop`].
    pub(crate) async fn gone(&mut self) -> io::Result<()> {
        match self.process.take() {
            Some(mut process) => process.gone().await,
            None => Ok(()),
        }
    }
}

/// Returns the name of the replica in a slot.
pub(crate) fn name(slot: u16) -> String {
    format!("replica-{slot}")
}

/// It says where it serves in a line of its standard output once it is ready.
fn address(out: Option<&Path>) -> Option<String> {
    let said = fs::read_to_string(out?).ok()?;
    let (_, after) = said.split_once("http://")?;
    let (line, _) = after.split_once('\n')?;
    line.split_whitespace().next().map(str::to_owned)
}
