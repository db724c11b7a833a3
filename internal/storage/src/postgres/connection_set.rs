//! Connections of one kind of work. Each is taken out, used by one owner, and given back only after the work
//! has ended well: a caller that goes away in the middle, or an error, closes the connection, and whatever
//! transaction it had is rolled back. A pool that takes connections back unseen cannot promise that.
//!
//! A connection may be dead without notice, when a firewall between has forgotten it. sqlx does not give its
//! socket away, so TCP's own timers cannot be set on this side; instead every answer is waited for with a limit,
//! and a connection is asked for a sign of life before it is used if it has rested, or if a sign of life has failed
//! to come on any other since it was last heard of.

#![expect(clippy::disallowed_methods, reason = "a connection's age is known")]

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use sqlx::postgres::PgConnection;
use sqlx::{ConnectOptions, Connection};
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::{sleep, timeout};
use uuid::Uuid;

use super::failure::Failure;
use super::server::{Server, Way};
use super::session::{self, Begun, Run, Session};

/// How long the session of a new connection may take to be set up.
const SESSION: Duration = Duration::from_secs(3);
/// How long the others that use a set may keep a newcomer waiting: longer than any one statement may take.
const QUEUE: Duration = Duration::from_secs(30);
/// A connection that has rested for longer may have been forgotten on the way.
const RESTED: Duration = Duration::from_secs(2);
/// How long a sign of life may take.
const PING: Duration = Duration::from_secs(1);
/// How much longer an answer is waited for after a sign of life, on any other connection, has not come.
const GRACE: Duration = Duration::from_secs(1);

/// How long an answer is waited for, and what it means if none comes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limit {
    duration: Duration,
    is_sign_of_life: bool,
}

impl Limit {
    /// For what waits for nothing but the server and the way to it. Without an answer they are in doubt, and so is every
    /// other connection.
    pub(super) fn of_life(duration: Duration) -> Self {
        Self { duration, is_sign_of_life: true }
    }
}

/// For what may wait for a lock, for a disk or for a standby, or whose answer may be too large for the path: if it is late,
/// that says nothing of other connections.
impl From<Duration> for Limit {
    fn from(duration: Duration) -> Self {
        Self { duration, is_sign_of_life: false }
    }
}

/// Work on a connection.
pub(super) type Work<'c, T> = Pin<Box<dyn Future<Output = Result<T, Failure>> + Send + 'c>>;

/// Waits for something, but not for ever.
async fn within<T, E: Into<Failure>>(
    limit: Duration,
    answer: impl Future<Output = Result<T, E>>,
) -> Result<T, Failure> {
    timeout(limit, answer).await.map_err(|_| Failure::Late(limit))?.map_err(Into::into)
}

/// Whether a set could get a connection when it last asked for one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Opened {
    /// It has not asked yet.
    Untried,
    Yes,
    /// It never could so far.
    NotYet,
    /// It could once.
    NoLonger,
}

impl Opened {
    fn after(self, success: bool) -> Self {
        match (self, success) {
            (_, true) => Self::Yes,
            (Self::Untried | Self::NotYet, false) => Self::NotYet,
            (Self::Yes | Self::NoLonger, false) => Self::NoLonger,
        }
    }

    fn of(number: u8) -> Self {
        [Self::Untried, Self::Yes, Self::NotYet, Self::NoLonger][usize::from(number) % 4]
    }
}

/// What is known of a connection's session.
#[derive(Debug, Clone, Copy)]
struct Known {
    owner: Uuid,
    run: Run,
    trip: Duration,
    prepared: [bool; 2],
}

struct Idle {
    connection: PgConnection,
    session: Known,
    /// When the server has last answered on it, and how many silences there had been by then.
    heard: Instant,
    silences: u64,
}

pub(super) struct ConnectionSet {
    server: Server,
    session: Session,
    uses_any_run: bool,
    /// The number of connections that are kept while they are idle.
    kept: usize,
    idle: Mutex<Vec<Idle>>,
    free: Semaphore,
    opened: AtomicU8,
}

impl fmt::Debug for ConnectionSet {
    /// Without the options, which hold a password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConnectionSet")
            .field("free", &self.free.available_permits())
            .finish_non_exhaustive()
    }
}

impl ConnectionSet {
    /// Creates a set of at most `connections` connections with such sessions, of which `kept` are kept when they are
    /// idle. None is opened yet.
    pub(super) fn new(server: &Server, connections: usize, kept: usize, session: Session) -> Self {
        Self {
            server: server.clone(),
            session,
            uses_any_run: false,
            kept,
            idle: Mutex::default(),
            free: Semaphore::new(connections),
            opened: AtomicU8::new(Opened::Untried as u8),
        }
    }

