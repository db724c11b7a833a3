//! A cluster: its servers and its replicas, which it starts, watches, scales, restarts in turn and stops.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::io::{self, Write};
use std::net::TcpListener;
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::time::{Duration, Instant};

use uuid::Uuid;

use crate::admission::{admit, look};
use crate::process::{NotStarted, Place, Process, without_settings};
use crate::replica::{Replica, Serve, name};
use crate::servers::haproxy::{HaProxy, SLOTS};
use crate::servers::postgres::PostgresServer;
use crate::servers::redis::RedisServer;
use crate::servers::{free_port, started};

/// The most replicas of a cluster: HAProxy's configuration has room for as many.
pub const REPLICAS_MAX: u16 = SLOTS;
/// What a replica takes of PostgreSQL's connections, its task board included; docs/OPERATIONS.md tells which.
const CONNECTIONS_PER_REPLICA: u16 = 9;
/// What PostgreSQL has besides.
const CONNECTIONS_SPARE: u16 = 20;
/// Longer than the balancer needs to see that a replica is about to go; haproxy.cfg says how long that is.
const DRAIN_DELAY_MS: &str = "2000";
/// A replica takes its drain delay and then up to 4.9 s for what is under way and its last spans.
const STOP: Duration = Duration::from_secs(15);
/// The least time between two starts of a part that keeps ending.
const RETRY: Duration = Duration::from_secs(1);

/// Where a cluster tells what it does, line by line.
pub type Tell<'a> = &'a dyn Fn(&str);

/// How a cluster is set up.
#[derive(Debug, Clone)]
pub struct Options {
    /// The program that its replicas run.
    pub program: PathBuf,
    /// Where its data, logs and sockets are.
    pub directory: PathBuf,
    /// The directory goes too if this process is killed.
    pub is_temporary: bool,
    /// Where HAProxy listens; 0 takes a free port.
    pub port: u16,
    /// Where HAProxy's statistics are; 0 takes a free port.
    pub statistics: u16,
    /// Tokens with which ads can be written; without the file any client may.
    pub token_file: Option<PathBuf>,
}

/// PostgreSQL, Redis, replicas of Placard, and HAProxy in front of them. All are gone when this is dropped: killed,
/// unless [`Cluster::stop`] was awaited.
#[derive(Debug)]
pub struct Cluster {
    options: Options,
    // The balancer first: what has no replica any more must not answer.
    haproxy: Option<HaProxy>,
    replicas: BTreeMap<u16, Replica>,
    redis: Option<RedisServer>,
    postgres: Option<PostgresServer>,
    retries: Retries,
}

impl Cluster {
    /// A cluster that is not started yet.
    pub fn new(options: Options) -> Self {
        let (replicas, retries) = (BTreeMap::new(), Retries::default());
        Self { options, haproxy: None, replicas, redis: None, postgres: None, retries }
    }

    /// Starts its servers, and this number of replicas.
    ///
    /// # Errors
    /// A part does not start, or a port is taken. What was started by then runs until this is stopped or dropped.
    pub async fn start(&mut self, replicas: u16, tell: Tell<'_>) -> io::Result<()> {
        fs::create_dir_all(self.options.directory.join("logs"))?;
        for (name, port) in [("PORT", self.options.port), ("STATS_PORT", self.options.statistics)] {
            TcpListener::bind(("127.0.0.1", port)).map_err(|error| {
                // Without the error's number.
                let error = error.to_string();
                let error = error.split(" (os error").next().unwrap_or_default();
                io::Error::other(format!(
                    "port {port} cannot be had ({error}); {name}=0 takes a free one"
                ))
            })?;
        }
        let secret = secret(&self.options.directory.join("secret"))?;
        self.start_postgres(&secret, tell).await?;
        self.start_redis(&secret, tell).await?;
        self.start_haproxy().await?;
        // The first brings the tables up to date, which the others would wait for.
        self.scale(1, tell).await?;
        self.scale(replicas, tell).await
    }

