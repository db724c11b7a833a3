//! Housekeeping: what the journal need not keep for ever goes, a batch at a time, by one replica at a time.

use std::time::Duration;

use placard_model::entry::{Entry, Position};
use placard_model::limits;
use sqlx::{PgConnection, Row};

use super::codec::{self, column};
use super::connection_set::{Checkout, ConnectionSet, Work};
use super::failure::Failure;
use super::session::Setting;

/// How the server guards a chore; no client waits for one.
pub(super) const SETTINGS: &[Setting] = &[
    ("default_transaction_isolation", "read committed"),
    ("lock_timeout", "1s"),
    ("statement_timeout", "20s"),
];

/// A session that has a chore's lock and says nothing belongs to a replica that is held: it is ended, so that another
/// one can take over.
pub(super) const SILENCE: [Setting; 1] = [("idle_session_timeout", "10s")];

/// How long it may take to take the stream's lock, or to give it back: neither waits for anything.
const TRIED: Duration = Duration::from_secs(2);
/// How long one statement may take.
const STATEMENT: Duration = Duration::from_secs(25);
/// Rows that one statement deletes at most.
const BATCH: i64 = 5_000;
/// Shortest time for which log rows are kept: a repeated batch asks the log what it has written, and a
/// replica that has just read its snapshot tails the log from there.
const KEPT_MIN: Duration = Duration::from_secs(3600);

/// The advisory lock of the replica that does a chore. The numbers are used for nothing else, and have no meaning.
#[derive(Debug, Clone, Copy)]
#[repr(i64)]
enum Lock {
    Stream = 0x504c_4143_4152_4401,
    Log,
    Answers,
    Tasks,
}

/// Takes a lock, unless another replica has it. Returns whether it was taken. It is the session's: if its holder ends
/// early the connection is closed, and the lock goes with it.
async fn lock(set: &ConnectionSet, lock: Lock) -> Result<(bool, Checkout<'_>), Failure> {
    let take = set.repeatable(STATEMENT, |checkout| {
        Box::pin(async move {
            let taken = sqlx::query_scalar("SELECT pg_try_advisory_lock($1)").bind(lock as i64);
            Ok(taken.fetch_one(&mut checkout.connection).await?)
        })
    });
    take.await
}

async fn unlock(checkout: &mut Checkout<'_>, lock: Lock) -> Result<(), Failure> {
    let unlock = sqlx::query("SELECT pg_advisory_unlock($1)").bind(lock as i64);
    checkout.set.within(STATEMENT, unlock.execute(&mut checkout.connection)).await?;
    Ok(())
}

/// Runs the trimming of the stream, which is not the journal's, unless another replica is at it. Returns whether it was
/// run. That happens every few seconds, and so on a connection that is there for other work: its session is limited in
/// how long it may say nothing only while it has the lock.
pub(super) async fn elsewhere(
    set: &ConnectionSet,
    work: impl Future<Output = ()> + Send,
) -> Result<bool, Failure> {
    const TAKE: &str = "SELECT CASE WHEN pg_try_advisory_lock($1)
                             THEN set_config('idle_session_timeout', $2, false) IS NOT NULL ELSE false END";
    const RELEASE: &str =
        "SELECT set_config('idle_session_timeout', '0', false), pg_advisory_unlock($1)";
    let [(_, silence)] = SILENCE;
    let take = set.repeatable(TRIED, |checkout| {
        Box::pin(async move {
            let taken = sqlx::query_scalar(TAKE).bind(Lock::Stream as i64).bind(silence);
            Ok(taken.fetch_one(&mut checkout.connection).await?)
        })
    });
    let (taken, mut checkout) = take.await?;
    if taken {
        work.await;
        let release = sqlx::query(RELEASE).bind(Lock::Stream as i64);
        set.within(TRIED, release.execute(&mut checkout.connection)).await?;
    }
    checkout.keep();
    Ok(taken)
}

/// Does a chore unless another replica is at it, in which case there is nothing left to do.
async fn exclusively(
    set: &ConnectionSet,
    chore: Lock,
    batch: impl for<'c> Fn(&'c mut PgConnection) -> Work<'c, Option<u64>> + Send + Sync,
) -> Result<u64, Failure> {
    let (taken, mut checkout) = lock(set, chore).await?;
    let mut all = 0;
    if taken {
        while let Some(gone) = set.within(STATEMENT, batch(&mut checkout.connection)).await? {
            all += gone;
        }
        unlock(&mut checkout, chore).await?;
    }
    Ok(all)
}

