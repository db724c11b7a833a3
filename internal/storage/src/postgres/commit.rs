//! A commit: four round trips on a connection of its own. Until the last one is sent nothing can have been
//! committed; from then on the outcome is unknown until the server has told it.

use std::time::Duration;

use placard_model::limits;
use placard_replica::ports::CommitError;
use placard_replica::{Batch, Plan};
use sqlx::postgres::{PgDatabaseError, PgSeverity};

use super::lane::{Failure, Held, Lane, within};
use super::rows;

/// How the server guards the head's lock.
///
/// A replica that stalls while it holds the lock loses it half a second after the server has last heard of it
/// (with a batch of more than 1 MiB after two): between two statements, or in the middle of one, through
/// `idle_in_transaction_session_timeout`. One that does not take a large answer loses it within about a
/// second, through `tcp_user_timeout`, and one that dies in the queue leaves it through
/// `client_connection_check_interval`. Whoever waits behind healthy holders is never hurried: each holds the
/// lock for some milliseconds, and `lock_timeout` is long enough for six stalled ones in a row. It is there for
/// a lock that is not a replica's (an operator's open transaction): the batch is then tried again, from the
/// end of the queue.
pub(super) const SETTINGS: &[(&str, &str)] = &[
    ("idle_in_transaction_session_timeout", "500ms"),
    ("tcp_user_timeout", "500ms"),
    ("client_connection_check_interval", "100ms"),
    ("lock_timeout", "3500ms"),
    ("statement_timeout", "4s"),
    // The statements never change and touch few rows by key. A plan made while a table was small must not
    // scan it when it has grown.
    ("plan_cache_mode", "force_generic_plan"),
    ("enable_seqscan", "off"),
];

/// How long an answer to anything but a commit may take; the server has given up before.
const STATEMENT: Duration = Duration::from_secs(5);
/// How long a commit may take before it is repeated; with a synchronous standby it waits for that one too.
const COMMIT: Duration = Duration::from_secs(5);

const BEGIN_AND_LOCK: &str = "
    BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE; SELECT FROM head FOR UPDATE";
/// A batch request beyond the committer's usual size may keep a slow machine busy between two statements for
/// longer than half a second: it would lose the lock at every try.
const BEGIN_AND_LOCK_LARGE: &str = "
    BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE;
    SET LOCAL idle_in_transaction_session_timeout = '2s'; SELECT FROM head FOR UPDATE";
/// A commit that waits for a standby must not be cut short: PostgreSQL would call it done.
const END: &str = "SET LOCAL statement_timeout = 0; COMMIT";

/// Runs one transaction.
pub(super) async fn commit(lane: &Lane, batch: &Batch) -> Result<Plan, CommitError> {
    let mut held = begin(lane, batch).await.map_err(before)?;
    let current =
        within(STATEMENT, rows::current(&mut held.connection, batch)).await.map_err(before)?;
    let version = current.head.version;
    let plan = batch.plan(current);
    if plan.log.is_empty() && plan.kept.is_empty() {
        // What was read stays true whether or not this arrives.
        let ended = sqlx::raw_sql("ROLLBACK").execute(&mut held.connection);
        if within(STATEMENT, ended).await.is_ok() {
            held.keep();
        }
        return Ok(plan);
    }
    within(STATEMENT, rows::write(&mut held.connection, version, &plan)).await.map_err(before)?;
    let committed = sqlx::raw_sql(END).execute(&mut held.connection);
    within(COMMIT, committed).await.map_err(at_commit)?;
    held.keep();
    Ok(plan)
}

/// Begins a transaction that holds the head's lock.
async fn begin<'l>(lane: &'l Lane, batch: &Batch) -> Result<Held<'l>, Failure> {
    let bytes: usize = batch.requests.iter().map(|request| request.bytes()).sum();
    let large = bytes > limits::COMMIT_BYTES_MAX;
    let statements = if large { BEGIN_AND_LOCK_LARGE } else { BEGIN_AND_LOCK };
    let (_, held) = lane
        .repeatable(STATEMENT, |connection| {
            Box::pin(async move { Ok(sqlx::raw_sql(statements).execute(connection).await?) })
        })
        .await?;
    Ok(held)
}

/// Nothing is committed.
fn before(failure: Failure) -> CommitError {
    if blames_the_batch(&failure) {
        CommitError::Refused(failure.into())
    } else {
        CommitError::NotCommitted(failure.into())
    }
}

/// An error in what was written has been told instead of a commit; of anything else nobody can say.
fn at_commit(failure: Failure) -> CommitError {
    if blames_the_batch(&failure) {
        CommitError::Refused(failure.into())
    } else {
        CommitError::Unknown(failure.into())
    }
}

/// Whether the server found fault with the data: 22 data exception, 23 integrity constraint violation, 54
/// program limit exceeded. A version that is in the log already is the journal's fault, not a request's.
fn blames_the_batch(failure: &Failure) -> bool {
    let Failure::Sql(sqlx::Error::Database(error)) = failure else { return false };
    let Some(error) = error.try_downcast_ref::<PgDatabaseError>() else { return false };
    let class = matches!(error.code().get(..2), Some("22" | "23" | "54"));
    class && error.severity() == PgSeverity::Error && error.constraint() != Some("log_pkey")
}
