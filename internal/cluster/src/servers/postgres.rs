//! A private PostgreSQL. Making its data takes a second: for tests they are made once per version and machine, and
//! copied.

use std::fs;
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use rustix::process::Signal;
use tempfile::TempDir;

use super::{Place, Process, Settings, free_port, private_directory, program, started};

/// Where Debian keeps the programs of each major version.
const DEBIAN: &str = "/usr/lib/postgresql";
/// The user as which PostgreSQL runs if this process is root's, which PostgreSQL refuses.
const USER: &str = "postgres";
/// The user in the database of a server that has a password.
const NAME: &str = "placard";

/// A PostgreSQL with an empty database and the durable settings that are PostgreSQL's own. It, and its directory if that
/// is temporary, are gone when this is dropped.
#[derive(Debug)]
pub struct PostgresServer {
    /// `None` while it is stopped. Before `_temporary`, so that it is dead before its files go.
    process: Option<Process>,
    port: u16,
    /// The user, and the password if there is one, as in a URL.
    login: String,
    settings: Settings,
    place: Place,
    data: PathBuf,
    _temporary: Option<TempDir>,
}

impl PostgresServer {
    /// Starts one.
    ///
    /// # Errors
    /// PostgreSQL is not installed, or does not start within 30 s; the error holds its log.
    pub async fn start() -> io::Result<Self> {
        Self::start_with(&[]).await
    }

    /// Starts one with further settings, as in `postgresql.conf`: `("fsync", "off")`.
    ///
    /// # Errors
    /// As for [`PostgresServer::start`].
    pub async fn start_with(settings: &[(&str, &str)]) -> io::Result<Self> {
        let directory = private_directory()?;
        copy_template(directory.path())?;
        Self::start_temporary(directory, own_settings(settings)).await
    }

    async fn start_temporary(directory: TempDir, settings: Settings) -> io::Result<Self> {
        let place = Place::temporary(directory.path());
        let (login, data) = ("postgres".to_owned(), directory.path().join("data"));
        let mut server = Self {
            process: None,
            port: 0,
            login,
            settings,
            place,
            data,
            _temporary: Some(directory),
        };
        server.start_anywhere().await?;
        Ok(server)
    }

