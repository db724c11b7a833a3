//! The head poll and the register: one statement, one round trip, one moment.

use std::time::Duration;

use placard_model::entry::{Incarnation, Position};
use placard_model::{Version, limits};
use placard_replica::Uptime;
use placard_replica::ports::{EMPTIED, Head, Heartbeat, Identity, Member, ReplicaStatus};
use sqlx::postgres::types::Oid;
use sqlx::postgres::{PgRow, PgTypeInfo};
use sqlx::{Executor, PgConnection, Postgres, Row, SqlSafeStr, Type};
use uuid::Uuid;

use super::codec::{self, Stamp, column};
use super::failure::Failure;
use super::session::Setting;

/// How the server guards a poll; the next one comes in a moment.
pub(super) const SETTINGS: &[Setting] = &[
    ("default_transaction_isolation", "read committed"),
    ("lock_timeout", "1s"),
    ("statement_timeout", "1500ms"),
    ("tcp_user_timeout", "2s"),
    ("plan_cache_mode", "force_generic_plan"),
    ("enable_seqscan", "off"),
];

/// How long a poll may take.
pub(super) const POLL: Duration = Duration::from_secs(2);

/// The rows of the register as they are after this poll, each with the head. The time is that of the statement's
/// arrival, before its view of the tables is taken. What a replica has published counts only if this journal knows
/// it: after a restore to an older state it may be of the lost history, and confirms nothing.
///
/// A new row is as durable as a commit, since a takedown counts on it. Its renewals, several a second, do not wait
/// for the disk: what a crash loses of them is an older renewal of the same row. Only for a replica that refuses
/// reads they do, since by an older one it would count as silent while it answers.
///
/// A row is forgotten when the polling replica says that it has long seen the row unchanged, since this server's clock
/// may jump. If no replica lives long enough to see that, the oldest rows beyond [`limits::MEMBERS_MAX`] go. A replica
/// that has left gets no row again: a row that was inserted by a poll whose view was older than the mark does not
/// count, and is deleted.
const STATEMENT: &str = "
    WITH clock AS MATERIALIZED (SELECT statement_timestamp() AS now),
    forgotten AS (
        DELETE FROM replicas WHERE replica IN (
            SELECT replica FROM replicas
             WHERE replica <> $1
               AND ((replica, seen_at) IN (SELECT * FROM unnest($13::uuid[], $17::timestamptz[]))
                    OR replica IN (SELECT replica FROM departures)
                    OR replica IN (SELECT replica FROM replicas ORDER BY seen_at DESC OFFSET $20))
               FOR UPDATE SKIP LOCKED)
        RETURNING replica
    ),
    status AS (
        SELECT $6::bigint AS version, $7::bytea AS chain, $8::bytea AS digest
         WHERE EXISTS (SELECT FROM log WHERE version = $6 AND chain = $7)
            OR EXISTS (SELECT FROM log_base WHERE version = $6 AND chain = $7)
    ),
    own AS (
        INSERT INTO replicas (replica, address, build, format_level, state, published_version,
            published_chain, published_digest, clock_ahead, tails_journal, seen_at, lease_until,
            refuses_after, marks_leaving)
        SELECT $1, $2, $3, $4, $5, coalesce(version, 0), coalesce(chain, $15), coalesce(digest, $16), $9,
               $10, now, now + $11 * interval '1 microsecond', $14, $18
          FROM clock LEFT JOIN status ON true
         WHERE NOT EXISTS (SELECT FROM departures WHERE replica = $1)
        ON CONFLICT (replica) DO UPDATE
        SET address = excluded.address, build = excluded.build, format_level = excluded.format_level,
            state = excluded.state, published_version = excluded.published_version,
            published_chain = excluded.published_chain, published_digest = excluded.published_digest,
            clock_ahead = excluded.clock_ahead, tails_journal = excluded.tails_journal,
            seen_at = excluded.seen_at, lease_until = excluded.lease_until,
            refuses_after = excluded.refuses_after, marks_leaving = excluded.marks_leaving
        RETURNING *, xmax = 0 AS is_new
    ),
    durability AS MATERIALIZED (
        SELECT set_config('synchronous_commit', 'off', true) FROM own WHERE NOT is_new AND refuses_after IS NULL
    )
    SELECT head.version, head.chain, head.digest, clock.now,
           CASE WHEN $12 > 0 THEN coalesce(
               (SELECT chain FROM log WHERE version = $12),
               (SELECT chain FROM log_base WHERE version = $12)) END AS chain_at,
           (SELECT count(*) FROM durability),
           ARRAY(SELECT replica FROM departures WHERE replica = ANY ($19)) AS departed,
           journal.identity, journal.level, pg_postmaster_start_time() AS started,
           (SELECT oid FROM pg_database WHERE datname = current_database()) AS database,
           members.*
      FROM head, journal, clock, (
          SELECT replica, address, build, format_level, state, published_version, published_chain,
                 published_digest, clock_ahead, tails_journal, seen_at, lease_until, refuses_after,
                 marks_leaving
            FROM replicas
           WHERE replica <> $1 AND replica NOT IN (SELECT replica FROM forgotten)
             AND replica NOT IN (SELECT replica FROM departures)
          UNION ALL
          SELECT replica, address, build, format_level, state, published_version, published_chain,
                 published_digest, clock_ahead, tails_journal, seen_at, lease_until, refuses_after,
                 marks_leaving
            FROM own
      ) AS members (replica, address, build, format_level, state, published_version, published_chain,
                    published_digest, clock_ahead, tails_journal, seen_at, lease_until, refuses_after,
                    marks_leaving)
     ORDER BY members.replica";

