//! Reads what has ended and when more will, by the indexes of the ends of ads and of records.

use std::collections::BTreeSet;
use std::sync::LazyLock;
use std::time::Duration;

use placard_model::entry::CAPACITY_LEVEL;
use placard_model::records::{EncodedRecord, Kind};
use placard_scheduler::ports::Expired;
use sqlx::postgres::PgRow;
use sqlx::{PgConnection, Row};
use uuid::Uuid;

use super::codec::{self, Stamp};
use super::failure::Failure;

/// Reads the clock, the format level, and the ads that ended first, if any have. What needs the records asks for them in a
/// statement of its own: below [`CAPACITY_LEVEL`] there may be no table for them, or no right to read it.
const ENDED: &str = "
    SELECT clock.now, (SELECT level::int FROM journal) AS level, ended.id, ended.version
      FROM (SELECT clock_timestamp() AS now OFFSET 0) AS clock
      LEFT JOIN LATERAL (
          SELECT id, version FROM ads WHERE end_at <= clock.now ORDER BY end_at LIMIT $1
      ) AS ended ON true";

/// Reads the reservations that lapsed first up to a time, and behind them the tombstones that are due since the longest.
const DUE: &str = "
    SELECT kind, encoded FROM (
        (SELECT kind, due, encoded FROM records WHERE kind = 2 AND due <= $1 ORDER BY due LIMIT $2)
        UNION ALL
        (SELECT kind, due, encoded FROM records WHERE kind = 3 AND due <= $1 ORDER BY due LIMIT $2)
    ) AS ended ORDER BY kind, due LIMIT $2";

/// The format level, and one probe of the index for each second, however many ads end in it.
const UPCOMING: &str = "
    WITH RECURSIVE clock AS MATERIALIZED (SELECT clock_timestamp() AS now),
    ends (second) AS (
        SELECT ceil(extract(epoch FROM (SELECT min(end_at) FROM ads WHERE end_at > now)))::bigint
          FROM clock
         UNION ALL
        SELECT ceil(extract(epoch FROM (
                   SELECT min(end_at) FROM ads WHERE end_at > to_timestamp(second))))::bigint
          FROM ends, clock WHERE to_timestamp(second) < now + make_interval(secs => $1)
    )
    SELECT journal.level::int AS level, soon.second FROM journal LEFT JOIN (
        SELECT second FROM ends, clock
         WHERE to_timestamp(second) <= now + make_interval(secs => $1) LIMIT $2
    ) AS soon ON true";

/// [`UPCOMING`] of reservations.
static UPCOMING_LAPSES: LazyLock<String> = LazyLock::new(|| {
    let reservations = "min(due) FROM records WHERE kind = 2 AND due >";
    UPCOMING.replace("min(end_at) FROM ads WHERE end_at >", reservations)
});

pub(super) async fn expired(connection: &mut PgConnection, max: usize) -> Result<Expired, Failure> {
    let rows = sqlx::query(ENDED).bind(limit(max)).fetch_all(&mut *connection).await?;
    let first = rows.first().ok_or(Failure::Malformed("no clock"))?;
    let Stamp(now) = first.try_get("now")?;
    let mut ads = Vec::with_capacity(rows.len());
    for row in &rows {
        if let Some(id) = row.try_get::<Option<Uuid>, _>("id")? {
            ads.push((id, codec::version(row.try_get("version")?)?));
        }
    }
    let left = max.saturating_sub(ads.len());
    let mut expired = Expired::of_ads(now, ads);
    if left == 0 || !has_records(first)? {
        return Ok(expired);
    }
    let due = sqlx::query_as(DUE).bind(Stamp(now)).bind(limit(left)).fetch_all(connection);
    for (kind, encoded) in due.await? {
        let (kind, encoded): (i16, Vec<u8>) = (kind, encoded);
        let kind = u8::try_from(kind).ok().and_then(Kind::from_number);
        let kind = kind.ok_or(Failure::Malformed("a record's kind"))?;
        let record = EncodedRecord::from_bytes(kind, encoded.into());
        expired.push(&record);
    }
    Ok(expired)
}

pub(super) async fn upcoming(
    connection: &mut PgConnection,
    ahead: Duration,
    max: usize,
) -> Result<Vec<u64>, Failure> {
    let mut seconds = BTreeSet::new();
    if seconds_of(UPCOMING, &mut *connection, (ahead, max), &mut seconds).await? {
        seconds_of(&UPCOMING_LAPSES, connection, (ahead, max), &mut seconds).await?;
    }
    Ok(seconds.into_iter().take(max).collect())
}

/// Adds the seconds that a statement finds. Returns whether the journal may have records.
async fn seconds_of(
    statement: &'static str,
    connection: &mut PgConnection,
    (ahead, max): (Duration, usize),
    seconds: &mut BTreeSet<u64>,
) -> Result<bool, Failure> {
    let query = sqlx::query(statement).bind(ahead.as_secs_f64()).bind(limit(max));
    let rows = query.fetch_all(connection).await?;
    for row in &rows {
        if let Some(second) = row.try_get::<Option<i64>, _>("second")? {
            seconds.insert(u64::try_from(second).map_err(|_| Failure::Malformed("a second"))?);
        }
    }
    has_records(rows.first().ok_or(Failure::Malformed("no format level"))?)
}

fn has_records(row: &PgRow) -> Result<bool, Failure> {
    Ok(row.try_get::<i32, _>("level")? >= CAPACITY_LEVEL.into())
}

fn limit(max: usize) -> i64 {
    i64::try_from(max).unwrap_or(i64::MAX)
}
