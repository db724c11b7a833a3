//! The journal of a cluster: PostgreSQL.
//!
//! A replica keeps a connection for commits, which it takes first and has opened again when it is lost; one for
//! the head poll; one for reading the log and what ends, and for the lock of the stream's trimming; and one for the tasks of
//! expiry. While it needs them it has a second one for reading, one for a snapshot, and one for housekeeping: seven at
//! most, and what people who look at the tasks need.

mod chores;
mod codec;
mod commit;
mod connection_set;
mod copy;
mod expirations;
mod failure;
mod head_guard;
mod keeper;
mod poll;
mod rows;
mod server;
mod session;
mod sets;
mod snapshot;
mod url;
mod values;
mod write;

use std::error::Error;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use placard_model::entry::{Incarnation, Position, Record, format_level};
use placard_model::{Encoded, Version};
use placard_replica::ports::{
    BoxError, CommitError, Commits, Head, Heartbeat, Journal, PollError, Unavailable,
};
use placard_replica::{Batch, Plan};
use placard_scheduler::ports::{Chores, Expirations, Expired};
use sqlx::error::DatabaseError;
use sqlx::migrate::{MigrateError, Migration, Migrator};
use sqlx::postgres::{PgConnection, PgPool, PgPoolOptions};
use tokio::sync::mpsc;
use uuid::Uuid;

use connection_set::{ConnectionSet, Limit, Opened};
use failure::Failure;
use keeper::Keeper;
use server::Server;
use session::{Durability, Session, Setting};
use sets::ConnectionSets;

use crate::place::Place;
use crate::secret::Secret;

pub use failure::Unfit;
pub use snapshot::PostgresAudit;
pub use url::UrlError;

/// Words an error of other work on the journal's server; `None` if it is not one of PostgreSQL's client.
pub fn told(error: &(dyn Error + 'static)) -> Option<String> {
    error.downcast_ref().map(failure::told)
}
static MIGRATIONS: Migrator = sqlx::migrate!("../../migrations/postgres");

/// Migrations wait for each other's lock, and for the tables they change.
const MIGRATE: &[Setting] = &[
    ("statement_timeout", "0"),
    ("lock_timeout", "60s"),
    ("idle_in_transaction_session_timeout", "60s"),
];

/// How long the log may take to be read: as long as a lease, since what is not read is not published.
const LOG: Duration = Duration::from_secs(2);

/// The options with which a journal is opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Options {
    /// Whether [`PostgresJournal::connect`] brings the tables up to date.
    pub run_migrations: bool,
    /// Whether it takes tables that an older build has made, which can be read but not polled.
    pub accept_older_tables: bool,
    /// Whether the journal may be on a server that loses or corrupts it when its machine crashes.
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
    /// The URL cannot be used.
    #[error(transparent)]
    Url(#[from] UrlError),
    /// The server cannot be reached, or does not let us in.
    #[error("cannot connect to PostgreSQL at {0}")]
    Connect(String, #[source] BoxError),
    /// The server is not what durability needs.
    #[error("PostgreSQL at {0} cannot hold the journal: {1}")]
    Unfit(String, Unfit),
    /// None of several servers can be used; the reason of each.
    #[error("PostgreSQL at {0} cannot hold the journal")]
    NoHost(String, #[source] BoxError),
    /// The tables cannot be brought up to date.
    #[error("cannot migrate the journal at {0}")]
    Migrate(String, #[source] BoxError),
    /// The tables of something else are in the way.
    #[error(
        "PostgreSQL at {0} has tables or migrations of something else where the journal's would be: give it a schema of \
         its own (ALTER ROLE name SET search_path = placard)"
    )]
    Taken(String),
    /// The role may not make tables.
    #[error(
        "the journal's tables at {0} are not up to date, and this role may not make or change them there: have another \
         run `placard migrate`"
    )]
    Rights(String, #[source] BoxError),
    /// The journal holds what this build cannot read.
    #[error(
        "the journal at {0} needs format level {1}, and this build reads {own} at most: run a newer build",
        own = format_level()
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

/// A journal in which nothing was ever written, or that has no tables.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Empty {
    /// Where it is.
    pub place: String,
    /// Which it is, if there are tables.
    pub journal: Option<Uuid>,
    /// The address of a replica on its register that has published what this journal does not have, or has what another
    /// journal held.
    pub known_by: Option<String>,
}

/// A handle to the journal; its clones share its connections.
#[derive(Clone)]
pub struct PostgresJournal {
    sets: Arc<ConnectionSets>,
    /// Of a replica, which is what polls.
    keeper: Arc<Keeper>,
}

impl fmt::Debug for PostgresJournal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PostgresJournal({})", self.sets.server)
    }
}

