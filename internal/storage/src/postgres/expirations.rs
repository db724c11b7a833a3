//! Reads which ads have ended and when others will, by the index of the ads' ends.

use std::time::Duration;

use placard_scheduler::ports::Expired;
use sqlx::{PgConnection, Row};
use uuid::Uuid;

use super::codec::{self, Stamp};
use super::failure::Failure;

/// Reads the clock, and the ads that ended first, if any have.
const ENDED: &str = "
    SELECT clock.now, ended.id, ended.version
      FROM (SELECT clock_timestamp() AS now OFFSET 0) AS clock
      LEFT JOIN LATERAL (
          SELECT id, version FROM ads WHERE end_at <= clock.now ORDER BY end_at LIMIT $1
      ) AS ended ON true";

/// One probe of the index for each second, however many ads end in it.
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
    SELECT second FROM ends, clock
     WHERE to_timestamp(second) <= now + make_interval(secs => $1) LIMIT $2";

pub(super) async fn expired(connection: &mut PgConnection, max: usize) -> Result<Expired, Failure> {
    let rows = sqlx::query(ENDED).bind(limit(max)).fetch_all(connection).await?;
    let first = rows.first().ok_or(Failure::Malformed("no clock"))?;
    let Stamp(now) = first.try_get("now")?;
    let mut ads = Vec::with_capacity(rows.len());
    for row in &rows {
        if let Some(id) = row.try_get::<Option<Uuid>, _>("id")? {
            ads.push((id, codec::version(row.try_get("version")?)?));
        }
    }
    Ok(Expired { now, ads })
}

pub(super) async fn upcoming(
    connection: &mut PgConnection,
    ahead: Duration,
    max: usize,
) -> Result<Vec<u64>, Failure> {
    let seconds: Vec<i64> = sqlx::query_scalar(UPCOMING)
        .bind(ahead.as_secs_f64())
        .bind(limit(max))
        .fetch_all(connection)
        .await?;
    seconds
        .into_iter()
        .map(|second| u64::try_from(second).map_err(|_| Failure::Malformed("a second")))
        .collect()
}

fn limit(max: usize) -> i64 {
    i64::try_from(max).unwrap_or(i64::MAX)
}
