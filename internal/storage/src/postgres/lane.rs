//! Connections of one kind of work. Each is taken out, used by one owner, and given back only after the work
//! has ended well: a caller that goes away in the middle, or an error, closes the connection, and whatever
//! transaction it had is rolled back. A pool that takes connections back unseen cannot promise that.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use placard_model::entry::Position;
use sqlx::postgres::PgConnectOptions;
use sqlx::{ConnectOptions, PgConnection};
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::timeout;

use super::check::{self, Unfit};

/// How long a connection may take to come about, with everything that is asked on it at first.
const CONNECT: Duration = Duration::from_secs(3);
/// How long the others that use a lane may keep a newcomer waiting: longer than any one statement may take.
const QUEUE: Duration = Duration::from_secs(30);

/// Why a piece of work came to nothing.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    #[error("no answer from PostgreSQL within {0:?}")]
    Late(Duration),
    #[error("an error of PostgreSQL, or on the way to it")]
    Sql(#[from] sqlx::Error),
    #[error("the server is not fit to hold a journal")]
    Unfit(#[from] Unfit),
    #[error("the journal holds what it cannot hold: {0}")]
    Malformed(&'static str),
}

impl Failure {
    /// Whether the connection was lost before the server has answered, as idle ones are when it restarts.
    fn is_broken(&self) -> bool {
        match self {
            Self::Sql(sqlx::Error::Database(error)) => {
                error.code().is_some_and(|code| code.starts_with("57P"))
            }
            Self::Sql(sqlx::Error::Io(_) | sqlx::Error::Protocol(_)) => true,
            _ => false,
        }
    }
}

/// Work on a connection.
pub(super) type Work<'c, T> = Pin<Box<dyn Future<Output = Result<T, Failure>> + Send + 'c>>;

/// Waits for an answer, but not for ever.
pub(super) async fn within<T, E: Into<Failure>>(
    limit: Duration,
    answer: impl Future<Output = Result<T, E>>,
) -> Result<T, Failure> {
    timeout(limit, answer).await.map_err(|_| Failure::Late(limit))?.map_err(Into::into)
}

/// Whether new connections are asked if what is written through them is durable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Durability {
    /// It does not matter.
    Any,
    /// It must be.
    Checked,
    /// It should be; somebody has accepted that it is not.
    Accepted,
}

pub(super) struct Lane {
    options: PgConnectOptions,
    durability: Durability,
    idle: Mutex<Vec<PgConnection>>,
    free: Semaphore,
}

impl fmt::Debug for Lane {
    /// Without the options, which hold a password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lane").field("free", &self.free.available_permits()).finish_non_exhaustive()
    }
}

impl Lane {
    /// At most so many connections with these settings beside the options' own; none is opened yet.
    pub(super) fn new(
        options: &PgConnectOptions,
        connections: usize,
        durability: Durability,
        settings: &[(&str, &str)],
    ) -> Self {
        let options = options.clone().options(settings.iter().copied());
        Self { options, durability, idle: Mutex::default(), free: Semaphore::new(connections) }
    }

    /// Waits for a connection to be free, and opens one if none is idle.
    pub(super) async fn hold(&self) -> Result<Held<'_>, Failure> {
        // The semaphore is never closed.
        let permit = async {
            self.free.acquire().await.map_err(|_| Failure::Malformed("a closed semaphore"))
        };
        let permit = within(QUEUE, permit).await?;
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let reused = idle.is_some();
        let connection = match idle {
            Some(connection) => connection,
            None => within(CONNECT, self.open()).await?,
        };
        Ok(Held { lane: self, connection, reused, _permit: permit })
    }

    async fn open(&self) -> Result<PgConnection, Failure> {
        let mut connection = self.options.connect().await?;
        if self.durability != Durability::Any {
            let accepted = self.durability == Durability::Accepted;
            check::durable(&mut connection, accepted).await?;
        }
        Ok(connection)
    }

    /// Does what can be done twice; once more, on another connection, if an idle one turns out to be lost.
    pub(super) async fn repeatable<T>(
        &self,
        limit: Duration,
        work: impl for<'c> Fn(&'c mut PgConnection) -> Work<'c, T>,
    ) -> Result<(T, Held<'_>), Failure> {
        loop {
            let mut held = self.hold().await?;
            match within(limit, work(&mut held.connection)).await {
                Ok(done) => return Ok((done, held)),
                Err(failure) if held.reused && failure.is_broken() => {}
                Err(failure) => return Err(failure),
            }
        }
    }

    /// As [`Lane::repeatable`], where the connection is not needed any more.
    pub(super) async fn read<T>(
        &self,
        limit: Duration,
        work: impl for<'c> Fn(&'c mut PgConnection) -> Work<'c, T>,
    ) -> Result<T, Failure> {
        let (done, held) = self.repeatable(limit, work).await?;
        held.keep();
        Ok(done)
    }
}

/// A connection that is in use. It is closed unless [`Held::keep`] is called.
pub(super) struct Held<'l> {
    lane: &'l Lane,
    pub(super) connection: PgConnection,
    reused: bool,
    _permit: SemaphorePermit<'l>,
}

impl Held<'_> {
    /// Gives the connection back, in no transaction and with nothing under way.
    pub(super) fn keep(self) {
        self.lane.idle.lock().unwrap_or_else(PoisonError::into_inner).push(self.connection);
    }
}

/// What a position is stored as.
pub(super) type PositionRow = (i64, Vec<u8>, Vec<u8>);

pub(super) fn position((version, chain, digest): PositionRow) -> Result<Position, Failure> {
    super::rows::position(version, &chain, &digest)
}