/// The types of [`STATEMENT`]'s parameters.
const TYPES: [fn() -> PgTypeInfo; 20] = [
    type_of::<Uuid>,
    type_of::<String>,
    type_of::<String>,
    type_of::<i16>,
    type_of::<String>,
    type_of::<i64>,
    type_of::<Vec<u8>>,
    type_of::<Vec<u8>>,
    type_of::<i64>,
    type_of::<bool>,
    type_of::<f64>,
    type_of::<i64>,
    type_of::<Vec<Uuid>>,
    type_of::<i64>,
    type_of::<Vec<u8>>,
    type_of::<Vec<u8>>,
    type_of::<Vec<Stamp>>,
    type_of::<bool>,
    type_of::<Vec<Uuid>>,
    type_of::<i64>,
];

fn type_of<T: Type<Postgres>>() -> PgTypeInfo {
    T::type_info()
}

/// Registers the replica or renews its row, forgets replicas that are long gone, and reads the head, the register and
/// the chain at `at`.
#[expect(clippy::disallowed_methods, reason = "it times the reading of the journal's clock")]
pub(super) async fn poll(
    connection: &mut PgConnection,
    heartbeat: &Heartbeat,
    at: Version,
) -> Result<Head, Failure> {
    let Heartbeat { identity, status, lease, known, forgotten } = heartbeat;
    let (still, since): (Vec<_>, Vec<_>) =
        forgotten.iter().map(|(replica, seen_at)| (*replica, Stamp(*seen_at))).unzip();
    let published = status.published;
    // On a new connection this is a round trip or two, which are no part of the answer's age.
    connection.prepare_with(STATEMENT.into_sql_str(), &TYPES.map(|of| of())).await?;
    let statement = sqlx::query(STATEMENT)
        .bind(identity.replica)
        .bind(&identity.address)
        .bind(&identity.build)
        .bind(i16::from(identity.format_level))
        .bind(&status.state)
        .bind(column(published.version))
        .bind(published.chain.0.as_slice())
        .bind(published.digest.0.to_be_bytes().as_slice())
        .bind(status.clock_ahead)
        .bind(status.tails_journal)
        .bind(lease.as_micros() as f64)
        .bind(column(at))
        .bind(still)
        .bind(identity.refuses_after.map(|after| after.as_micros() as i64))
        .bind(Position::START.chain.0.as_slice())
        .bind(Position::START.digest.0.to_be_bytes().as_slice())
        .bind(since)
        .bind(identity.marks_leaving)
        .bind(known)
        .bind(limits::MEMBERS_MAX);
    let asked = Uptime::now();
    let rows = statement.fetch_all(connection).await?;
    let answered = Uptime::now();
    // There is a row at least for the replica itself, unless the head is missing.
    let first = rows.first().ok_or(Failure::Malformed("no head"))?;
    let Stamp(now) = first.try_get("now")?;
    let chain_at: Option<&[u8]> = first.try_get("chain_at")?;
    Ok(Head {
        position: codec::position_of(
            first.try_get("version")?,
            first.try_get("chain")?,
            first.try_get("digest")?,
        )?,
        chain_at: chain_at.map(codec::chain).transpose()?,
        now,
        asked,
        answered,
        members: rows.iter().map(member).collect::<Result<_, _>>()?,
        left: first.try_get("departed")?,
        incarnation: incarnation(first)?,
        level: level(first.try_get("level")?)?,
    })
}

