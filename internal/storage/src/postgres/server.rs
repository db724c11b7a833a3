//! The server that all connections lead to: of the hosts that the URL names, the one that takes writes. The URL may come
//! from a file, which is read again at each connection, so that a password may change.

use std::fmt;
use std::net::Ipv6Addr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use placard_replica::Outage;
use sqlx::postgres::{PgConnectOptions, PgPool, PgPoolOptions};
use tokio::sync::watch;

use super::session::{Durability, Run, Session, Setting};
use super::url::{self, Target, UrlError};
use crate::place::Place;
use crate::secret::Secret;

/// How long a connection may take to come about.
const CONNECT: Duration = Duration::from_secs(3);
/// As above, where there are others to try.
const CONNECT_ONE_OF: Duration = Duration::from_secs(2);
/// The longest that the URL may ask for.
const CONNECT_MAX: Duration = Duration::from_secs(10);

/// The server; clones share its state.
#[derive(Clone)]
pub(super) struct Server(Arc<Shared>);

struct Shared {
    target: Mutex<Arc<Target>>,
    /// Whether an operator asks for settings as a connection begins.
    asks_more: Arc<AtomicBool>,
    /// Held by the task that reads the URL again.
    renewing: tokio::sync::Mutex<Source>,
    /// Connections that others have made theirs, which are to go where these go.
    pools: Mutex<Vec<PgPool>>,
    /// The number of signs of life that have failed to come.
    silences: watch::Sender<u64>,
    /// Which of the hosts has taken the last connection.
    last: AtomicUsize,
    /// Why the last attempt to connect failed, if it did.
    failed: Mutex<Option<String>>,
    /// The only run of the server that may be used, if that was said.
    run: Mutex<Option<Run>>,
    place: Place,
}

struct Source {
    url: Secret,
    /// The text of the URL that is used.
    used: String,
    outage: Outage,
}

impl Server {
    pub(super) fn new(url: Secret) -> Result<Self, UrlError> {
        let target = url::parse(url.text())?;
        // It is read before each connection, which may be days later.
        let outage =
            Outage::of("the file of PostgreSQL's URL cannot be used; what it said before still is")
                .tried_every(Duration::MAX);
        Ok(Self(Arc::new(Shared {
            asks_more: Arc::new(AtomicBool::new(target.asks_more)),
            target: Mutex::new(Arc::new(target)),
            renewing: tokio::sync::Mutex::new(Source { used: url.text().to_owned(), url, outage }),
            pools: Mutex::default(),
            silences: watch::Sender::new(0),
            last: AtomicUsize::new(0),
            failed: Mutex::default(),
            run: Mutex::default(),
            place: Place::default(),
        })))
    }

    pub(super) fn silences(&self) -> &watch::Sender<u64> {
        &self.0.silences
    }

    /// From now on no other run of the server is used, but by sets that may use any.
    pub(super) fn follow(&self, run: Run) {
        *lock(&self.0.run) = Some(run);
    }

    /// Returns the run that was last set.
    pub(super) fn run(&self) -> Option<Run> {
        *lock(&self.0.run)
    }

    /// Returns where to connect, by the URL as it is now.
    pub(super) async fn ways(&self) -> Vec<Way> {
        self.renew().await;
        let target = self.target();
        let count = target.hosts.len();
        let limit = if count > 1 { CONNECT_ONE_OF } else { CONNECT };
        let limit = target.connect_timeout.map_or(limit, |asked| asked.min(CONNECT_MAX));
        let first = self.0.last.load(Ordering::Relaxed);
        let in_turn = (0..count).map(|nth| (first + nth) % count);
        let asks_more = target.asks_more;
        let way = |host: usize| {
            let options = target.hosts[host].clone();
            Way { host, place: place_of(&target, &options), options, limit, asks_more }
        };
        in_turn.map(way).collect()
    }

    /// Notes that no host could be used.
    pub(super) fn lost(&self, why: String) {
        *lock(&self.0.failed) = Some(why);
    }

    /// Returns why the last attempt to connect failed, if it did.
    pub(super) fn failed(&self) -> Option<String> {
        lock(&self.0.failed).clone()
    }

    /// Notes that this host has led to a server that takes writes.
    pub(super) fn found(&self, way: &Way) {
        *lock(&self.0.failed) = None;
        if self.0.last.swap(way.host, Ordering::Relaxed) != way.host {
            tracing::info!(host = way.place, "connected to another of PostgreSQL's hosts");
            // By the URL as it is now.
            self.lead_pools(&self.target());
        }
    }

    async fn renew(&self) {
        // A caller that comes while another task reads the file does not wait for that.
        let Ok(mut source) = self.0.renewing.try_lock() else { return };
        let Source { url, used, outage } = &mut *source;
        if let Err(error) = url.renew().await {
            return outage.failed(&error);
        }
        if url.text() == *used {
            return outage.works();
        }
        match url::parse(url.text()) {
            Ok(target) => {
                outage.works();
                url.text().clone_into(used);
                tracing::info!("PostgreSQL's URL has changed in its file");
                self.0.asks_more.store(target.asks_more, Ordering::Relaxed);
                self.lead_pools(&target);
                *lock(&self.0.target) = Arc::new(target);
            }
            Err(error) => outage.failed(&error),
        }
    }

