//! The journal of a cluster: PostgreSQL.
//!
//! A replica keeps a connection for commits, which it takes first and has opened again when it is lost; one for
//! the head poll; one for reading the log and what ends; and one for the tasks of expiry. While it needs them it has
//! a second one for reading, one for a snapshot, and two for housekeeping: eight at most, and what people who look
//! at the tasks need.

mod chores;
mod commit;
mod copy;
mod ends;
mod keeper;
mod lane;
mod poll;
mod rows;
mod session;
mod snapshot;
mod values;
mod write;

use std::fmt;
use std::net::Ipv6Addr;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use placard_model::entry::{FORMAT_LEVEL, Position, Record};
use placard_model::{EncodedAd, Version};
use placard_replica::ports::{
    Beat, Cause, Chores, CommitError, Commits, Ended, Ends, Head, Journal, Unavailable,
};
use placard_replica::{Batch, Plan};
use sqlx::ConnectOptions;
use sqlx::migrate::Migrator;
use sqlx::postgres::{PgConnectOptions, PgConnection, PgPool, PgPoolOptions};
use tokio::sync::mpsc;
use uuid::Uuid;

use commit::Committer;
use keeper::Keeper;
use lane::{Failure, Lane, Limit, Opened, Server};
use session::{Durability, Session, Setting};

pub use session::Unfit;
pub use snapshot::Audit;

static MIGRATIONS: Migrator = sqlx::migrate!("../../migrations/postgres");

/// Migrations wait for each other's lock, and for the tables they change.
const MIGRATE: &[Setting] = &[
    ("statement_timeout", "0"),
    ("lock_timeout", "60s"),
    ("idle_in_transaction_session_timeout", "60s"),
];

/// How long the log may take to be read: as long as a lease, since what is not read is not published.
const LOG: Duration = Duration::from_secs(2);
const LOG_READ: &[Setting] = &[
    ("lock_timeout", "1s"),
    ("statement_timeout", "1500ms"),
    ("tcp_user_timeout", "2s"),
    ("plan_cache_mode", "force_generic_plan"),
    ("enable_seqscan", "off"),
];

/// What a URL can say behind its `?`, as sqlx reads it; it passes over anything else with no more than a warning.
const PARAMETERS: &[&str] = &[
    "sslmode",
    "ssl-mode",
    "sslrootcert",
    "ssl-root-cert",
    "ssl-ca",
    "sslcert",
    "ssl-cert",
    "sslkey",
    "ssl-key",
    "statement-cache-capacity",
    "host",
    "hostaddr",
    "port",
    "dbname",
    "user",
    "password",
    "application_name",
    "options",
];

/// How a journal is opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Options {
    /// Whether [`PostgresJournal::connect`] brings the tables up to date.
    pub run_migrations: bool,
    /// Whether it takes tables that an older build has made, which can be read but not polled.
    pub accept_older_tables: bool,
    /// Whether a server may hold the journal that loses or corrupts it when its machine crashes.
    pub accept_unsafe_durability: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self { run_migrations: true, accept_older_tables: false, accept_unsafe_durability: false }
    }
}

/// Why a journal was not opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The URL is none of PostgreSQL's. What is in it is not repeated: it may hold a password.
    #[error(
        "not a PostgreSQL URL (postgres://user:password@host:port/database, with what is special in a name or password \
         percent-encoded)"
    )]
    Url,
    /// The URL has a parameter that means nothing: a mistyped `sslmode` would leave the connection unchecked. Nor is the
    /// parameter repeated, which may be a part of a password that was not escaped.
    #[error(
        "the PostgreSQL URL has an unknown parameter; known are {known}, and options[NAME]",
        known = PARAMETERS.join(", ")
    )]
    Parameter,
    /// The server cannot be reached, or does not let us in.
    #[error("cannot connect to PostgreSQL at {0}")]
    Connect(String, #[source] Cause),
    /// The server is not what durability needs.
    #[error("PostgreSQL at {0} cannot hold the journal: {1}")]
    Unfit(String, Unfit),
    /// The tables cannot be brought up to date.
    #[error("cannot migrate the journal at {0}")]
    Migrate(String, #[source] Cause),
    /// The journal holds what this build cannot read.
    #[error(
        "the journal at {0} needs format level {1}, and this build reads {FORMAT_LEVEL} at most: run a newer build"
    )]
    TooNew(String, u8),
    /// There are no tables, or not all that this build needs.
    #[error(
        "PostgreSQL at {0} holds no journal, or one that is not up to date: run `placard migrate`"
    )]
    Missing(String),
    /// The tables are those of an older build.
    #[error("the journal in PostgreSQL at {0} was made by an older build: run `placard migrate`")]
    Older(String),
}