/// Brings the journal's tables up to date, even while other processes do the same. Migrations that only a newer build
/// knows are left alone: they only ever add. Returns a connection for the tables of tasks, which are beside the
/// journal's.
///
/// # Errors
/// The server cannot be reached, is not fit for a journal in a way that no option accepts, or refuses a
/// migration.
pub async fn migrate(url: impl Into<Secret>) -> Result<PgPool, OpenError> {
    let server = Server::new(url.into())?;
    let session = |durability| Session::new(&[MIGRATE], durability);
    // Migrations do not depend on durability.
    let one = ConnectionSet::new(&server, 1, 1, session(Durability::Accepted));
    let other = ConnectionSet::new(&server, 1, 0, session(Durability::Any));
    fit(&one, &other, &server.to_string()).await?;
    run_migrations(&one, server.to_string()).await?;
    Ok(tasks_pool(&server))
}

async fn run_migrations(set: &ConnectionSet, place: String) -> Result<(), OpenError> {
    let mut checkout = set.hold().await.map_err(|failure| refused(place.clone(), failure))?;
    // A role that may not change tables need not: even to check whether there is anything to do, the migrator needs
    // such rights.
    if is_migrated(&mut checkout.connection).await.unwrap_or(false) {
        return Ok(());
    }
    let mut migrator = Migrator { migrations: MIGRATIONS.migrations.clone(), ..Migrator::DEFAULT };
    migrator.set_ignore_missing(true);
    let run = migrator.run_direct(None, &mut checkout.connection, false).await;
    run.map_err(|error| unmigrated(place, error))
}

/// Returns why tables cannot be brought up to date, with what to do about it where that is known.
fn unmigrated(place: String, error: MigrateError) -> OpenError {
    let error = match error {
        // Of two programs that keep their migrations in one place, each takes the other's for its own.
        MigrateError::VersionMismatch(_) => return OpenError::Taken(place),
        MigrateError::Execute(error) | MigrateError::ExecuteMigration(error, _) => error,
        other => return OpenError::Migrate(place, other.into()),
    };
    let code = error.as_database_error().and_then(DatabaseError::code);
    match code.as_deref() {
        // Duplicate table, column or object.
        Some("42P07" | "42701" | "42710") => OpenError::Taken(place),
        // Insufficient privilege; no schema of those that the role may use.
        Some("42501" | "3F000") => OpenError::Rights(place, Failure::from(error).into()),
        _ => OpenError::Migrate(place, Failure::from(error).into()),
    }
}

fn refused(place: String, failure: Failure) -> OpenError {
    match failure {
        Failure::Unfit(unfit) => OpenError::Unfit(place, unfit),
        failure @ Failure::NoHost(_, true) => OpenError::NoHost(place, failure.into()),
        other => OpenError::Connect(place, other.into()),
    }
}

fn tasks_pool(server: &Server) -> PgPool {
    /// How long it may be waited for.
    const ACQUIRE: Duration = Duration::from_secs(3);
    let pool = PgPoolOptions::new().max_connections(1).acquire_timeout(ACQUIRE);
    server.pool(pool, chores::SETTINGS)
}