    async fn start_postgres(&mut self, secret: &str, tell: Tell<'_>) -> io::Result<()> {
        let connections = CONNECTIONS_SPARE + CONNECTIONS_PER_REPLICA * REPLICAS_MAX;
        let settings = [("max_connections", &*connections.to_string())];
        let data = self.options.directory.join("postgres");
        let server = PostgresServer::start_at(self.place("postgres"), data, secret, &settings);
        let server = server.await.map_err(|error| reason("postgres", &error))?;
        tell(&format!("cluster: PostgreSQL is ready on port {}", server.port()));
        self.postgres = Some(server);
        Ok(())
    }

    async fn start_redis(&mut self, secret: &str, tell: Tell<'_>) -> io::Result<()> {
        let settings = [("appendonly", "yes"), ("maxmemory-policy", "noeviction")];
        let data = self.options.directory.join("redis");
        let server = RedisServer::start_at(self.place("redis"), data, secret, &settings);
        let server = server.await.map_err(|error| reason("redis", &error))?;
        tell(&format!("cluster: Redis is ready on port {}", server.port()));
        self.redis = Some(server);
        Ok(())
    }

    async fn start_haproxy(&mut self) -> io::Result<()> {
        let Options { port, statistics, .. } = self.options;
        let place = self.place("haproxy");
        let or_free = |port| if port == 0 { free_port() } else { Ok(port) };
        let proxy = if port == 0 || statistics == 0 {
            let start = async || {
                HaProxy::start_at(place.clone(), or_free(port)?, or_free(statistics)?).await
            };
            started(start).await
        } else {
            HaProxy::start_at(place, port, statistics).await
        };
        self.haproxy = Some(proxy.map_err(|error| reason("haproxy", &error))?);
        Ok(())
    }

    fn place(&self, name: &str) -> Place {
        let directory = self.options.directory.clone();
        let log = directory.join(format!("logs/{name}.log"));
        Place { directory, is_temporary: self.options.is_temporary, log, out: None }
    }

    /// Returns the program that its replicas run.
    pub fn program(&self) -> &Path {
        &self.options.program
    }

    /// Returns the file of tokens with which ads can be written.
    pub fn token_file(&self) -> Option<&Path> {
        self.options.token_file.as_deref()
    }

    /// Returns the URL of its balancer, which is there after the start.
    pub fn url(&self) -> String {
        let port = self.haproxy.as_ref().map_or(self.options.port, HaProxy::port);
        format!("http://127.0.0.1:{port}")
    }

    /// Returns the URL of its balancer's statistics.
    pub fn statistics_url(&self) -> String {
        let port = self.haproxy.as_ref().map_or(self.options.statistics, HaProxy::statistics);
        format!("http://127.0.0.1:{port}")
    }

    /// Returns the number of its replicas.
    pub fn replicas(&self) -> usize {
        self.replicas.len()
    }

    /// Returns the variables that its replicas have, with which other subcommands of Placard find the same servers.
    pub fn variables(&self) -> Vec<(String, OsString)> {
        let postgres = self.postgres.as_ref().map(PostgresServer::url).unwrap_or_default();
        let redis = self.redis.as_ref().map(RedisServer::url).unwrap_or_default();
        let serve = serve(&postgres, &redis);
        let own = serve.variables().map(|(name, value)| (name.to_owned(), OsString::from(value)));
        let tokens = self.options.token_file.iter();
        let tokens =
            tokens.map(|file| ("PLACARD_ADMIN_TOKEN_FILE".to_owned(), file.clone().into()));
        own.into_iter().chain(tokens).collect()
    }