/// A handle to the journal; its clones share its connections.
#[derive(Clone)]
pub struct PostgresJournal {
    lanes: Arc<Lanes>,
}

impl fmt::Debug for PostgresJournal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("PostgresJournal").field(&self.lanes.place).finish()
    }
}

struct Lanes {
    place: String,
    committer: Committer,
    poll: Lane,
    /// Of the log, and of what ends.
    reads: Lane,
    snapshot: Lane,
    /// For the stream, whose bound must not wait for other chores.
    trim: Lane,
    chores: Lane,
    /// Of a replica, which is what polls.
    keeper: OnceLock<Keeper>,
}

impl Lanes {
    fn new(options: PgConnectOptions, accept_unsafe: bool) -> Self {
        let durable = if accept_unsafe { Durability::Accepted } else { Durability::Checked };
        let (place, has_options) = (place(&options), has_options(&options));
        let server = Server::new(options);
        let session = |settings, durability| Session::new(settings, durability, has_options);
        // Housekeeping gives back what it borrows.
        let chore = || {
            let session = session(&[chores::SETTINGS, &chores::SILENCE], Durability::Any);
            Lane::new(&server, 1, 0, session)
        };
        Self {
            place,
            committer: Committer::new(&server, session(&[commit::SETTINGS], durable)),
            poll: Lane::new(&server, 1, 1, session(&[poll::SETTINGS], durable)),
            reads: Lane::new(&server, 2, 1, session(&[LOG_READ], Durability::Any)),
            snapshot: Lane::new(&server, 1, 0, session(&[snapshot::SETTINGS], Durability::Any)),
            trim: chore(),
            chores: chore(),
            keeper: OnceLock::new(),
        }
    }

    /// A commit's connection comes first: while there is none, housekeeping takes none that might be it.
    fn to_spare(&self, lane: impl FnOnce(&Self) -> &Lane) -> Result<&Lane, Failure> {
        match self.committer.opened() {
            Opened::NotYet | Opened::NoLonger => Err(Failure::NoneToSpare),
            Opened::Untried | Opened::Yes => Ok(lane(self)),
        }
    }
}

/// Whether an operator asks for settings as a connection begins. What else stands among the options, such as the
/// `endpoint=…` by which a provider's proxy finds the server, is not meant for PostgreSQL, which would refuse it.
fn has_options(options: &PgConnectOptions) -> bool {
    let options = options.get_options().unwrap_or_default();
    options.split_whitespace().any(|word| word.starts_with("-c") || word.starts_with("--"))
}

/// Where a server is, for messages: `host:port/database`, as far as these look like names. A URL may have been understood
/// otherwise than it was meant, and its password then be taken for one of them.
fn place(options: &PgConnectOptions) -> String {
    let is_name = |text: &str| {
        text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
    };
    let host = options.get_host();
    let without = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    let host = if is_name(host) || without.parse::<Ipv6Addr>().is_ok() { host } else { "..." };
    let database = options.get_database().map(|name| if is_name(name) { name } else { "..." });
    let database = database.map(|name| format!("/{name}")).unwrap_or_default();
    format!("{host}:{}{database}", options.get_port())
}