/// Checks that the server can be reached and can hold a journal, and that two connections have separate sessions.
async fn fit(one: &ConnectionSet, other: &ConnectionSet, place: &str) -> Result<(), OpenError> {
    /// How long the first contact may take.
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
    /// The URL is not a PostgreSQL URL.
    pub fn new(url: impl Into<Secret>, options: Options) -> Result<Self, OpenError> {
        let sets = ConnectionSets::new(Server::new(url.into())?, options.accept_unsafe_durability);
        Ok(Self { sets: Arc::new(sets), keeper: Arc::default() })
    }

    /// As [`PostgresJournal::new`], and ensures that the journal is there and can be relied on. From then on it has a
    /// connection to commit with.
    ///
    /// # Errors
    /// As for [`PostgresJournal::reach`] and [`PostgresJournal::prepare`].
    pub async fn connect(url: impl Into<Secret>, options: Options) -> Result<Self, OpenError> {
        let journal = Self::reach(url, options).await?;
        journal.prepare(options).await?;
        Ok(journal)
    }

    /// As [`PostgresJournal::new`], and ensures that the server is there and can be relied on. Nothing is changed.
    ///
    /// # Errors
    /// The server cannot be reached within 10 s, or is not fit for a journal.
    pub async fn reach(url: impl Into<Secret>, options: Options) -> Result<Self, OpenError> {
        let journal = Self::new(url, options)?;
        let sets = &*journal.sets;
        fit(sets.committer.set(), &sets.poll, &sets.server.to_string()).await?;
        Ok(journal)
    }

    /// Brings the tables up to date, if that is asked for, and ensures that they are there.
    ///
    /// # Errors
    /// The server cannot be reached, refuses a migration, or holds no journal (any more, or yet), or an older build's.
    pub async fn prepare(&self, options: Options) -> Result<(), OpenError> {
        let sets = &*self.sets;
        let place = || sets.server.to_string();
        if options.run_migrations {
            let session = Session::new(&[MIGRATE], Durability::Any);
            run_migrations(&ConnectionSet::new(&sets.server, 1, 0, session), place()).await?;
        }
        let first = sets.reads.read(LOG, move |connection| {
            Box::pin(async move {
                rows::level(connection).await?;
                Ok(options.accept_older_tables || is_migrated(connection).await?)
            })
        });
        match first.await {
            Ok(true) => Ok(()),
            Ok(false) => Err(OpenError::Older(place())),
            Err(failure) if is_undefined_table(&failure) => Err(OpenError::Missing(place())),
            Err(Failure::TooNew(level)) => Err(OpenError::TooNew(place(), level)),
            Err(failure) => Err(refused(place(), failure)),
        }
    }

    /// Returns what tells that there was another journal before this one, if this one is empty or has no tables. Tables of an
    /// older build count as not empty until they are migrated.
    ///
    /// # Errors
    /// The server does not answer.
    pub async fn emptiness(&self) -> Result<Option<Empty>, Unavailable> {
        let set = &self.sets.reads;
        let read = set.read(LOG, |connection| Box::pin(poll::emptiness(connection))).await;
        let place = self.sets.server.to_string();
        match read {
            Ok(empty) => Ok(empty.map(|(journal, known_by)| Empty {
                place,
                journal: Some(journal),
                known_by,
            })),
            // An older build's has a head, and lacks other tables.
            Err(failure) if is_undefined_table(&failure) && self.has_no_head(set).await? => {
                Ok(Some(Empty { place, journal: None, known_by: None }))
            }
            Err(failure) if is_undefined_table(&failure) => Ok(None),
            Err(failure) => Err(Unavailable("read the journal's head", failure.into())),
        }
    }

    async fn has_no_head(&self, set: &ConnectionSet) -> Result<bool, Unavailable> {
        const ASK: &str = "SELECT to_regclass('head') IS NULL";
        let asked = set.read(LOG, |connection| {
            Box::pin(async move { Ok(sqlx::query_scalar(ASK).fetch_one(connection).await?) })
        });
        asked.await.map_err(|failure| Unavailable("look for the journal's head", failure.into()))
    }

    /// The place of the journal, so that Redis can remember which one was there.
    pub fn place(&self) -> &Place {
        self.sets.server.place()
    }

    /// As [`told`], of work on connections such as [`PostgresJournal::tasks_pool`]'s: while none can be had, why the journal
    /// has none either.
    pub fn told(&self, error: &(dyn Error + 'static)) -> Option<String> {
        match (error.downcast_ref(), self.sets.server.failed()) {
            (Some(sqlx::Error::PoolTimedOut), Some(why)) => Some(format!("cannot connect: {why}")),
            _ => told(error),
        }
    }

    /// Returns a connection for the tables of the task queue, which are beside the journal's. It is not opened yet.
    pub fn tasks_pool(&self) -> PgPool {
        tasks_pool(&self.sets.server)
    }

    /// Returns connections for operators who look at the tasks; none is open while nobody looks.
    pub fn board_pool(&self) -> PgPool {
        /// Within what a look at the tasks may take.
        const SETTINGS: &[Setting] = &[("statement_timeout", "4s"), ("lock_timeout", "1s")];
        const ACQUIRE: Duration = Duration::from_secs(4);
        const IDLE: Duration = Duration::from_secs(30);
        let pool = PgPoolOptions::new().max_connections(2);
        self.sets.server.pool(pool.acquire_timeout(ACQUIRE).idle_timeout(IDLE), SETTINGS)
    }

    /// Returns the journal as it is now, for a caller that recomputes its chain and its digest.
    ///
    /// # Errors
    /// The server does not answer within 10 s, or with an error.
    pub async fn audit(&self) -> Result<PostgresAudit<'_>, Unavailable> {
        let audit = PostgresAudit::begin(&self.sets.snapshot).await;
        audit.map_err(|failure| Unavailable("read the journal's head", failure.into()))
    }
}