    /// Starts the missing replicas, or stops those that are too many: the newest.
    ///
    /// # Errors
    /// A replica does not start; then none of the missing ones is kept, since it would be started again for ever.
    pub async fn scale(&mut self, wanted: u16, tell: Tell<'_>) -> io::Result<()> {
        let wanted = usize::from(wanted);
        let missing: Vec<_> = (1..=REPLICAS_MAX)
            .filter(|slot| !self.replicas.contains_key(slot))
            .take(wanted.saturating_sub(self.replicas.len()))
            .collect();
        let opened = self.open_all(&missing, tell).await;
        if opened.is_err() {
            for slot in missing {
                self.replicas.remove(&slot);
                self.dismiss(slot).await;
            }
            return opened;
        }
        let surplus: Vec<_> = self.replicas.keys().skip(wanted).copied().collect();
        for slot in &surplus {
            self.replicas.get_mut(slot).into_iter().for_each(Replica::begin_stop);
        }
        for slot in surplus {
            self.close(slot, tell).await;
            self.replicas.remove(&slot);
        }
        Ok(())
    }

    async fn open_all(&mut self, slots: &[u16], tell: Tell<'_>) -> io::Result<()> {
        for slot in slots {
            let mut replica = self.new_replica(*slot)?;
            replica.spawn()?;
            self.replicas.insert(*slot, replica);
        }
        for slot in slots {
            self.open(*slot, tell).await?;
        }
        Ok(())
    }

    fn new_replica(&self, slot: u16) -> io::Result<Replica> {
        let name = name(slot);
        let mut place = self.place(&name);
        place.out = Some(place.log.with_extension("out"));
        let program = self.options.program.to_str();
        let program = program.ok_or_else(|| io::Error::other("the program's name is no text"))?;
        let options = ["--data-dir", &name];
        let arguments = Serve { options: &options, ..serve("", "") }.arguments();
        let command = [program].into_iter().chain(arguments).map(str::to_owned).collect();
        Ok(Replica::new(place, command, self.variables()))
    }

    /// Waits until a replica is ready, and has the balancer send it requests.
    async fn open(&mut self, slot: u16, tell: Tell<'_>) -> io::Result<()> {
        let name = name(slot);
        let Some(replica) = self.replicas.get_mut(&slot) else { return Ok(()) };
        let port = replica.ready().await.map_err(|error| reason(&name, &error))?;
        admit(self.haproxy.as_ref(), slot, port).await?;
        replica.admitted = Some(port);
        tell(&format!("cluster: {name} is ready at 127.0.0.1:{port}"));
        Ok(())
    }

    /// Waits until a replica has ended that was asked to.
    async fn close(&mut self, slot: u16, tell: Tell<'_>) {
        let name = name(slot);
        if let Some(replica) = self.replicas.get_mut(&slot) {
            end(&name, replica.gone(), tell).await;
        }
        self.dismiss(slot).await;
        tell(&format!("cluster: {name} has stopped"));
    }

    async fn dismiss(&self, slot: u16) {
        if let Some(haproxy) = &self.haproxy {
            // One that does not answer is started again, and then knows of no replica but those that are there.
            let _ = haproxy.dismiss(slot).await;
        }
    }

    /// Restarts the replicas in turn. A single one gets a second for as long as that takes.
    ///
    /// # Errors
    /// A replica does not start again. It is tried again by [`Cluster::mend`], and the others stay as they were.
    pub async fn roll(&mut self, tell: Tell<'_>) -> io::Result<()> {
        let rolled: Vec<_> = self.replicas.keys().copied().collect();
        let before = u16::try_from(rolled.len()).unwrap_or(REPLICAS_MAX);
        self.scale(before.max(2), tell).await?;
        for slot in rolled {
            self.replicas.get_mut(&slot).into_iter().for_each(Replica::begin_stop);
            self.close(slot, tell).await;
            if let Some(replica) = self.replicas.get_mut(&slot) {
                replica.spawn()?;
            }
            self.open(slot, tell).await?;
        }
        self.scale(before, tell).await
    }