/// Whether this is a URL of PostgreSQL's. sqlx takes any scheme, and takes for a database whatever follows the server, such
/// as the rest of a password with a `/` in it; messages, ours and the server's, would show it.
fn is_url(url: &str) -> bool {
    let schemes = ["postgres://", "postgresql://"];
    let Some(rest) = schemes.into_iter().find_map(|scheme| url.strip_prefix(scheme)) else {
        return false;
    };
    let server = rest.split('?').next().unwrap_or_default();
    let database = server.split_once('/').map_or("", |(_, database)| database);
    // Nothing follows a `#`: it is a password's.
    !rest.contains('#') && !database.contains(['/', ':', '@'])
}

/// The names of what a URL says behind its `?`, as they are written but for brackets, which may be escaped.
fn parameters(url: &str) -> impl Iterator<Item = String> {
    let before_fragment = url.split('#').next().unwrap_or_default();
    let query = before_fragment.split_once('?').map_or("", |(_, query)| query);
    let named = query.split('&').filter(|parameter| !parameter.is_empty());
    named.map(|parameter| {
        let name = parameter.split('=').next().unwrap_or_default().to_owned();
        name.replace("%5B", "[").replace("%5b", "[").replace("%5D", "]").replace("%5d", "]")
    })
}

fn is_known(parameter: &str) -> bool {
    PARAMETERS.contains(&parameter)
        || (parameter.starts_with("options[") && parameter.ends_with(']'))
}

fn parse(url: &str) -> Result<PgConnectOptions, OpenError> {
    if !is_url(url) {
        return Err(OpenError::Url);
    }
    // Before sqlx reads it, which would say the parameter and its value in the log.
    if !parameters(url).all(|parameter| is_known(&parameter)) {
        return Err(OpenError::Parameter);
    }
    let options: PgConnectOptions = url.parse().map_err(|_| OpenError::Url)?;
    // A pooler need not know of a parameter that no PostgreSQL from 12 on needs.
    let options = options.extra_float_digits(None).disable_statement_logging();
    let options = if has_options(&options) { options.options([session::ASKED]) } else { options };
    Ok(match options.get_application_name() {
        Some(_) => options,
        None => options.application_name("placard"),
    })
}

/// Brings the journal's tables up to date, beside whoever else does the same. Migrations that only a newer
/// build knows are left alone: they only ever add.
///
/// # Errors
/// The server cannot be reached, is not fit for a journal in a way that no option accepts, or refuses a
/// migration.
pub async fn migrate(url: &str) -> Result<(), OpenError> {
    let options = parse(url)?;
    let place = place(&options);
    let session = |durability| Session::new(&[MIGRATE], durability, has_options(&options));
    let server = Server::new(options.clone());
    // Whether it is durable is nothing that migrations depend on.
    let one = Lane::new(&server, 1, 1, session(Durability::Accepted));
    let other = Lane::new(&server, 1, 0, session(Durability::Any));
    fit(&one, &other, &place).await?;
    run_migrations(&one, place).await
}

async fn run_migrations(lane: &Lane, place: String) -> Result<(), OpenError> {
    let mut held = lane.hold().await.map_err(|failure| refused(place.clone(), failure))?;
    let mut migrator = Migrator { migrations: MIGRATIONS.migrations.clone(), ..Migrator::DEFAULT };
    migrator.set_ignore_missing(true);
    let run = migrator.run_direct(None, &mut held.connection, false).await;
    run.map_err(|error| OpenError::Migrate(place, error.into()))
}

fn refused(place: String, failure: Failure) -> OpenError {
    match failure {
        Failure::Unfit(unfit) => OpenError::Unfit(place, unfit),
        other => OpenError::Connect(place, other.into()),
    }
}

/// A connection for the tables of the task queue that stands beside the journal. It is not opened yet.
///
/// # Errors
/// The URL is none of PostgreSQL's.
pub fn tasks_pool(url: &str) -> Result<PgPool, OpenError> {
    /// How long it may be waited for.
    const ACQUIRE: Duration = Duration::from_secs(3);
    let pool = PgPoolOptions::new().max_connections(1).acquire_timeout(ACQUIRE);
    pool_of(url, pool, chores::SETTINGS)
}