    /// Returns the same set for any run of the server: it finds out which run there is.
    pub(super) fn of_any_run(self) -> Self {
        Self { uses_any_run: true, ..self }
    }

    fn may_use(&self, run: Run) -> bool {
        self.uses_any_run || self.server.run().is_none_or(|followed| followed == run)
    }

    /// Waits for a connection to be free, and opens one if none is idle.
    pub(super) async fn hold(&self) -> Result<Checkout<'_>, Failure> {
        // The semaphore is never closed.
        let permit = async {
            self.free.acquire().await.map_err(|_| Failure::Malformed("a closed semaphore"))
        };
        let permit = within(QUEUE, permit).await?;
        self.hold_with(permit).await
    }

    /// Ensures that there is a live connection. Returns nothing if all are in use: then none was checked.
    pub(super) async fn keep_one(&self) -> Option<Result<(), Failure>> {
        let permit = self.free.try_acquire().ok()?;
        let kept = self.hold_with(permit).await.map(|checkout| {
            let heard = checkout.heard;
            checkout.put_back(heard);
        });
        Some(kept)
    }

    async fn hold_with<'l>(&'l self, permit: SemaphorePermit<'l>) -> Result<Checkout<'l>, Failure> {
        while let Some(Idle { mut connection, session, mut heard, silences }) = self.pop() {
            if !self.may_use(session.run) {
                continue;
            }
            if heard.elapsed() >= RESTED || silences != *self.server.silences().borrow() {
                let ping = session::still_owns(&mut connection, session.owner);
                match self.within(Limit::of_life(PING), ping).await {
                    Ok(()) => heard = Instant::now(),
                    Err(Failure::Unfit(unfit)) => return Err(unfit.into()),
                    Err(_) => continue,
                }
            }
            return Ok(Checkout {
                set: self,
                connection,
                session,
                heard,
                reused: true,
                _permit: permit,
            });
        }
        let opened = self.open().await;
        let before = self.opened();
        self.opened.store(before.after(opened.is_ok()) as u8, Ordering::Relaxed);
        let ((connection, session), heard) = (opened?, Instant::now());
        Ok(Checkout { set: self, connection, session, heard, reused: false, _permit: permit })
    }

    /// Tries the hosts in turn, that of the last connection first.
    async fn open(&self) -> Result<(PgConnection, Known), Failure> {
        let mut failed = Vec::new();
        for way in self.server.ways().await {
            match self.open_by(&way).await {
                Ok(opened) => {
                    self.server.found(&way);
                    return Ok(opened);
                }
                Err(failure) => failed.push((way.place, failure)),
            }
        }
        let failure = match failed.pop() {
            Some((_, only)) if failed.is_empty() => only,
            Some(last) => {
                failed.push(last);
                Failure::of_hosts(failed)
            }
            None => Failure::Malformed("a URL without a host"),
        };
        self.server.lost(failure.to_string());
        Err(failure)
    }

    async fn open_by(&self, way: &Way) -> Result<(PgConnection, Known), Failure> {
        let mut connection = within(way.limit, way.options.connect()).await?;
        let begun = self.session.begin(&mut connection, way.asks_more);
        let Begun { owner, trip, run, schema } = within(SESSION, begun).await?;
        self.server.is_in(schema.as_deref());
        if !self.may_use(run) {
            return Err(Failure::Moved);
        }
        Ok((connection, Known { owner, run, trip, prepared: [false; 2] }))
    }

    /// Returns whether the set could get a connection when it last asked for one.
    pub(super) fn opened(&self) -> Opened {
        Opened::of(self.opened.load(Ordering::Relaxed))
    }

    /// Closes what is idle.
    pub(super) fn release(&self) {
        self.idle().clear();
    }

    fn idle(&self) -> MutexGuard<'_, Vec<Idle>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn pop(&self) -> Option<Idle> {
        self.idle().pop()
    }

    /// Waits for an answer on one of this set's connections, at most for the limit. A sign of life that does not come
    /// may mean that the way to the server has forgotten this connection, and so perhaps all others: those that are idle
    /// are asked for one before they are used, and those in use are waited for a little longer only.
    pub(super) async fn within<T, E: Into<Failure>>(
        &self,
        limit: impl Into<Limit>,
        answer: impl Future<Output = Result<T, E>>,
    ) -> Result<T, Failure> {
        let Limit { duration, is_sign_of_life } = limit.into();
        let mut silences = self.server.silences().subscribe();
        let elsewhere = async {
            if silences.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
            sleep(GRACE).await;
        };
        tokio::select! {
            biased;
            answer = answer => answer.map_err(Into::into),
            () = sleep(duration) => {
                if is_sign_of_life {
                    self.server.silences().send_modify(|silences| *silences += 1);
                }
                Err(Failure::Late(duration))
            }
            () = elsewhere => Err(Failure::Silent),
        }
    }

    /// Runs work that can be done twice. Runs it once more, on another connection, if an idle one turns out to be lost.
    pub(super) async fn repeatable<'l, T>(
        &'l self,
        limit: impl Into<Limit>,
        work: impl for<'c> Fn(&'c mut Checkout<'l>) -> Work<'c, T>,
    ) -> Result<(T, Checkout<'l>), Failure> {
        let limit = limit.into();
        loop {
            let mut checkout = self.hold().await?;
            match self.within(limit, work(&mut checkout)).await {
                Ok(done) => return Ok((done, checkout)),
                Err(failure) if checkout.reused && failure.is_broken() => {}
                Err(failure) => return Err(failure),
            }
        }
    }

    /// As [`ConnectionSet::repeatable`], where the connection is not needed any more.
    pub(super) async fn read<T>(
        &self,
        limit: impl Into<Limit>,
        work: impl for<'c> Fn(&'c mut PgConnection) -> Work<'c, T>,
    ) -> Result<T, Failure> {
        let (done, checkout) =
            self.repeatable(limit, |checkout| work(&mut checkout.connection)).await?;
        checkout.keep();
        Ok(done)
    }
}