    /// Returns the process of each part, if it runs, by the part's name, and where it serves if it is a replica.
    pub fn parts(&mut self) -> Vec<(String, Option<u32>, Option<String>)> {
        let running = |process: Option<&mut Process>| {
            process.and_then(|process| process.ended().is_none().then(|| process.id()))
        };
        let mut parts = Vec::new();
        if let Some(server) = &mut self.postgres {
            parts.push(("postgres".to_owned(), running(server.process()), None));
        }
        if let Some(server) = &mut self.redis {
            parts.push(("redis".to_owned(), running(server.process()), None));
        }
        if let Some(server) = &mut self.haproxy {
            parts.push(("haproxy".to_owned(), running(server.process()), None));
        }
        for (slot, replica) in &mut self.replicas {
            let id = running(replica.process());
            parts.push((name(*slot), id, replica.address()));
        }
        parts
    }

    /// Tells the parts, and what the replicas say of themselves.
    ///
    /// # Errors
    /// The program cannot be run.
    pub async fn status(&mut self, tell: Tell<'_>) -> io::Result<()> {
        for (name, id, address) in self.parts() {
            let state = id.map_or_else(|| "ended".to_owned(), |id| format!("process {id}"));
            let at = address.map(|address| format!(" at {address}")).unwrap_or_default();
            tell(&format!("{name:<12} {state}{at}"));
        }
        let mut command = Command::new(&self.options.program);
        without_settings(&mut command).args(["status", "--once", "--target", &self.url()]);
        let shown = tokio::task::spawn_blocking(move || command.output()).await;
        let shown = shown.map_err(io::Error::other)??;
        let said = [shown.stdout, shown.stderr].map(|said| {
            let said = String::from_utf8_lossy(&said);
            said.trim().to_owned()
        });
        said.iter().find(|said| !said.is_empty()).into_iter().for_each(|said| tell(said));
        Ok(())
    }

    /// Starts again what has died, as an orchestrator would. It waits until a server is ready, without which no command
    /// works, and for no replica: a later look finds it ready.
    pub async fn mend(&mut self, tell: Tell<'_>) {
        let Self { postgres, redis, haproxy, replicas, retries, .. } = self;
        if let Some(server) = postgres
            && retries.is_due("postgres", server.process(), tell)
        {
            told("postgres", server.restart().await, tell);
        }
        if let Some(server) = redis
            && retries.is_due("redis", server.process(), tell)
        {
            told("redis", server.restart().await, tell);
        }
        if let Some(server) = haproxy
            && retries.is_due("haproxy", server.process(), tell)
        {
            told("haproxy", server.restart().await, tell);
            // It knows of no replica.
            replicas.values_mut().for_each(|replica| {
                (replica.admitted, replica.announced) = (None, None);
            });
        }
        for (slot, replica) in replicas {
            let name = name(*slot);
            let mended = if retries.is_due(&name, replica.process(), tell) {
                // The balancer finds by itself that it is gone. Told so, it would cut off what it is about to try
                // elsewhere. It may take long until this one is ready: a later look admits it.
                replica.spawn()
            } else if let Some(port) = replica.unadmitted() {
                let found = look(haproxy.as_ref(), *slot, port, replica).await;
                if matches!(found, Ok(true)) {
                    replica.admitted = Some(port);
                    tell(&format!("cluster: {name} is ready at 127.0.0.1:{port}"));
                }
                found.map(drop)
            } else {
                Ok(())
            };
            mended.err().into_iter().for_each(|error| tell(&format!("cluster: {error}")));
        }
    }

    /// Stops everything, in the order of who needs whom, and kills what is left when `hurry` is there.
    pub async fn stop(&mut self, hurry: impl Future<Output = ()>, tell: Tell<'_>) {
        tokio::select! {
            biased;
            () = self.stop_in_order(tell) => {}
            () = hurry => {}
        }
        self.haproxy = None;
        self.replicas.clear();
        (self.redis, self.postgres) = (None, None);
    }