/// Connections for people who look at the tasks; there are none while nobody does.
///
/// # Errors
/// The URL is none of PostgreSQL's.
pub fn board_pool(url: &str) -> Result<PgPool, OpenError> {
    /// Within what a look at the tasks may take.
    const SETTINGS: &[Setting] = &[("statement_timeout", "4s"), ("lock_timeout", "1s")];
    const ACQUIRE: Duration = Duration::from_secs(4);
    const IDLE: Duration = Duration::from_secs(30);
    let pool = PgPoolOptions::new().max_connections(2).acquire_timeout(ACQUIRE).idle_timeout(IDLE);
    pool_of(url, pool, SETTINGS)
}

fn pool_of(
    url: &str,
    pool: PgPoolOptions,
    settings: &'static [Setting],
) -> Result<PgPool, OpenError> {
    let options = parse(url)?;
    let session = Arc::new(Session::new(&[settings], Durability::Any, has_options(&options)));
    let pool = pool.after_connect(move |connection, _| {
        let session = Arc::clone(&session);
        Box::pin(async move {
            let begun = session.begin(connection).await;
            begun.map(drop).map_err(|failure| sqlx::Error::Configuration(failure.into()))
        })
    });
    Ok(pool.connect_lazy_with(options))
}

/// Whether the server can hold a journal, that it can be reached, and that two connections have sessions of their own.
async fn fit(one: &Lane, other: &Lane, place: &str) -> Result<(), OpenError> {
    /// How long the first words may take.
    const FIRST: Duration = Duration::from_secs(10);
    let checked = async {
        let mut first = one.hold().await?;
        let second = other.hold().await?;
        first.still_owns_its_session().await?;
        first.keep();
        second.keep();
        Ok(())
    };
    let checked = tokio::time::timeout(FIRST, checked).await;
    checked
        .unwrap_or(Err(Failure::Late(FIRST)))
        .map_err(|failure| refused(place.to_owned(), failure))
}

impl PostgresJournal {
    /// A journal at a URL (`postgres://user:password@host:port/database?sslmode=verify-full&…`). Nothing is
    /// asked of the server yet: each kind of work connects when it is needed first, and again after an error.
    ///
    /// # Errors
    /// The URL is none of PostgreSQL's.
    pub fn new(url: &str, options: Options) -> Result<Self, OpenError> {
        let lanes = Lanes::new(parse(url)?, options.accept_unsafe_durability);
        Ok(Self { lanes: Arc::new(lanes) })
    }

    /// As [`PostgresJournal::new`], and sees to it that the journal is there and can be relied on. From then on it has a
    /// connection to commit with.
    ///
    /// # Errors
    /// The server cannot be reached within 10 s, is not fit for a journal, or holds none (any more, or yet), or an older
    /// build's.
    pub async fn connect(url: &str, options: Options) -> Result<Self, OpenError> {
        let journal = Self::new(url, options)?;
        let lanes = &*journal.lanes;
        let place = || lanes.place.clone();
        fit(lanes.committer.lane(), &lanes.poll, &lanes.place).await?;
        if options.run_migrations {
            let server = parse(url)?;
            let session = Session::new(&[MIGRATE], Durability::Any, has_options(&server));
            run_migrations(&Lane::new(&Server::new(server), 1, 0, session), place()).await?;
        }
        let first = lanes.reads.read(LOG, move |connection| {
            Box::pin(async move {
                rows::exists(connection).await?;
                Ok(options.accept_older_tables || is_migrated(connection).await?)
            })
        });
        match first.await {
            Ok(true) => Ok(journal),
            Ok(false) => Err(OpenError::Older(place())),
            Err(failure) if is_undefined_table(&failure) => Err(OpenError::Missing(place())),
            Err(Failure::TooNew(level)) => Err(OpenError::TooNew(place(), level)),
            Err(failure) => Err(refused(place(), failure)),
        }
    }

    /// The journal as it is now, for whoever recomputes its chain and its digest.
    ///
    /// # Errors
    /// The server does not answer within 10 s, or with an error.
    pub async fn audit(&self) -> Result<Audit<'_>, Unavailable> {
        let audit = Audit::begin(&self.lanes.snapshot).await;
        audit.map_err(|failure| Unavailable("read the journal's head", failure.into()))
    }
}

