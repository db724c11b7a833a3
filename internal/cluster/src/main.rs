//! `placard-cluster`, which `scripts/cluster` becomes: `up` and `run` start a cluster, and stay in the foreground until
//! Ctrl-C or the end of the command. The other commands speak to them over a socket in the cluster's directory, which is
//! DATA, or else a temporary one that target/cluster points to for as long as it is there.

mod options;

use std::ffi::OsString;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ExitCode, ExitStatus};
use std::time::Duration;

use clap::error::ErrorKind;
use placard_cluster::cluster::{self, Cluster};
use placard_cluster::control::{self, Control};
use placard_cluster::directory::Directory;
use placard_cluster::process::without_settings;
use rustix::process::{Pid, Resource, Rlimit, Signal, getrlimit, kill_process, setrlimit};
use tokio::signal::unix::{self, SignalKind};

use options::{Command, Options, Running, Up};

/// Where a cluster is that was given no directory.
const DEFAULT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../target/cluster");
/// How often it is looked whether a part has ended.
const WATCH: Duration = Duration::from_millis(200);
/// Bad usage, as shells and clap have it.
const USAGE: u8 = 2;
/// What a shell returns for a command that Ctrl-C has ended.
const INTERRUPTED: u8 = 130;

fn main() -> ExitCode {
    let options = match Options::parse() {
        Ok(options) => options,
        Err(error) => return usage(&error),
    };
    let done = tokio::runtime::Builder::new_current_thread().enable_all().build();
    match done.and_then(|runtime| runtime.block_on(run(options))) {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            complain(&error.to_string());
            ExitCode::FAILURE
        }
    }
}

async fn run(options: Options) -> io::Result<u8> {
    let asked = |running: Running, command| async move {
        let directory = running.data.unwrap_or_else(|| DEFAULT.into());
        control::ask(&directory, command, &say).await.map(|()| 0)
    };
    match options.command {
        Command::Up(options) => up(options, None).await,
        Command::Run { up: options, program } => up(options, Some(program)).await,
        Command::Scale { running, replicas } => {
            asked(running, control::Command::Scale(replicas)).await
        }
        Command::Roll(running) => asked(running, control::Command::Roll).await,
        Command::Status(running) => asked(running, control::Command::Status).await,
    }
}

/// Starts a cluster, has it run until a signal comes or the command has ended, and stops it. Returns the exit code.
async fn up(options: Up, program: Option<Vec<OsString>>) -> io::Result<u8> {
    let mut signals = Signals::new()?;
    raise_open_files();
    let directory = match &options.data {
        Some(data) => Directory::kept(data).await?,
        None => Directory::temporary(Path::new(DEFAULT)).await?,
    };
    let mut cluster = Cluster::new(cluster::Options {
        program: program_of(options.placard)?,
        directory: directory.path().to_owned(),
        is_temporary: directory.is_temporary(),
        port: options.port,
        statistics: options.stats_port,
        // Replicas are started in the cluster's directory.
        token_file: options.token_file.map(std::path::absolute).transpose()?,
    });
    let control = Control::listen(directory.path())?;
    let is_up = program.is_none();
    let mut command = None;
    let served = async {
        let setup = (&directory, options.replicas);
        serve(&mut cluster, &control, setup, program.as_deref(), &mut command).await
    };
    let ended = tokio::select! {
        ended = served => Some(ended),
        () = signals.next() => None,
    };
    command.iter_mut().for_each(terminate);
    say("cluster: stopping");
    cluster.stop(signals.next(), &say).await;
    if let Some(command) = &mut command {
        command.wait()?;
    }
    match ended {
        Some(ended) => ended.map(code),
        None => Ok(if is_up { 0 } else { INTERRUPTED }),
    }
}

/// Has the cluster run until the command has ended, or for ever without one.
async fn serve(
    cluster: &mut Cluster,
    control: &Control,
    (directory, replicas): (&Directory, u16),
    program: Option<&[OsString]>,
    command: &mut Option<Child>,
) -> io::Result<ExitStatus> {
    cluster.start(replicas, &say).await?;
    say(&format!(
        "Placard is serving at {}: {replicas} replicas behind HAProxy ({}/).",
        cluster.url(),
        cluster.statistics_url(),
    ));
    match program {
        Some(program) => *command = Some(start(program, cluster, directory)?),
        None => {
            let kept = if directory.is_temporary() { "gone afterwards" } else { "kept" };
            say(&format!(
                "Data and logs are in {}, {kept}. Ctrl-C stops all. While it runs:\n\n  \
                 make cluster-scale REPLICAS=5\n  make cluster-roll\n",
                directory.path().display(),
            ));
        }
    }
    loop {
        if let Some(ended) = command.as_mut().map(Child::try_wait).transpose()?.flatten() {
            return Ok(ended);
        }
        tokio::select! {
            client = control.accept() => answer(cluster, client).await,
            () = tokio::time::sleep(WATCH) => {}
        }
        cluster.mend(&say).await;
    }
}

