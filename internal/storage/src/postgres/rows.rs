//! What commits and readers of the log ask for, and what comes back: binary rows from a single statement, text rows
//! from a message of several statements.

use std::collections::{HashMap, HashSet};
use std::sync::LazyLock;

use placard_model::command::KeptAnswer;
use placard_model::entry::{Record, format_level};
use placard_model::records::{EncodedRecord, Kind};
use placard_model::{EncodedAd, Timestamp, Version, limits};
use placard_replica::{Batch, Current};
use sqlx::postgres::PgRow;
use sqlx::{PgConnection, Row};
use uuid::Uuid;

use super::codec::{chain, column, position_of, version};
use super::failure::Failure;
use super::head_guard::HeadGuard;
use super::values::{self, Value};

fn record(row: &PgRow, number: &str, sum: &str, bytes: &str) -> Result<Record, Failure> {
    Ok(Record {
        version: version(row.try_get(number)?)?,
        chain: chain(&row.try_get::<Vec<u8>, _>(sum)?)?,
        bytes: row.try_get::<Vec<u8>, _>(bytes)?.into(),
    })
}

/// Returns the format level that reading the journal needs, if there is one with all of its tables, and this build reads
/// what it holds.
pub(super) async fn level(connection: &mut PgConnection) -> Result<u8, Failure> {
    let level = "SELECT journal.level::int FROM journal, head";
    readable(sqlx::query_scalar(level).fetch_one(connection).await?)
}

/// Returns the level, if this build reads what a journal of this level holds.
pub(super) fn readable(level: i32) -> Result<u8, Failure> {
    match u8::try_from(level) {
        Ok(0) | Err(_) => Err(Failure::Malformed("a format level")),
        Ok(level) if level > format_level() => Err(Failure::TooNew(level)),
        Ok(level) => Ok(level),
    }
}

/// A page of the log. Its bytes are added up in the server, from the sizes alone, so that what the page does not take
/// is not sent.
const LOG: &str = "
    SELECT version, chain, bytes
      FROM (SELECT version, chain, bytes, octet_length(bytes) AS size,
                   sum(octet_length(bytes)) OVER (ORDER BY version) AS upto
              FROM (SELECT version, chain, bytes FROM log WHERE version > $1 ORDER BY version LIMIT $2) AS next
           ) AS summed
     WHERE upto <= $3 OR upto = size
     ORDER BY version";

/// Records after a version, in one statement and so at one moment: at most `max`, and no more bytes than these, but one
/// if there is one.
pub(super) async fn log(
    connection: &mut PgConnection,
    after: Version,
    max: usize,
    bytes_max: usize,
) -> Result<Vec<Record>, Failure> {
    let rows = sqlx::query(LOG)
        .bind(column(after))
        .bind(i64::try_from(max).unwrap_or(i64::MAX))
        .bind(i64::try_from(bytes_max).unwrap_or(i64::MAX))
        .fetch_all(connection)
        .await?;
    rows.iter().map(|row| record(row, "version", "chain", "bytes")).collect()
}

const HEAD: i32 = 0;
const AD: i32 = 1;
const KEPT: i32 = 2;
const WRITTEN: i32 = 3;
const RECORD: i32 = 4;
const REGISTERED: i32 = 5;
const POOL_OF_AD: i32 = 6;

/// Everything that a batch touches, as rows of one shape so that it takes one round trip. The head's row says in its
/// item whether commits wait for a standby, which a reload may change. The age of a key is compared by a sum, which no
/// index has: a plan that was made while the table was small must not read the keys by time.
const CURRENT: &str = "
    WITH clock AS MATERIALIZED (SELECT clock_timestamp() AS now)
    SELECT 0 AS kind, head.version, chain AS a, digest AS b, int2send(journal.level) AS c,
           (current_setting('synchronous_standby_names') <> '')::int AS item,
           (extract(epoch FROM clock.now) * 1000000)::bigint AS now, head.writes
      FROM head, journal, clock
    UNION ALL
    SELECT 1, 0, uuid_send(id), encoded, NULL, 0, NULL, 0 FROM ads WHERE id = ANY ($1)
    UNION ALL
    SELECT 2, 0, scope, body, answer, 0, NULL, 0 FROM idempotency, clock
     WHERE scope = ANY ($2) AND at + make_interval(secs => $3) > clock.now
    UNION ALL
    SELECT 3, log.version, chain, bytes, uuid_send(request), item, NULL, 0 FROM log
     WHERE request = ANY ($4)";