    /// Points the pools to the host of the last connection.
    fn lead_pools(&self, target: &Target) {
        let host = self.0.last.load(Ordering::Relaxed) % target.hosts.len();
        for pool in lock(&self.0.pools).iter() {
            pool.set_connect_options(target.hosts[host].clone());
        }
    }

    /// Returns the place of the journal. It has no name before a connection was made.
    pub(super) fn place(&self) -> &Place {
        &self.0.place
    }

    /// A connection finds the journal's tables in this schema, if in any. Clusters may share a database.
    pub(super) fn is_in(&self, schema: Option<&str>) {
        let (Some(schema), None) = (schema, self.0.place.name()) else { return };
        let target = self.target();
        let host = |host: &PgConnectOptions| {
            let name =
                host.get_socket().map_or(host.get_host().into(), |path| path.to_string_lossy());
            format!("{name}:{}/{}", host.get_port(), host.get_database().unwrap_or_default())
        };
        let hosts: Vec<_> = target.hosts.iter().map(host).collect();
        self.0.place.is_at(&format!("{}/{schema}", hosts.join(",")));
    }

    fn target(&self) -> Arc<Target> {
        Arc::clone(&lock(&self.0.target))
    }

    /// Returns connections for another user, to the same host. None is opened yet.
    pub(super) fn pool(&self, pool: PgPoolOptions, settings: &'static [Setting]) -> PgPool {
        let session = Arc::new(Session::new(&[settings], Durability::Any));
        let asks_more = Arc::clone(&self.0.asks_more);
        let pool = pool.after_connect(move |connection, _| {
            let (session, asks_more) = (Arc::clone(&session), asks_more.load(Ordering::Relaxed));
            Box::pin(async move {
                let begun = session.begin(connection, asks_more).await;
                begun.map(drop).map_err(|failure| sqlx::Error::Configuration(failure.into()))
            })
        });
        let target = self.target();
        let host = self.0.last.load(Ordering::Relaxed) % target.hosts.len();
        let pool = pool.connect_lazy_with(target.hosts[host].clone());
        lock(&self.0.pools).push(pool.clone());
        pool
    }
}

/// A host, and how to connect to it.
pub(super) struct Way {
    host: usize,
    /// The host, for messages.
    pub(super) place: String,
    pub(super) options: PgConnectOptions,
    /// How long connecting may take.
    pub(super) limit: Duration,
    /// Whether an operator asks for settings as the connection begins.
    pub(super) asks_more: bool,
}

/// Where the server is, for messages: `host:port,…/database`, as far as these look like names. A URL may have been
/// understood otherwise than it was meant, and its password then be taken for one of them: of one without a user the first
/// host alone is shown.
impl fmt::Display for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let target = self.target();
        let shown = if target.has_user { target.hosts.len() } else { 1 };
        let hosts = target.hosts.iter().take(shown).map(|host| place_of(&target, host));
        f.write_str(&hosts.collect::<Vec<_>>().join(","))?;
        let database = target.hosts.first().and_then(PgConnectOptions::get_database);
        let database = database.filter(|_| target.has_user);
        match database {
            Some(database) => write!(f, "/{}", if is_name(database) { database } else { "..." }),
            None => Ok(()),
        }
    }
}

fn is_name(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
}

fn place_of(target: &Target, options: &PgConnectOptions) -> String {
    let port = if target.has_user { format!(":{}", options.get_port()) } else { String::new() };
    if let Some(socket) = options.get_socket() {
        return format!("{}{port}", socket.display());
    }
    let host = options.get_host();
    let host = match host.parse::<Ipv6Addr>() {
        Ok(address) => format!("[{address}]"),
        Err(_) if is_name(host) => host.to_owned(),
        Err(_) => "...".to_owned(),
    };
    format!("{host}{port}")
}

fn lock<T>(of: &Mutex<T>) -> MutexGuard<'_, T> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn server_display_shows_names_and_no_password() {
        for (url, shown) in [
            ("postgres://ann:s3cret@db-1.example:6432/ads", "db-1.example:6432/ads"),
            ("postgresql://ann:s3cret@h", "h:5432"),
            ("postgres://s3cret@h", "h:5432"),
            ("postgres://ann:s3cret@[2001:db8::1]:6432/ads", "[2001:db8::1]:6432/ads"),
            ("postgres://ann:s3@cret@h/ads", "h:5432/ads"),
            ("postgres://ann:s3cret@h1,h2:6432/ads", "h1:5432,h2:6432/ads"),
            ("postgres://ann:s3cret@/ads?host=/run/postgresql", "/run/postgresql:5432/ads"),
            ("postgres://ann@h/ann%3As3cret%40h", "h:5432/..."),
            // Where the `@` is missing, the port or the database is the password.
            ("postgres://ann:1234", "ann"),
            ("postgres://ann:12,s3cret", "ann"),
            ("postgres://ann:12/s3cret", "ann"),
        ] {
            let server = Server::new(url.into()).unwrap_or_else(|error| panic!("{url}: {error}"));
            assert_eq!(server.to_string(), shown, "{url}");
        }
    }
}