    async fn stop_in_order(&mut self, tell: Tell<'_>) {
        if let Some(server) = &mut self.haproxy {
            end("haproxy", server.stop(), tell).await;
        }
        self.replicas.values_mut().for_each(Replica::begin_stop);
        for (slot, replica) in &mut self.replicas {
            end(&name(*slot), replica.gone(), tell).await;
        }
        let redis = async {
            if let Some(server) = &mut self.redis {
                end("redis", server.stop(), tell).await;
            }
        };
        let postgres = async {
            if let Some(server) = &mut self.postgres {
                end("postgres", server.stop(), tell).await;
            }
        };
        tokio::join!(redis, postgres);
    }
}

/// When a part that keeps ending may be started again, by its name.
#[derive(Debug, Default)]
struct Retries(BTreeMap<String, Instant>);

impl Retries {
    /// Returns true if a part has ended and is to be started again now, and tells how it has ended.
    fn is_due(&mut self, name: &str, process: Option<&mut Process>, tell: Tell<'_>) -> bool {
        let ended = process.map(Process::ended);
        let is_early = self.0.get(name).is_some_and(|at| Instant::now() < *at);
        if ended == Some(None) || is_early {
            return false;
        }
        if let Some(Some(status)) = ended {
            tell(&format!("cluster: {name} {}; starting it again", how(status)));
        }
        self.0.insert(name.to_owned(), Instant::now() + RETRY);
        true
    }
}

fn serve<'a>(postgres_url: &'a str, redis_url: &'a str) -> Serve<'a> {
    let (listen, drain_delay) = ("127.0.0.1:0", DRAIN_DELAY_MS);
    Serve { listen, drain_delay, postgres_url, redis_url, options: &[] }
}

/// Awaits the end of a part, which is killed if it takes too long.
async fn end(name: &str, ending: impl Future<Output = io::Result<()>>, tell: Tell<'_>) {
    if !matches!(tokio::time::timeout(STOP, ending).await, Ok(Ok(()))) {
        tell(&format!("cluster: {name} has not ended after {} s and is killed", STOP.as_secs()));
    }
}

fn told(name: &str, restarted: io::Result<()>, tell: Tell<'_>) {
    match restarted {
        Ok(()) => tell(&format!("cluster: {name} is ready again")),
        Err(error) => tell(&format!("cluster: {}", reason(name, &error))),
    }
}

/// The error of a part that did not start, in one line.
fn reason(name: &str, error: &io::Error) -> io::Error {
    let not_started = error.get_ref().and_then(|inner| inner.downcast_ref::<NotStarted>());
    io::Error::other(match not_started {
        Some(not_started) => format!("{name} did not start: {}", not_started.reason()),
        None => error.to_string(),
    })
}

fn how(status: ExitStatus) -> String {
    const NAMES: [(i32, &str); 7] = [
        (1, "SIGHUP"),
        (2, "SIGINT"),
        (3, "SIGQUIT"),
        (6, "SIGABRT"),
        (9, "SIGKILL"),
        (11, "SIGSEGV"),
        (15, "SIGTERM"),
    ];
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("ended with code {code}"),
        (None, Some(signal)) => {
            let name = NAMES.iter().find(|(number, _)| *number == signal);
            name.map_or_else(
                || format!("was ended by signal {signal}"),
                |(_, name)| format!("was ended by {name}"),
            )
        }
        (None, None) => "has ended".to_owned(),
    }
}

/// The password of PostgreSQL and Redis, made once: others on this machine can reach their ports. The file gets its name
/// when all of it is written, since this process may be killed.
fn secret(file: &Path) -> io::Result<String> {
    if !file.exists() {
        let new = file.with_extension("new");
        let mut options = fs::File::options();
        let mut made = options.create(true).truncate(true).write(true).mode(0o600).open(&new)?;
        write!(made, "{}", Uuid::new_v4().simple())?;
        fs::rename(&new, file)?;
    }
    fs::read_to_string(file)
}