/// The records that a batch touches, behind [`CURRENT`]: holds and tombstones by id, the pools that are named and those of
/// the holds, and of each of these the reservations that lapsed first. The register, for holds that replicas have left
/// behind. And which of the pools ads name.
const RECORDS: &str = "
    UNION ALL
    SELECT 4, kind, uuid_send(id), encoded, NULL, 0, NULL, 0 FROM records
     WHERE kind IN (2, 3) AND id = ANY ($6)
    UNION ALL
    SELECT 4, kind, uuid_send(id), encoded, NULL, 0, NULL, 0 FROM records
     WHERE kind = 1 AND id IN (SELECT id FROM pools)
    UNION ALL
    SELECT 4, 2, uuid_send(lapsed.id), lapsed.encoded, NULL, 0, NULL, 0
      FROM pools, clock, LATERAL (
          SELECT id, encoded FROM records
           WHERE kind = 2 AND parent = pools.id AND due <= clock.now ORDER BY due LIMIT $7
      ) AS lapsed
    UNION ALL
    SELECT 5, 0, uuid_send(replica), NULL, NULL, 0, NULL, 0 FROM replicas
    UNION ALL
    SELECT 6, 0, uuid_send(pools.id), NULL, NULL, 0, NULL, 0 FROM pools
     WHERE EXISTS (SELECT FROM ads WHERE ads.pool = pools.id)";

/// The pools that a batch touches.
const POOLS: &str = ", pools AS MATERIALIZED (
        SELECT unnest($5::uuid[]) AS id
        UNION
        SELECT parent FROM records WHERE kind = 2 AND id = ANY ($6)
    )
    SELECT 0 AS kind,";

/// [`CURRENT`] with the records.
static CURRENT_WITH_RECORDS: LazyLock<String> = LazyLock::new(|| {
    let current = CURRENT.replacen("    SELECT 0 AS kind,", POOLS, 1);
    format!("{current}{RECORDS}")
});

/// The state that a batch touches, and how many writes had led to it.
pub(super) struct State {
    pub(super) current: Current,
    pub(super) from: HeadGuard,
    /// Whether a commit waits for a standby, so that what was read may be less durable than what is written.
    pub(super) standby: bool,
}

/// The parameters of [`CURRENT`].
fn touched<'s>(batch: &Batch, scopes: &'s [[u8; 32]]) -> [Value<'s>; 4] {
    let requests = if batch.repeated { batch.request_ids() } else { Vec::new() };
    [
        Value::Ids(batch.ads()),
        Value::BytesList(scopes.iter().map(<[u8; 32]>::as_slice).collect()),
        Value::Seconds(limits::IDEMPOTENCY_KEPT.as_secs_f64()),
        Value::Ids(requests),
    ]
}

/// The parameters of [`CURRENT_WITH_RECORDS`] behind those of [`CURRENT`].
fn named(batch: &Batch) -> Option<[Value<'static>; 3]> {
    let named = batch.named()?;
    let max = i64::try_from(Batch::lapsed_max(&named)).unwrap_or(i64::MAX);
    Some([Value::Ids(named.pools), Value::Ids(named.holds), Value::Number(max)])
}

/// Prepares the statement that [`execute`] calls: with records, or without.
pub(super) fn prepare(with_records: bool) -> String {
    match with_records {
        false => format!("PREPARE placard_state AS {CURRENT}"),
        true => format!("PREPARE placard_state_records AS {}", *CURRENT_WITH_RECORDS),
    }
}