/// A connection that is in use. It is closed unless [`Checkout::keep`] is called.
pub(super) struct Checkout<'l> {
    pub(super) set: &'l ConnectionSet,
    pub(super) connection: PgConnection,
    session: Known,
    heard: Instant,
    reused: bool,
    _permit: SemaphorePermit<'l>,
}

impl Checkout<'_> {
    /// Returns how long a round trip took when the connection was opened.
    pub(super) fn trip(&self) -> Duration {
        self.session.trip
    }

    /// Returns the flags that say which of its owner's two sets of statements have been prepared on it, each of which is done
    /// once.
    pub(super) fn prepared(&mut self) -> &mut [bool; 2] {
        &mut self.session.prepared
    }

    /// Gives the connection back, in no transaction and with nothing under way.
    pub(super) fn keep(self) {
        self.put_back(Instant::now());
    }

    /// Closes the connection, in no transaction, and says so to the server.
    pub(super) async fn close(self) {
        // It is closed in any case.
        let _ = self.set.within(PING, self.connection.close()).await;
    }

    fn put_back(self, heard: Instant) {
        let Self { set, connection, session, .. } = self;
        let silences = *set.server.silences().borrow();
        let mut idle = set.idle();
        if idle.len() < set.kept {
            idle.push(Idle { connection, session, heard, silences });
        }
    }

    /// Makes sure that no other connection has been given this one's session.
    pub(super) async fn still_owns_its_session(&mut self) -> Result<(), Failure> {
        let owns = session::still_owns(&mut self.connection, self.session.owner);
        self.set.within(SESSION, owns).await
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;

    use super::super::session::Durability;
    use super::*;

    /// A statement that takes this many milliseconds.
    async fn statement(ms: u64) -> Result<(), Failure> {
        sleep(Duration::from_millis(ms)).await;
        Ok(())
    }

    fn sets() -> [ConnectionSet; 2] {
        let server = Server::new("postgres://nobody@127.0.0.1:1/none".into()).expect("a URL");
        [(); 2].map(|()| ConnectionSet::new(&server, 1, 1, Session::new(&[], Durability::Any)))
    }

    #[tokio::test]
    async fn commit_waiting_for_a_standby_ends_nothing_else() {
        const LONG: Duration = Duration::from_secs(60);
        let [commits, others] = sets();
        let late = Duration::from_millis(1);
        let commit = commits.within(late, pending::<Result<(), Failure>>());
        let (commit, other) = tokio::join!(commit, others.within(LONG, statement(1_500)));
        assert!(matches!(commit, Err(Failure::Late(_))), "{commit:?}");
        assert!(other.is_ok(), "{other:?}");
    }

    #[tokio::test]
    async fn a_sign_of_life_that_does_not_come_ends_the_others() {
        const LONG: Duration = Duration::from_secs(600);
        let [pings, others] = sets();
        let late = Limit::of_life(Duration::from_millis(1));
        let ping = pings.within(late, pending::<Result<(), Failure>>());
        let (ping, other) =
            tokio::join!(ping, others.within(LONG, pending::<Result<(), Failure>>()));
        assert!(matches!(ping, Err(Failure::Late(_))), "{ping:?}");
        assert!(matches!(other, Err(Failure::Silent)), "{other:?}");
    }
}