    /// Starts one at this place, with data that are made if they are not there. Its user is [`NAME`], who has this
    /// password.
    pub(crate) async fn start_at(
        place: Place,
        data: PathBuf,
        password: &str,
        settings: &[(&str, &str)],
    ) -> io::Result<Self> {
        if !data.join("PG_VERSION").exists() {
            make_data(&data, password)?;
        }
        let (login, settings) = (format!("{NAME}:{password}"), own_settings(settings));
        let mut server =
            Self { process: None, port: 0, login, settings, place, data, _temporary: None };
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

    /// Starts a standby of this one, which follows it through a port, a proxy's perhaps. It is the synchronous one if
    /// `synchronous_standby_names` of this one has its name, and another primary once `pg_promote` is asked of it.
    ///
    /// # Errors
    /// As for [`PostgresServer::start`], or the copy cannot be made.
    pub async fn standby(&self, name: &str, port: u16) -> io::Result<Self> {
        let from =
            |port| format!("host=127.0.0.1 port={port} user=postgres application_name={name}");
        let mut settings = self.settings.clone();
        settings.set(&[
            ("primary_conninfo", &from(port)),
            ("synchronous_standby_names", ""),
            ("wal_retrieve_retry_interval", "100ms"),
        ]);
        let directory = private_directory()?;
        give(directory.path())?;
        let mut copy = as_user(programs()?.join("pg_basebackup"));
        let data = directory.path().join("data").to_string_lossy().into_owned();
        // Not by way of a proxy that may be waiting for this very thread.
        let options = ["-d", &from(self.port), "-D", &data, "-X", "stream", "--checkpoint=fast"];
        copy.extend(options.map(str::to_owned));
        run(Command::new(&copy[0]).args(&copy[1..]))?;
        fs::write(directory.path().join("data/standby.signal"), "")?;
        Self::start_temporary(directory, settings).await
    }

    /// Returns its database's URL: `postgres://postgres@127.0.0.1:<port>/postgres`, the superuser's, without a
    /// password unless it is a cluster's.
    pub fn url(&self) -> String {
        self.url_through(self.port)
    }

    /// The same, reached through another port, a proxy's.
    pub fn url_through(&self, port: u16) -> String {
        format!("postgres://{}@127.0.0.1:{port}/postgres?sslmode=disable", self.login)
    }

    /// The port that it has, also over restarts.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Ends it as a service manager does (SIGINT, a fast shutdown: its clients are cut off), and waits until
    /// it has gone.
    ///
    /// # Errors
    /// It has not gone within 30 s.
    pub async fn stop(&mut self) -> io::Result<()> {
        match self.process.take() {
            Some(mut process) => process.stop(Signal::INT).await,
            None => Ok(()),
        }
    }

    /// Kills all its processes (SIGKILL), and waits until they are dead. Data that it has written and not synced is not
    /// lost, since the machine goes on.
    pub async fn kill(&mut self) {
        if let Some(process) = self.process.take() {
            process.kill().await;
        }
    }

    /// Starts it again on the same port and data; kills it first if it runs.
    ///
    /// # Errors
    /// As for [`PostgresServer::start`].
    pub async fn restart(&mut self) -> io::Result<()> {
        self.kill().await;
        let mut command = as_user(programs()?.join("postgres"));
        command.extend(["-D".to_owned(), self.data.to_string_lossy().into_owned()]);
        command.extend(["-p".to_owned(), self.port.to_string()]);
        for (name, value) in &self.settings.0 {
            command.extend(["-c".to_owned(), format!("{name}={value}")]);
        }
        let mut process = Process::start(&self.place, &command)?;
        let status = self.data.join("postmaster.pid");
        process.ready(async |id| is_ready(&status, id)).await?;
        self.process = Some(process);
        Ok(())
    }

    /// Its process, unless it was stopped.
    pub(crate) fn process(&mut self) -> Option<&mut Process> {
        self.process.as_mut()
    }

    /// Starts it again with settings changed; kills it first if it runs.
    ///
    /// # Errors
    /// As for [`PostgresServer::start`].
    pub async fn restart_with(&mut self, settings: &[(&str, &str)]) -> io::Result<()> {
        self.settings.set(settings);
        self.restart().await
    }

    /// Holds all its processes (SIGSTOP): connections stay, and nothing is answered.
    pub fn pause(&self) {
        self.process.iter().for_each(Process::pause);
    }

    /// Lets them go on after [`PostgresServer::pause`].
    pub fn resume(&self) {
        self.process.iter().for_each(Process::resume);
    }

    /// Runs SQL with `psql`, and returns what it prints, unaligned and without headers.
    ///
    /// # Errors
    /// `psql` is missing, or the SQL fails; the error holds what it says.
    pub fn sql(&self, sql: &str) -> io::Result<String> {
        let mut command = Command::new(programs()?.join("psql"));
        command.args(["-XqAt", "-v", "ON_ERROR_STOP=1", "-c", sql, &self.url()]);
        Ok(run(&mut command)?.trim_end().to_owned())
    }

    /// Sets its clock ahead of this machine's by `seconds` seconds, or behind if they are negative, for statements that
    /// ask for it by `clock_timestamp()` and `statement_timestamp()`. The first call affects sessions that begin later;
    /// other calls take effect at once.
    ///
    /// # Errors
    /// As for [`PostgresServer::sql`].
    pub fn set_clock(&self, seconds: i64) -> io::Result<()> {
        let shifted = |function: &str, volatility: &str| {
            format!(
                "CREATE OR REPLACE FUNCTION public.{function}() RETURNS timestamptz LANGUAGE sql {volatility}
                     AS 'SELECT pg_catalog.{function}() + ahead FROM public.clock';"
            )
        };
        // What is in `public` is found before what PostgreSQL has.
        self.sql(&format!(
            "SET client_min_messages = warning;
             CREATE TABLE IF NOT EXISTS public.clock (ahead interval NOT NULL);
             DELETE FROM public.clock;
             INSERT INTO public.clock VALUES (make_interval(secs => {seconds}));
             {} {}
             ALTER DATABASE postgres SET search_path = public, pg_catalog",
            shifted("clock_timestamp", "VOLATILE"),
            shifted("statement_timestamp", "STABLE"),
        ))
        .map(drop)
    }

    /// Its data directory.
    pub fn data(&self) -> PathBuf {
        self.data.clone()
    }
}

fn own_settings(settings: &[(&str, &str)]) -> Settings {
    let mut all = Settings::default();
    all.set(&[("listen_addresses", "127.0.0.1"), ("unix_socket_directories", "")]);
    all.set(settings);
    all
}

/// The server writes its state to this file, beside the id of its process.
fn is_ready(status: &Path, process: u32) -> bool {
    let text = fs::read_to_string(status).unwrap_or_default();
    let mut lines = text.lines();
    lines.next() == Some(&process.to_string()) && lines.nth(6).map(str::trim) == Some("ready")
}

/// Returns the directory of the programs: the newest version of Debian's, or whatever is in `PATH`.
fn programs() -> io::Result<PathBuf> {
    let mut versions: Vec<u32> = fs::read_dir(DEBIAN)
        .into_iter()
        .flatten()
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .collect();
    versions.sort_unstable_by(|one, other| other.cmp(one));
    let directories: Vec<_> =
        versions.iter().map(|version| Path::new(DEBIAN).join(format!("{version}/bin"))).collect();
    let found = PathBuf::from(program("postgres", &directories)?);
    Ok(found.parent().map(Path::to_owned).unwrap_or_default())
}

/// A command line, run by [`USER`] if this process is root's.
pub(super) fn as_user(program: PathBuf) -> Vec<String> {
    let program = program.to_string_lossy().into_owned();
    if !rustix::process::geteuid().is_root() {
        return vec![program];
    }
    let user = ["setpriv", "--clear-groups"].map(str::to_owned);
    let ids = [format!("--reuid={USER}"), format!("--regid={USER}")];
    user.into_iter().chain(ids).chain([program]).collect()
}

fn run(command: &mut Command) -> io::Result<String> {
    let Output { status, stdout, stderr } = command.output()?;
    if status.success() {
        return Ok(String::from_utf8_lossy(&stdout).into_owned());
    }
    let said = String::from_utf8_lossy(&stderr);
    Err(io::Error::other(format!("{:?} failed: {said}", command.get_program())))
}

/// Gives a file or a directory to the user that the server runs as.
pub(super) fn give(path: &Path) -> io::Result<()> {
    if !rustix::process::geteuid().is_root() {
        return Ok(());
    }
    let id = |kind| -> io::Result<u32> {
        let id = run(Command::new("id").args([kind, USER]))?;
        id.trim().parse().map_err(io::Error::other)
    };
    chown(path, Some(id("-u")?), Some(id("-g")?))
}

/// Makes the data of a server whose user has a password, beside their name: if this process is killed meanwhile, the
/// next one begins again rather than use a half of them.
fn make_data(data: &Path, password: &str) -> io::Result<()> {
    let (new, file) = (data.with_extension("new"), data.with_extension("password"));
    if new.exists() {
        fs::remove_dir_all(&new)?;
    }
    fs::create_dir_all(&new)?;
    give(&new)?;
    fs::write(&file, "")?;
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600))?;
    fs::write(&file, password)?;
    give(&file)?;
    let from = format!("--pwfile={}", file.display());
    let user = format!("--username={NAME}");
    let made = init(&new, &["--auth=scram-sha-256", &user, &from, "--locale=C.UTF-8"]);
    fs::remove_file(&file)?;
    if let Err(error) = made {
        fs::remove_dir_all(&new)?;
        let error = error.to_string();
        let last = error.trim().lines().next_back().unwrap_or_default();
        return Err(io::Error::other(format!("PostgreSQL's initdb failed: {last}")));
    }
    fs::rename(&new, data)
}