/// Has the prepared statement read what the batch touches: for a message that takes the head's lock first. Like every
/// statement it sees what is there when it begins, which is what the lock's last holder has left.
pub(super) fn execute(batch: &Batch) -> String {
    let scopes = batch.scopes();
    let touched = touched(batch, &scopes);
    match named(batch) {
        None => values::execute("placard_state", &touched),
        Some(named) => {
            let values: Vec<_> = touched.into_iter().chain(named).collect();
            values::execute("placard_state_records", &values)
        }
    }
}

/// Reads what the batch touches, all at the moment at which the statement begins.
pub(super) async fn state(connection: &mut PgConnection, batch: &Batch) -> Result<State, Failure> {
    let scopes = batch.scopes();
    let named = named(batch);
    let text = if named.is_some() { CURRENT_WITH_RECORDS.as_str() } else { CURRENT };
    let values = touched(batch, &scopes).into_iter().chain(named.into_iter().flatten());
    let query = values.fold(sqlx::query(text), |query, value| value.bind(query));
    let rows = query.fetch_all(connection).await?;
    read(&rows)
}

/// Reads what the statement has found.
pub(super) fn read(rows: &[PgRow]) -> Result<State, Failure> {
    let (mut ads, mut kept, mut written) = (HashMap::new(), HashMap::new(), HashMap::new());
    let (mut records, mut registered) = (Vec::new(), HashSet::new());
    let mut pools_of_ads = HashSet::new();
    let mut head = None;
    // A row may have come as text, whose bytes cannot be borrowed.
    let bytes = |row: &PgRow, name: &str| row.try_get::<Vec<u8>, _>(name);
    let id =
        |bytes: Vec<u8>| Uuid::from_slice(&bytes).map_err(|_| Failure::Malformed("an identifier"));
    let sum = |bytes: Vec<u8>| bytes.try_into().map_err(|_| Failure::Malformed("a key's sum"));
    for row in rows {
        match row.try_get("kind")? {
            HEAD => {
                let level = bytes(row, "c")?.try_into();
                readable(level.map_or(0, i16::from_be_bytes).into())?;
                let now = Timestamp::from_micros(row.try_get("now")?);
                let now = now.ok_or(Failure::Malformed("a time"))?;
                let (chain, digest) = (bytes(row, "a")?, bytes(row, "b")?);
                let here = position_of(row.try_get("version")?, &chain, &digest)?;
                let standby = row.try_get::<i32, _>("item")? != 0;
                head = Some((here, now, row.try_get("writes")?, standby));
            }
            AD => {
                let encoded: Vec<u8> = row.try_get("b")?;
                ads.insert(id(bytes(row, "a")?)?, EncodedAd::from_bytes(encoded.into()));
            }
            KEPT => {
                let (scope, body) = (sum(bytes(row, "a")?)?, sum(bytes(row, "b")?)?);
                let answer = row.try_get::<Vec<u8>, _>("c")?.into();
                kept.insert(scope, KeptAnswer { scope, body, answer });
            }
            WRITTEN => {
                let item = u32::try_from(row.try_get::<i32, _>("item")?)
                    .map_err(|_| Failure::Malformed("an item"))?;
                let record = record(row, "version", "a", "b")?;
                written.insert((id(bytes(row, "c")?)?, item), record);
            }
            RECORD => {
                let kind = u8::try_from(row.try_get::<i64, _>("version")?);
                let kind = kind.ok().and_then(Kind::from_number);
                let kind = kind.ok_or(Failure::Malformed("a record's kind"))?;
                let encoded = EncodedRecord::from_bytes(kind, bytes(row, "b")?.into());
                records.push((id(bytes(row, "a")?)?, encoded));
            }
            REGISTERED => drop(registered.insert(id(bytes(row, "a")?)?)),
            POOL_OF_AD => drop(pools_of_ads.insert(id(bytes(row, "a")?)?)),
            _ => return Err(Failure::Malformed("a kind")),
        }
    }
    let (head, now, writes, standby) = head.ok_or(Failure::Malformed("a head"))?;
    let from = HeadGuard { writes, chain: head.chain };
    // A replica that decides is registered, or the register was not asked for.
    let registered = Some(registered).filter(|registered| !registered.is_empty());
    let current = Current { head, now, ads, records, pools_of_ads, registered, kept, written };
    Ok(State { current, from, standby })
}