/// Whether every migration that this build knows was run.
async fn is_migrated(connection: &mut PgConnection) -> Result<bool, Failure> {
    const RUN: &str = "SELECT version FROM _sqlx_migrations WHERE success";
    let run: Vec<i64> = sqlx::query_scalar(RUN).fetch_all(connection).await?;
    Ok(MIGRATIONS.iter().all(|migration| run.contains(&migration.version)))
}

fn is_undefined_table(failure: &Failure) -> bool {
    let Failure::Sql(sqlx::Error::Database(error)) = failure else { return false };
    error.code().as_deref() == Some("42P01")
}

impl Journal for PostgresJournal {
    async fn commit(&self, batch: Arc<Batch>) -> Result<Plan, CommitError> {
        self.lanes.committer.commit(batch).await
    }

    async fn poll(&self, beat: Beat, at: Version) -> Result<Head, Unavailable> {
        self.lanes.keeper.get_or_init(|| Keeper::start(Arc::downgrade(&self.lanes)));
        // The row of a replica that refuses waits for the disk and for standbys.
        let waits = beat.identity.refuses_after.is_some();
        let limit = if waits { poll::POLL.into() } else { Limit::of_life(poll::POLL) };
        let beat = Arc::new(beat);
        let head = self.lanes.poll.read(limit, move |connection| {
            let beat = Arc::clone(&beat);
            Box::pin(async move { poll::poll(connection, &beat, at).await })
        });
        let head = head.await;
        head.map_err(|failure| Unavailable("read the journal's head", failure.into()))
    }

    async fn leave(&self, replica: Uuid) -> Result<(), Unavailable> {
        let left = self
            .lanes
            .poll
            .read(poll::POLL, |connection| Box::pin(poll::leave(connection, replica)));
        left.await.map_err(|failure| Unavailable("leave the register", failure.into()))
    }

    async fn log(&self, after: Version, max: usize) -> Result<Vec<Record>, Unavailable> {
        let records =
            self.lanes.reads.read(LOG, |connection| Box::pin(rows::log(connection, after, max)));
        records.await.map_err(|failure| Unavailable("read the journal's log", failure.into()))
    }

    async fn snapshot(
        &self,
        chunks: mpsc::Sender<Vec<EncodedAd>>,
    ) -> Result<Position, Unavailable> {
        let position = snapshot::snapshot(&self.lanes.snapshot, chunks).await;
        position.map_err(|failure| Unavailable("read the journal's ads", failure.into()))
    }

    async fn alone(&self, work: impl Future<Output = ()> + Send) -> Result<bool, Unavailable> {
        let done =
            async { chores::elsewhere(self.lanes.to_spare(|lanes| &lanes.trim)?, work).await };
        done.await.map_err(|failure| Unavailable("take the lock of housekeeping", failure.into()))
    }

    fn commits(&self) -> Commits {
        match self.lanes.committer.opened() {
            Opened::Untried | Opened::Yes => Commits::Able,
            Opened::NotYet => Commits::NotYet,
            Opened::NoLonger => Commits::NoLonger,
        }
    }
}

impl Ends for PostgresJournal {
    async fn ended(&self, max: usize) -> Result<Ended, Unavailable> {
        let ended = async {
            let lane = self.lanes.to_spare(|lanes| &lanes.reads)?;
            lane.read(LOG, |connection| Box::pin(ends::ended(connection, max))).await
        };
        ended.await.map_err(|failure| Unavailable("read what has ended", failure.into()))
    }

    async fn ends(&self, ahead: Duration, max: usize) -> Result<Vec<u64>, Unavailable> {
        let ends = async {
            let lane = self.lanes.to_spare(|lanes| &lanes.reads)?;
            lane.read(LOG, |connection| Box::pin(ends::ends(connection, ahead, max))).await
        };
        ends.await.map_err(|failure| Unavailable("read what will end", failure.into()))
    }
}

impl PostgresJournal {
    fn chores(&self) -> Result<&Lane, Failure> {
        self.lanes.to_spare(|lanes| &lanes.chores)
    }
}

