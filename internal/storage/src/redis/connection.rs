//! A connection that is made when it is first needed, given up at the first error, and made again at the next
//! call, unless the last attempt was a moment ago. Nothing is ever sent a second time: after a failure the
//! caller does not know whether Redis has done what it asked, and decides itself.

#![expect(clippy::disallowed_methods, reason = "a connection that failed pauses")]

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{ErrorKind, RedisError, RedisResult, ServerErrorKind};
use tokio::time::{Instant, timeout};

use super::connect::Target;
use crate::tls;

/// Pause after the first failed attempt to connect; it doubles with each further one.
const PAUSE: Duration = Duration::from_millis(50);
/// Longest pause between two attempts.
const PAUSE_MAX: Duration = Duration::from_millis(500);

/// Why a call has no answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    #[error("cannot connect: {}", told(.0))]
    Connect(RedisError),
    #[error("cannot connect within {0:?}")]
    ConnectLate(Duration),
    /// The last attempt was only a moment ago: what it came to still holds.
    #[error(transparent)]
    Paused(Arc<Self>),
    #[error("{}", told(.0))]
    Call(RedisError),
    #[error("no answer within {0:?}")]
    Late(Duration),
    #[error("others kept changing the stream")]
    Busy,
    #[error("unexpected Redis response")]
    Shape,
    #[error("the journal has not been asked yet which stream is its own")]
    Unnamed,
}

/// Describes an error of Redis, or on the way to it, in one sentence, with what to do where that is known. An answer
/// that repeats what was sent is cut before that, since it may be a password.
fn told(error: &RedisError) -> String {
    let detail = error.detail().unwrap_or_default();
    let (detail, _) = detail.split_once(", with args").unwrap_or((detail, ""));
    let detail = detail.trim_end_matches('.');
    match (error.kind(), error.code()) {
        (ErrorKind::AuthenticationFailed, _) => {
            "Redis refuses the user or the password (WRONGPASS)".to_owned()
        }
        (_, Some("NOAUTH")) => "Redis asks for a password, and none is given (NOAUTH)".to_owned(),
        (
            ErrorKind::Server(
                ServerErrorKind::Moved
                | ServerErrorKind::Ask
                | ServerErrorKind::CrossSlot
                | ServerErrorKind::ClusterDown,
            ),
            Some(code),
        ) => format!(
            "Redis is a node of a Redis Cluster, whose redirections are not followed ({code} {detail}): name a Redis of \
             its own, or Sentinels"
        ),
        (ErrorKind::Server(ServerErrorKind::NoPerm), _) => format!(
            "Redis does not let this user do what a replica needs, see docs/OPERATIONS.md (NOPERM {detail})"
        ),
        (ErrorKind::Server(_) | ErrorKind::Extension, Some(code)) if !detail.is_empty() => {
            format!("Redis says: {code} {detail}")
        }
        _ => tls::told(error.to_string()),
    }
}

/// One connection's place.
#[derive(Debug)]
pub(super) struct ReconnectingConnection {
    target: Target,
    state: Mutex<State>,
    /// Held by the task that connects; the others wait for its result.
    connecting: tokio::sync::Mutex<()>,
}

#[derive(Debug, Default)]
struct State {
    held: Option<MultiplexedConnection>,
    /// Tells the connections apart, so that a late error does not cost the next one.
    serial: u64,
    failed: u32,
    /// Until when nothing is tried, and why.
    paused: Option<(Instant, Arc<Failure>)>,
}

impl ReconnectingConnection {
    pub(super) fn new(target: Target) -> Self {
        Self { target, state: Mutex::default(), connecting: tokio::sync::Mutex::default() }
    }

    /// Makes calls on a connection that others use at the same time. They take at most the deadline, and the
    /// target's if there is no connection yet.
    pub(super) async fn share<T, F>(
        &self,
        deadline: Duration,
        work: impl FnOnce(MultiplexedConnection) -> F,
    ) -> Result<T, Failure>
    where
        F: Future<Output = RedisResult<T>>,
    {
        let (connection, serial) = self.shared().await?;
        let worked = within(deadline, work(connection)).await;
        if worked.is_err() {
            let mut state = self.state();
            if state.serial == serial {
                state.held = None;
            }
        }
        worked
    }

    /// As [`ReconnectingConnection::share`], but no other call can use the connection in the meantime. If the caller is dropped, the
    /// connection is closed with whatever is still under way on it.
    pub(super) async fn own<T, F>(
        &self,
        deadline: Duration,
        work: impl FnOnce(MultiplexedConnection) -> F,
    ) -> Result<T, Failure>
    where
        F: Future<Output = RedisResult<T>>,
    {
        let held = self.state().held.take();
        let connection = match held {
            Some(held) => held,
            None => self.open().await?,
        };
        let answer = within(deadline, work(connection.clone())).await?;
        self.state().held = Some(connection);
        Ok(answer)
    }

    async fn shared(&self) -> Result<(MultiplexedConnection, u64), Failure> {
        let held = |state: &State| state.held.clone().map(|connection| (connection, state.serial));
        if let Some(held) = held(&self.state()) {
            return Ok(held);
        }
        let _turn = self.connecting.lock().await;
        if let Some(held) = held(&self.state()) {
            return Ok(held);
        }
        let connection = self.open().await?;
        let mut state = self.state();
        state.serial += 1;
        state.held = Some(connection.clone());
        Ok((connection, state.serial))
    }

    async fn open(&self) -> Result<MultiplexedConnection, Failure> {
        if let Some((until, failure)) = &self.state().paused
            && Instant::now() < *until
        {
            return Err(Failure::Paused(Arc::clone(failure)));
        }
        self.target.renew().await;
        let deadline = self.target.deadline();
        let opened = match timeout(deadline, self.target.open()).await {
            Ok(opened) => opened.map_err(Failure::Connect),
            Err(_) => Err(Failure::ConnectLate(deadline)),
        };
        let mut state = self.state();
        state.paused = None;
        match opened {
            Ok(connection) => {
                state.failed = 0;
                Ok(connection)
            }
            Err(failure) => {
                let pause = PAUSE.saturating_mul(1 << state.failed.min(8)).min(PAUSE_MAX);
                let failure = Arc::new(failure);
                state.failed += 1;
                state.paused = Some((Instant::now() + pause, Arc::clone(&failure)));
                Err(Failure::Paused(failure))
            }
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn within<T>(
    deadline: Duration,
    work: impl Future<Output = RedisResult<T>>,
) -> Result<T, Failure> {
    match timeout(deadline, work).await {
        Ok(worked) => worked.map_err(Failure::Call),
        Err(_) => Err(Failure::Late(deadline)),
    }
}