/// Deletes log rows that are older than `keep`, but not less than an hour. Returns how many.
pub(super) async fn trim_log(set: &ConnectionSet, keep: Duration) -> Result<u64, Failure> {
    let keep = keep.max(KEPT_MIN);
    exclusively(set, Lock::Log, |connection| {
        Box::pin(async move {
            let Some(base) = next_base(connection, keep).await? else { return Ok(None) };
            let gone = trim_behind(connection, base).await?;
            Ok(Some(gone).filter(|gone| *gone > 0))
        })
    })
    .await
}

/// The newest of the oldest rows that may go together: everything up to it is old enough.
async fn next_base(
    connection: &mut PgConnection,
    keep: Duration,
) -> Result<Option<Position>, Failure> {
    let row = sqlx::query(
        "WITH oldest AS (
             SELECT version, at < clock_timestamp() - make_interval(secs => $1) AS old
               FROM log WHERE version <= (SELECT version FROM log_base) + $2
         )
         SELECT version, chain, bytes FROM log WHERE version = (
             SELECT coalesce(min(version) FILTER (WHERE NOT old) - 1, max(version)) FROM oldest)",
    )
    .bind(keep.as_secs_f64())
    .bind(BATCH)
    .fetch_optional(connection)
    .await?;
    let Some(row) = row else { return Ok(None) };
    let bytes: Vec<u8> = row.try_get("bytes")?;
    let entry = Entry::decode(&bytes.into()).map_err(|_| Failure::Malformed("an entry"))?;
    let (version, chain) =
        (codec::version(row.try_get("version")?)?, codec::chain(row.try_get("chain")?)?);
    Ok(Some(Position { version, chain, digest: entry.digest }))
}

/// Moves the base and deletes what is behind it, both or neither.
async fn trim_behind(connection: &mut PgConnection, base: Position) -> Result<u64, Failure> {
    let trimmed = sqlx::query(
        "WITH moved AS (
             UPDATE log_base SET version = $1, chain = $2, digest = $3 WHERE version < $1 RETURNING 1
         )
         DELETE FROM log WHERE version <= $1 AND EXISTS (SELECT FROM moved)",
    )
    .bind(column(base.version))
    .bind(base.chain.0.as_slice())
    .bind(base.digest.0.to_be_bytes().as_slice())
    .execute(connection)
    .await?;
    Ok(trimmed.rows_affected())
}

/// Deletes answers that are no longer given. Returns how many.
pub(super) async fn forget_answers(set: &ConnectionSet) -> Result<u64, Failure> {
    exclusively(set, Lock::Answers, |connection| Box::pin(forget_some(connection))).await
}

async fn forget_some(connection: &mut PgConnection) -> Result<Option<u64>, Failure> {
    // A row that a commit is replacing is not old any more.
    let forgotten = sqlx::query(
        "DELETE FROM idempotency WHERE scope IN (
             SELECT scope FROM idempotency
              WHERE at < clock_timestamp() - make_interval(secs => $1)
              ORDER BY at LIMIT $2 FOR UPDATE SKIP LOCKED)",
    )
    .bind(limits::IDEMPOTENCY_KEPT.as_secs_f64())
    .bind(BATCH)
    .execute(connection)
    .await?;
    Ok(Some(forgotten.rows_affected()).filter(|gone| *gone > 0))
}

/// Deletes tasks that are over, if there is a queue of tasks at all. Returns how many.
pub(super) async fn forget_tasks(set: &ConnectionSet, keep: Duration) -> Result<u64, Failure> {
    exclusively(set, Lock::Tasks, |connection| Box::pin(forget_some_tasks(connection, keep))).await
}

async fn forget_some_tasks(
    connection: &mut PgConnection,
    keep: Duration,
) -> Result<Option<u64>, Failure> {
    let queue: Option<String> = sqlx::query_scalar("SELECT to_regclass('apalis.jobs')::text")
        .fetch_one(&mut *connection)
        .await?;
    if queue.is_none() {
        return Ok(None);
    }
    let keep = keep.as_secs_f64();
    let forgotten = sqlx::query(
        "DELETE FROM apalis.jobs WHERE id IN (
             SELECT id FROM apalis.jobs
              WHERE (status IN ('Done', 'Killed') OR (status = 'Failed' AND attempts >= max_attempts))
                AND run_at < clock_timestamp() - make_interval(secs => $1)
              LIMIT $2 FOR UPDATE SKIP LOCKED)",
    )
    .bind(keep)
    .bind(BATCH)
    .execute(&mut *connection)
    .await?;
    // Workers have new names at each start, and nothing else deletes the old ones.
    sqlx::query(
        "DELETE FROM apalis.workers
          WHERE last_seen < clock_timestamp() - make_interval(secs => $1)
            AND NOT EXISTS (SELECT FROM apalis.jobs WHERE lock_by = workers.id)",
    )
    .bind(keep)
    .execute(connection)
    .await?;
    Ok(Some(forgotten.rows_affected()).filter(|gone| *gone > 0))
}