/// In bounded batches; what has been deleted before a failure stays so.
impl Chores for PostgresJournal {
    async fn trim_log(&self, keep: Duration) -> Result<u64, Unavailable> {
        let trimmed = async { chores::trim_log(self.chores()?, keep).await }.await;
        trimmed.map_err(|failure| Unavailable("trim the journal's log", failure.into()))
    }

    async fn forget_answers(&self) -> Result<u64, Unavailable> {
        let forgotten = async { chores::forget_answers(self.chores()?).await }.await;
        forgotten.map_err(|failure| Unavailable("forget old answers", failure.into()))
    }

    async fn forget_tasks(&self, keep: Duration) -> Result<u64, Unavailable> {
        let forgotten = async { chores::forget_tasks(self.chores()?, keep).await }.await;
        forgotten.map_err(|failure| Unavailable("forget done tasks", failure.into()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_has_known_parameters_only() {
        let with = |query: &str| parse(&format!("postgres://ann:s3cret@127.0.0.1:1/ads{query}"));
        for known in [
            "",
            "?",
            "?sslmode=verify-full&sslrootcert=/a.pem",
            "?options[jit]=on&options%5Bjit%5D=on&user=bob",
        ] {
            assert!(with(known).is_ok(), "{known}");
        }
        for parameter in PARAMETERS {
            let refused = with(&format!("?{parameter}=127"));
            assert!(!matches!(refused, Err(OpenError::Parameter)), "{parameter}");
        }
        for mistyped in
            ["?sslmod=verify-full", "?SSLMODE=require", "?options[jit=on", "?sslmode=disable&x"]
        {
            let refused = with(mistyped).expect_err(mistyped);
            assert!(matches!(refused, OpenError::Parameter), "{mistyped}: {refused:?}");
            let told = format!("{refused}");
            assert!(!told.contains('\n') && !told.contains("s3cret"), "{told}");
        }
        assert!(matches!(with("?sslmode=very"), Err(OpenError::Url)));
    }

    #[test]
    fn urls_of_another_form_are_refused_unseen() {
        for other in [
            "",
            "s3cret",
            "postgres:ann:s3cret@h/db",
            "postgres:/ann:s3cret@h/db",
            "postgres:///ann:s3cret@h/db",
            "postgres:///ann:s3cret",
            "postgres://ann:s3cret/db",
            "postgres://ann:12/s3cret@h/db",
            "postgres://ann:12#s3cret@h/db",
            "postgres://ann:s3cret@h:port/db",
            "postgres://ann:s3cret@h/db/more",
            "jdbc:postgresql://ann:s3cret@h/db",
            "mysql://ann:s3cret@h/db",
            " postgres://ann:s3cret@h/db",
            "host=h user=ann password=s3cret",
        ] {
            let refused = parse(other).expect_err(other);
            assert!(matches!(refused, OpenError::Url), "{other}: {refused:?}");
            assert!(!format!("{refused} {refused:?}").contains("s3cret"), "{refused:?}");
        }
        let refused = parse("postgres://ann:12?s3cret@h/db").expect_err("no parameter");
        assert!(matches!(refused, OpenError::Parameter), "{refused:?}");
    }

    #[test]
    fn a_place_shows_what_looks_like_names() {
        for (url, shown) in [
            ("postgres://ann:s3cret@db-1.example:6432/ads", "db-1.example:6432/ads"),
            ("postgresql://ann:s3cret@h", "h:5432"),
            ("postgres://s3cret@h", "h:5432"),
            ("postgres://ann:s3cret@[2001:db8::1]:6432/ads", "[2001:db8::1]:6432/ads"),
            ("postgres://ann:s3@cret@h/ads", "h:5432/ads"),
            ("postgres://ann%3As3cret%40h/ads", "...:5432/ads"),
            ("postgres://h/ann%3As3cret%40h", "h:5432/..."),
            ("postgres://h/?host=ann:s3cret@h&dbname=ads", "...:5432/ads"),
        ] {
            assert_eq!(place(&parse(url).expect(url)), shown, "{url}");
        }
    }
}
