//! Reads what has ended and when more will, by the indexes of the ends of ads and of records.

use std::collections::BTreeSet;
use std::time::Duration;

use placard_model::Timestamp;
use placard_model::entry::CAPACITY_LEVEL;
use placard_model::records::{EncodedRecord, Kind};
use placard_scheduler::ports::Expired;
use rusqlite::{Connection, params};
use uuid::Uuid;

use super::rows;

const ENDED: &str = "SELECT id, version FROM ads WHERE end_at <= ?1 ORDER BY end_at LIMIT ?2";
const DUE: &str = "
    SELECT encoded FROM records WHERE kind = ?1 AND due <= ?2 ORDER BY due LIMIT ?3";
const NEXT_END: &str = "SELECT min(end_at) FROM ads WHERE end_at > ?1";
/// Of reservations, which are holds (2).
const NEXT_LAPSE: &str = "SELECT min(due) FROM records WHERE kind = 2 AND due > ?1";

/// Reads what is past its end at a time.
pub(super) fn expired(
    connection: &Connection,
    now: Timestamp,
    max: usize,
) -> rusqlite::Result<Expired> {
    let mut ended = connection.prepare_cached(ENDED)?;
    let ads = ended.query_map(params![now.micros(), max], |row| {
        Ok((Uuid::from_bytes(row.get(0)?), row.get(1)?))
    })?;
    let mut expired = Expired::of_ads(now, ads.collect::<Result<_, _>>()?);
    if !has_records(connection)? {
        return Ok(expired);
    }
    let mut due = connection.prepare_cached(DUE)?;
    for kind in [Kind::Hold, Kind::Tombstone] {
        let left = max.saturating_sub(expired.items().count());
        let mut rows = due.query(params![kind.number(), now.micros(), left])?;
        while let Some(row) = rows.next()? {
            let record = EncodedRecord::from_bytes(kind, row.get::<_, Vec<u8>>(0)?.into());
            expired.push(&record);
        }
    }
    Ok(expired)
}

/// Reads the seconds in which ads end or reservations lapse, with one probe of an index for each.
pub(super) fn upcoming(
    connection: &Connection,
    now: Timestamp,
    ahead: Duration,
    max: usize,
) -> rusqlite::Result<Vec<u64>> {
    let until = now.saturating_add_micros(ahead.as_micros() as i64);
    let mut seconds = BTreeSet::new();
    seconds_of(NEXT_END, connection, (now, until), max, &mut seconds)?;
    if has_records(connection)? {
        seconds_of(NEXT_LAPSE, connection, (now, until), max, &mut seconds)?;
    }
    Ok(seconds.into_iter().take(max).collect())
}

/// Adds the seconds of the ends that a statement finds one after the other: at most `max`.
fn seconds_of(
    next: &str,
    connection: &Connection,
    (now, until): (Timestamp, Timestamp),
    max: usize,
    seconds: &mut BTreeSet<u64>,
) -> rusqlite::Result<()> {
    const SECOND: i64 = 1_000_000;
    let mut statement = connection.prepare_cached(next)?;
    let (mut found, mut after) = (0, now.micros());
    while found < max
        && let Some(end) = statement.query_row([after], |row| row.get::<_, Option<i64>>(0))?
        && let second = end.div_euclid(SECOND) + i64::from(end.rem_euclid(SECOND) > 0)
        && second * SECOND <= until.micros()
    {
        seconds.extend(u64::try_from(second));
        (found, after) = (found + 1, second * SECOND);
    }
    Ok(())
}

/// Returns false if there are no records. A file that an older build has made has no table for them.
fn has_records(connection: &Connection) -> rusqlite::Result<bool> {
    Ok(rows::level(connection)? >= CAPACITY_LEVEL)
}