/// Returns true if every migration that this build knows was run.
async fn is_migrated(connection: &mut PgConnection) -> Result<bool, Failure> {
    const RUN: &str = "SELECT version, checksum FROM _sqlx_migrations WHERE success";
    let run: Vec<(i64, Vec<u8>)> = sqlx::query_as(RUN).fetch_all(connection).await?;
    let was_run = |migration: &Migration| {
        let is_it = |(version, checksum): &(i64, Vec<u8>)| {
            *version == migration.version && **checksum == *migration.checksum
        };
        run.iter().any(is_it)
    };
    Ok(MIGRATIONS.iter().all(was_run))
}

fn is_undefined_table(failure: &Failure) -> bool {
    let Failure::Sql(sqlx::Error::Database(error)) = failure else { return false };
    error.code().as_deref() == Some("42P01")
}

impl Journal for PostgresJournal {
    async fn commit(&self, batch: Arc<Batch>) -> Result<Plan, CommitError> {
        self.sets.committer.commit(batch).await
    }

    async fn poll(&self, heartbeat: Heartbeat, at: Version) -> Result<Head, PollError> {
        self.keeper.keep(|| Arc::downgrade(&self.sets));
        // The row of a replica that refuses waits for the disk and for standbys.
        let waits = heartbeat.identity.refuses_after.is_some();
        let limit = if waits { poll::POLL.into() } else { Limit::of_life(poll::POLL) };
        let heartbeat = Arc::new(heartbeat);
        let head = self.sets.poll.read(limit, move |connection| {
            let heartbeat = Arc::clone(&heartbeat);
            Box::pin(async move { poll::poll(connection, &heartbeat, at).await })
        });
        match head.await {
            Ok(head) => Ok(head),
            Err(failure)
                if is_undefined_table(&failure) && self.has_no_head(&self.sets.poll).await? =>
            {
                Err(PollError::NoJournal)
            }
            Err(failure) => Err(Unavailable("read the journal's head", failure.into()).into()),
        }
    }

    async fn leave(&self, replica: Uuid) -> Result<(), Unavailable> {
        let left = self
            .sets
            .poll
            .read(poll::POLL, |connection| Box::pin(poll::leave(connection, replica)));
        left.await.map_err(|failure| Unavailable("leave the register", failure.into()))
    }

    async fn log(&self, after: Version, max: usize) -> Result<Vec<Record>, Unavailable> {
        let page = &self.sets.page;
        let bound = page.bound();
        let records = self
            .sets
            .reads
            .read(LOG, |connection| Box::pin(rows::log(connection, after, max, bound)));
        let records = records.await;
        match &records {
            Ok(records) => page.came(bound, records.iter().map(|record| record.bytes.len()).sum()),
            Err(failure) if failure.is_late() => page.late(bound),
            Err(_) => {}
        }
        records.map_err(|failure| Unavailable("read the journal's log", failure.into()))
    }

    async fn snapshot(&self, chunks: mpsc::Sender<Vec<Encoded>>) -> Result<Position, Unavailable> {
        let position = snapshot::snapshot(&self.sets.snapshot, chunks).await;
        position.map_err(|failure| Unavailable("read the journal's ads", failure.into()))
    }

    async fn exclusively(
        &self,
        work: impl Future<Output = ()> + Send,
    ) -> Result<bool, Unavailable> {
        let done = async { chores::elsewhere(self.sets.to_spare(|sets| &sets.reads)?, work).await };
        done.await.map_err(|failure| Unavailable("take the lock of housekeeping", failure.into()))
    }

    fn follow(&self, incarnation: Incarnation) {
        self.sets.server.follow(incarnation.into());
    }

    fn commits(&self) -> Commits {
        match self.sets.committer.opened() {
            Opened::Untried | Opened::Yes => Commits::Able,
            Opened::NotYet => Commits::NotYet,
            Opened::NoLonger => Commits::NoLonger,
        }
    }
}

impl Expirations for PostgresJournal {
    async fn expired(&self, max: usize) -> Result<Expired, Unavailable> {
        let ended = async {
            let set = self.sets.to_spare(|sets| &sets.reads)?;
            set.read(LOG, |connection| Box::pin(expirations::expired(connection, max))).await
        };
        ended.await.map_err(|failure| Unavailable("read what has ended", failure.into()))
    }

    async fn upcoming(&self, ahead: Duration, max: usize) -> Result<Vec<u64>, Unavailable> {
        let upcoming = async {
            let set = self.sets.to_spare(|sets| &sets.reads)?;
            set.read(LOG, |connection| Box::pin(expirations::upcoming(connection, ahead, max)))
                .await
        };
        upcoming.await.map_err(|failure| Unavailable("read what will end", failure.into()))
    }
}

impl PostgresJournal {
    fn chores(&self) -> Result<&ConnectionSet, Failure> {
        self.sets.to_spare(|sets| &sets.chores)
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