/// Runs `initdb` for an empty directory of the server's user.
fn init(data: &Path, options: &[&str]) -> io::Result<()> {
    let command = as_user(programs()?.join("initdb"));
    let mut command_line = Command::new(&command[0]);
    command_line.args(&command[1..]).args(options).args(["--encoding=UTF8", "-D"]).arg(data);
    run(&mut command_line).map(drop)
}

/// Puts fresh data into `<directory>/data`, and gives the directory to its user.
fn copy_template(directory: &Path) -> io::Result<()> {
    let template = template()?;
    give(directory)?;
    let copy = as_user(PathBuf::from("cp"));
    let from = [template.as_os_str(), directory.join("data").as_os_str()].map(ToOwned::to_owned);
    run(Command::new(&copy[0]).args(&copy[1..]).arg("-a").args(from)).map(drop)
}

/// Returns a cluster that no server has run on yet. It is made beside its name and then renamed, so that a process that
/// finds the name finds all of it; of several that make it at once the first wins.
fn template() -> io::Result<PathBuf> {
    let programs = programs()?;
    let version = run(Command::new(programs.join("postgres")).arg("--version"))?;
    let version: String = version.chars().filter(|c| c.is_ascii_digit() || *c == '.').collect();
    let user = rustix::process::geteuid().as_raw();
    let name = std::env::temp_dir().join(format!("placard-cluster-{version}-{user}"));
    let own = |path: &Path| fs::symlink_metadata(path).is_ok_and(|found| found.uid() == user);
    let made = name.join("data");
    if made.is_dir() {
        // Another user's directory of that name must not be trusted.
        return if own(&name) { Ok(made) } else { Err(io::Error::other("not our own cluster")) };
    }
    let new = private_directory()?;
    let data = new.path().join("data");
    fs::create_dir(&data)?;
    give(&data)?;
    readable(new.path())?;
    init(&data, &["--auth=trust", "--username=postgres", "--locale=C"])?;
    if fs::rename(new.path(), &name).is_ok() || made.is_dir() {
        return Ok(made);
    }
    Err(io::Error::other("the new cluster cannot be given its name"))
}

/// Lets the server's user through a directory of ours.
fn readable(directory: &Path) -> io::Result<()> {
    fs::set_permissions(directory, fs::Permissions::from_mode(0o755))
}