/// Does what a client asks for.
async fn answer(cluster: &mut Cluster, mut client: control::Client) {
    let Some(command) = client.command().await else {
        return client.end(Err("there is no such command".to_owned())).await;
    };
    let tell = |line: &str| client.tell(line);
    let done = match command {
        control::Command::Scale(replicas) => cluster.scale(replicas, &tell).await,
        control::Command::Roll => cluster.roll(&tell).await,
        control::Command::Status => cluster.status(&tell).await,
    };
    client.end(done.map_err(|error| error.to_string())).await;
}

/// Starts the command that is to run with a cluster, with what it needs to find that.
fn start(program: &[OsString], cluster: &Cluster, directory: &Directory) -> io::Result<Child> {
    let (program, arguments) =
        program.split_first().ok_or_else(|| io::Error::other("there is no command to run"))?;
    let mut command = std::process::Command::new(program);
    without_settings(&mut command).args(arguments).envs(cluster.variables());
    command.env("TARGET", cluster.url()).env("PLACARD_TARGET", cluster.url());
    command.env("STATS", cluster.statistics_url());
    command.env("DATA", directory.path()).env("PLACARD", cluster.program());
    if let Some(file) = cluster.token_file() {
        command.env("PLACARD_TOKEN_FILE", file).env("TOKEN", first_token(file)?);
    }
    let name = program.to_string_lossy().into_owned();
    command.spawn().map_err(|error| io::Error::other(format!("cannot run {name}: {error}")))
}

/// Returns what Placard's own clients take from a file of tokens.
fn first_token(file: &Path) -> io::Result<String> {
    let text = std::fs::read_to_string(file)?;
    let mut lines = text.trim_start_matches('\u{feff}').lines().map(str::trim);
    let line = lines.find(|line| !line.is_empty() && !line.starts_with('#')).unwrap_or_default();
    let token = line.split_once(':').map(|(_, token)| token.trim()).filter(|it| !it.is_empty());
    Ok(token.unwrap_or(line).to_owned())
}

/// Returns the program that was named, or the one beside this.
fn program_of(named: Option<PathBuf>) -> io::Result<PathBuf> {
    let program = match named {
        Some(named) => std::path::absolute(named)?,
        None => std::env::current_exe()?.with_file_name("placard"),
    };
    if !program.is_file() {
        let program = program.display();
        return Err(io::Error::other(format!("{program} is not there; PLACARD names the program")));
    }
    Ok(program)
}

/// Has parts and the command open as many files as this user may.
fn raise_open_files() {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    // With the limit as it is, most things work too.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum });
}

fn terminate(command: &mut Child) {
    let id = i32::try_from(command.id()).ok().and_then(Pid::from_raw);
    if let (Ok(None), Some(id)) = (command.try_wait(), id) {
        let _ = kill_process(id, Signal::TERM);
    }
}

/// The exit code of a command, as a shell has it.
fn code(ended: ExitStatus) -> u8 {
    use std::os::unix::process::ExitStatusExt;
    let code = ended.code().or_else(|| ended.signal().map(|signal| 128 + signal));
    code.and_then(|code| u8::try_from(code).ok()).unwrap_or(u8::MAX)
}

/// The signals that ask for the end.
struct Signals([unix::Signal; 3]);

impl Signals {
    fn new() -> io::Result<Self> {
        let listen = |kind| unix::signal(kind);
        let interrupt = listen(SignalKind::interrupt())?;
        Ok(Self([interrupt, listen(SignalKind::terminate())?, listen(SignalKind::hangup())?]))
    }

    async fn next(&mut self) {
        let [interrupt, terminate, hang_up] = &mut self.0;
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
            _ = hang_up.recv() => {}
        }
    }
}

/// Says a line. If nobody reads it any more, the cluster goes on.
fn say(line: &str) {
    let _ = writeln!(io::stdout(), "{line}");
}

fn complain(line: &str) {
    let _ = writeln!(io::stderr(), "cluster: {line}");
}

/// Shows the help, or what is wrong with the command line in one line.
fn usage(error: &clap::Error) -> ExitCode {
    if matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) {
        say(error.to_string().trim_end());
        return ExitCode::SUCCESS;
    }
    let text = error.to_string();
    let first: Vec<_> = text.lines().take_while(|line| !line.is_empty()).map(str::trim).collect();
    complain(first.join(" ").trim_start_matches("error: "));
    ExitCode::from(USAGE)
}
