//! Commits, on a connection of their own, in one of three ways.
//!
//! **Blindly**, in one round trip: what only creates ads needs to know no more than the head that this replica has
//! just written itself. The statement that writes checks that it still is the head, and that there is none of
//! the ads and keys yet.
//!
//! **At once**, in two round trips: one statement reads what the batch touches, and another, a transaction of
//! its own, writes the plan if nobody has written in between. Nothing is locked while the plan is made.
//!
//! **Locked**, in four: the head's lock is taken first and held to the commit. So it is done for a while after
//! somebody else was found to have written in between, since waiting for one's turn costs less than deciding
//! in vain, and whenever a batch is repeated. An earlier try of that batch may still be on its way: it either
//! holds the lock, and what it has written is seen behind it, or it comes too late, because the repetition
//! counts as a write even if it changes nothing.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use placard_model::command::Command;
use placard_model::entry::Position;
use placard_model::{Timestamp, limits};
use placard_replica::ports::CommitError;
use placard_replica::{Batch, Current, Plan};
use sqlx::postgres::{PgDatabaseError, PgSeverity};

use super::lane::{Failure, Held, Lane, Opened, Server};
use super::rows::{self, State};
use super::session::{Session, Setting};
use super::write::{self, Basis, From};

/// How the server guards the head's lock.
///
/// A replica that stalls while it holds the lock loses it 0.4 s after the server has last heard of it (with a
/// batch of more than 1 MiB after two): between two statements, or in the middle of one, through
/// `idle_in_transaction_session_timeout`. With the queue behind the lock that holds the others up for about half
/// a second. One that does not take a large answer loses it within about a
/// second, through `tcp_user_timeout`, and one that dies in the queue leaves it through
/// `client_connection_check_interval`. Whoever waits behind healthy holders is never hurried: each holds the
/// lock for some milliseconds, and `lock_timeout` is long enough for six stalled ones in a row. It is there for
/// a lock that is not a replica's (an operator's open transaction): the batch is then tried again, from the
/// end of the queue. None of these cuts a commit short that waits for a standby: PostgreSQL has put the
/// statement's timer off by then.
pub(super) const SETTINGS: &[Setting] = &[
    ("default_transaction_isolation", "read committed"),
    ("idle_in_transaction_session_timeout", "400ms"),
    ("tcp_user_timeout", "500ms"),
    ("client_connection_check_interval", "100ms"),
    ("lock_timeout", "3500ms"),
    ("statement_timeout", "4s"),
    // The statements never change and touch few rows by key. A plan made while a table was small must not
    // scan it when it has grown.
    ("plan_cache_mode", "force_generic_plan"),
    ("enable_seqscan", "off"),
];

/// How long an answer may take that may wait for the head's lock; the server has given up before.
const STATEMENT: Duration = Duration::from_secs(5);
/// How long the answer to a read without the lock may take.
const READ: Duration = Duration::from_secs(2);
/// How long a commit may take before it is repeated; with a synchronous standby it waits for that one too.
const COMMIT: Duration = Duration::from_secs(5);
/// How long what was written last is taken for the head, the database's clock for one that goes like ours, and
/// the connection for one that is not lost: a write on a lost one would have an unknown outcome.
const WRITTEN: Duration = Duration::from_millis(100);
/// Batches that are committed locked after one was decided in vain.
const CAUTIOUS: u32 = 32;

const BEGIN_AND_LOCK: &str = "
    BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE; SELECT FROM head FOR UPDATE";
/// A batch request beyond the committer's usual size may keep a slow machine busy between two statements for
/// longer than that: it would lose the lock at every try.
const BEGIN_AND_LOCK_LARGE: &str = "
    BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE;
    SET LOCAL idle_in_transaction_session_timeout = '2s'; SELECT FROM head FOR UPDATE";

pub(super) struct Committer {
    lane: Lane,
    /// How many batches are still to be committed locked.
    cautious: AtomicU32,
    written: Mutex<Option<Written>>,
}

/// What this replica has written last.
#[derive(Debug, Clone, Copy)]
struct Written {
    head: Position,
    writes: i64,
    /// The database's time when it was written.
    at: Timestamp,
    since: Instant,
}

impl Written {
    fn from(self) -> From {
        From { writes: self.writes, chain: self.head.chain }
    }
}

impl Committer {
    pub(super) fn new(server: &Server, session: Session) -> Self {
        Self {
            lane: Lane::new(server, 1, 1, session),
            cautious: AtomicU32::new(0),
            written: Mutex::default(),
        }
    }

    /// Where its connection is.
    pub(super) fn lane(&self) -> &Lane {
        &self.lane
    }

    /// Whether it could be given a connection when it last asked for one.
    pub(super) fn opened(&self) -> Opened {
        self.lane.opened()
    }

    /// Runs one transaction.
    pub(super) async fn commit(&self, batch: Arc<Batch>) -> Result<Plan, CommitError> {
        let cautious = self.cautious.load(Ordering::Relaxed);
        if cautious == 0 && !batch.repeated {
            if let Some(plan) = self.blindly(&batch).await? {
                return Ok(plan);
            }
            if let Some(plan) = self.at_once(&batch).await? {
                return Ok(plan);
            }
            self.cautious.store(CAUTIOUS, Ordering::Relaxed);
        } else {
            self.cautious.store(cautious.saturating_sub(1), Ordering::Relaxed);
        }
        self.locked(&batch).await
    }