/// If nothing was ever written in the journal, returns which it is, and the replica on its register that knows better:
/// one that is live and says so, or whose row is from before.
pub(super) async fn emptiness(
    connection: &mut PgConnection,
) -> Result<Option<(Uuid, Option<String>)>, Failure> {
    const ASK: &str = "
        SELECT journal.identity,
               (SELECT address FROM replicas
                 WHERE published_version > 0 OR (state = $1 AND lease_until > statement_timestamp())
                 LIMIT 1)
          FROM head, journal WHERE version = 0";
    Ok(sqlx::query_as(ASK).bind(EMPTIED).fetch_optional(connection).await?)
}

fn incarnation(row: &PgRow) -> Result<Incarnation, Failure> {
    let (Oid(database), Stamp(started)) = (row.try_get("database")?, row.try_get("started")?);
    Ok(Incarnation { journal: row.try_get("identity")?, database, started })
}

fn level(column: i16) -> Result<u8, Failure> {
    u8::try_from(column).map_err(|_| Failure::Malformed("a format level"))
}

fn member(row: &PgRow) -> Result<Member, Failure> {
    let (Stamp(seen_at), Stamp(lease_until)) =
        (row.try_get("seen_at")?, row.try_get("lease_until")?);
    let format_level = level(row.try_get("format_level")?)?;
    Ok(Member {
        identity: Identity {
            replica: row.try_get("replica")?,
            address: row.try_get("address")?,
            build: row.try_get("build")?,
            format_level,
            refuses_after: row
                .try_get::<Option<i64>, _>("refuses_after")?
                .map(|micros| Duration::from_micros(micros.unsigned_abs())),
            marks_leaving: row.try_get("marks_leaving")?,
        },
        status: ReplicaStatus {
            state: row.try_get("state")?,
            published: codec::position_of(
                row.try_get("published_version")?,
                row.try_get("published_chain")?,
                row.try_get("published_digest")?,
            )?,
            clock_ahead: row.try_get("clock_ahead")?,
            tails_journal: row.try_get("tails_journal")?,
        },
        seen_at,
        lease_until,
    })
}

/// Takes a replica off the register, and leaves a mark for a day, which is longer than any replica looks for the row.
/// If this server's clock jumps, the mark is gone early: then the replica counts as one that is gone silently.
pub(super) async fn leave(connection: &mut PgConnection, replica: Uuid) -> Result<(), Failure> {
    const LEAVE: &str = "
        WITH gone AS (DELETE FROM replicas WHERE replica = $1),
        old AS (DELETE FROM departures WHERE at < clock_timestamp() - interval '1 day' AND replica <> $1)
        INSERT INTO departures (replica, at) VALUES ($1, clock_timestamp())
        ON CONFLICT (replica) DO NOTHING";
    sqlx::query(LEAVE).bind(replica).execute(connection).await?;
    Ok(())
}