    /// Returns no plan if something has to be read first.
    async fn blindly(&self, batch: &Batch) -> Result<Option<Plan>, CommitError> {
        let written = self.written.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(written) = written.filter(|written| written.since.elapsed() < WRITTEN) else {
            return Ok(None);
        };
        let mut commands = batch.requests.iter().flat_map(|request| &request.commands);
        if !commands.all(|command| matches!(command, Command::Create { .. })) {
            return Ok(None);
        }
        let micros = written.since.elapsed().as_micros() as i64;
        let plan = batch.plan(Current {
            head: written.head,
            now: written.at.saturating_add_micros(micros),
            ads: HashMap::new(),
            kept: HashMap::new(),
            written: HashMap::new(),
        });
        // Who is refused may have been told something else before, or be refused for another reason: it is not
        // among the ads and keys that the statement looks for.
        let mut outcomes = plan.answers.iter().flat_map(|answer| &answer.outcomes);
        if plan.log.is_empty() || outcomes.any(|outcome| outcome.entry().is_none()) {
            return Ok(None);
        }
        let mut held = self.lane.hold().await.map_err(before)?;
        let at = self.write(&mut held, written.from(), Basis::Nothing, &plan);
        let committed = self.lane.within(COMMIT, at).await.map_err(at_commit)?;
        held.keep();
        Ok(committed.then_some(plan))
    }

    /// Writes a plan down in a transaction of its own, and remembers it; whether it did.
    async fn write(
        &self,
        held: &mut Held<'_>,
        from: From,
        basis: Basis,
        plan: &Plan,
    ) -> Result<bool, Failure> {
        let at = write::write(&mut held.connection, from, basis, plan).await?;
        *self.written.lock().unwrap_or_else(PoisonError::into_inner) = at.map(|at| Written {
            head: plan.head,
            writes: from.writes + 1,
            at,
            since: Instant::now(),
        });
        Ok(at.is_some())
    }

    /// Returns no plan if somebody else has written in between.
    async fn at_once(&self, batch: &Arc<Batch>) -> Result<Option<Plan>, CommitError> {
        let read = self.lane.repeatable(READ, |connection| {
            let batch = Arc::clone(batch);
            Box::pin(async move { rows::state(connection, &batch).await })
        });
        let (State { current, from, standby }, mut held) = read.await.map_err(before)?;
        let plan = batch.plan(current);
        let committed = if writes_nothing(&plan) && !standby {
            true
        } else {
            let written = self.write(&mut held, from, Basis::Read, &plan);
            self.lane.within(COMMIT, written).await.map_err(at_commit)?
        };
        held.keep();
        Ok(committed.then_some(plan))
    }

    async fn locked(&self, batch: &Batch) -> Result<Plan, CommitError> {
        let mut held = self.begin(batch).await.map_err(before)?;
        let read = rows::state(&mut held.connection, batch);
        let State { current, from, standby } =
            self.lane.within(STATEMENT, read).await.map_err(before)?;
        let plan = batch.plan(current);
        if writes_nothing(&plan) && !batch.repeated && !standby {
            // What was read stays true whether or not this arrives.
            let ended = sqlx::raw_sql("ROLLBACK").execute(&mut held.connection);
            if self.lane.within(STATEMENT, ended).await.is_ok() {
                held.keep();
            }
            return Ok(plan);
        }
        let written = write::write(&mut held.connection, from, Basis::Read, &plan);
        if self.lane.within(STATEMENT, written).await.map_err(before)?.is_none() {
            // Under the lock nobody else can have written.
            return Err(before(Failure::Malformed("a moved head")));
        }
        let committed = sqlx::raw_sql("COMMIT").execute(&mut held.connection);
        self.lane.within(COMMIT, committed).await.map_err(at_commit)?;
        held.keep();
        Ok(plan)
    }

    /// Begins a transaction that holds the head's lock.
    async fn begin(&self, batch: &Batch) -> Result<Held<'_>, Failure> {
        let bytes: usize = batch.requests.iter().map(|request| request.bytes()).sum();
        let large = bytes > limits::COMMIT_BYTES_MAX;
        let statements = if large { BEGIN_AND_LOCK_LARGE } else { BEGIN_AND_LOCK };
        let begun = self.lane.repeatable(STATEMENT, |connection| {
            Box::pin(async move { Ok(sqlx::raw_sql(statements).execute(connection).await?) })
        });
        let (_, held) = begun.await?;
        Ok(held)
    }
}

/// Such a plan answers with what others have written. Where commits wait for a standby, a row may be visible that the
/// standby does not have: its commit was given up, or came out of the server's recovery. Then the head is written all the
/// same, so that the answer waits for a commit behind that row's.
fn writes_nothing(plan: &Plan) -> bool {
    plan.log.is_empty() && plan.kept.is_empty()
}

/// No commit has been asked for: nothing is committed.
fn before(failure: Failure) -> CommitError {
    if blames_the_batch(&failure) {
        CommitError::Refused(failure.into())
    } else {
        CommitError::NotCommitted(failure.into())
    }
}

/// A commit has been asked for. An error of the statement or of the commit itself has rolled it back; of
/// anything else, the end of the session included, nobody can say what it came after.
fn at_commit(failure: Failure) -> CommitError {
    match database_error(&failure) {
        Some(error) if error.severity() == PgSeverity::Error => before(failure),
        _ => CommitError::Unknown(failure.into()),
    }
}

/// Whether the server found fault with the data: 22 data exception, 23 integrity constraint violation, 54
/// program limit exceeded. A version that is in the log already is the journal's fault, not a request's.
fn blames_the_batch(failure: &Failure) -> bool {
    database_error(failure).is_some_and(|error| {
        let class = matches!(error.code().get(..2), Some("22" | "23" | "54"));
        class && error.severity() == PgSeverity::Error && error.constraint() != Some("log_pkey")
    })
}

fn database_error(failure: &Failure) -> Option<&PgDatabaseError> {
    let Failure::Sql(sqlx::Error::Database(error)) = failure else { return None };
    error.try_downcast_ref()
}
