//! The statements: rows in, rows out, inside the caller's transaction.

use std::collections::HashMap;

use placard_model::command::KeptAnswer;
use placard_model::entry::{Chain, Digest, Entry, FORMAT_LEVEL_MIN, Incarnation, Position, Record};
use placard_model::{Ad, EncodedAd, Timestamp, Version, limits};
use placard_replica::{Batch, Current, LogRow, Plan};
use rusqlite::{Connection, OptionalExtension, Row, Transaction, params};
use uuid::Uuid;

use super::records;

pub(super) fn head(transaction: &Connection) -> rusqlite::Result<Position> {
    let mut statement = transaction.prepare_cached("SELECT version, chain, digest FROM head")?;
    statement.query_row([], |row| {
        Ok(Position {
            version: row.get(0)?,
            chain: Chain(row.get(1)?),
            digest: Digest(u128::from_be_bytes(row.get(2)?)),
        })
    })
}

/// The format level that reading the journal needs.
pub(super) fn level(transaction: &Connection) -> rusqlite::Result<u8> {
    let mut statement = transaction.prepare_cached("SELECT level FROM journal")?;
    statement.query_row([], |row| row.get(0))
}

/// The directory's lock ensures that the file is open only once, so that its runs need not be distinguished.
pub(super) fn incarnation(transaction: &Connection) -> rusqlite::Result<Incarnation> {
    let mut statement = transaction.prepare_cached("SELECT identity FROM journal")?;
    let journal = statement.query_row([], |row| row.get(0).map(Uuid::from_bytes))?;
    Ok(Incarnation { journal, database: 0, started: Timestamp::EPOCH })
}

pub(super) fn chain_at(
    transaction: &Connection,
    version: Version,
) -> rusqlite::Result<Option<Chain>> {
    let mut statement = transaction.prepare_cached("SELECT chain FROM log WHERE version = ?1")?;
    statement.query_row([version], |row| row.get(0).map(Chain)).optional()
}

/// Reads the position behind which the log begins, if it has a record. What was before it is trimmed: the first record that
/// is left cannot be compared with anything.
pub(super) fn base(connection: &Connection) -> rusqlite::Result<Option<Position>> {
    let mut statement = connection
        .prepare_cached("SELECT version, chain, bytes FROM log ORDER BY version LIMIT 1")?;
    let first = statement.query_row([], record).optional()?;
    Ok(first.map(|first| {
        if first.version == 1 {
            return Position::START;
        }
        // The digest is that of the entry; one that cannot be decoded differs from all others.
        let digest = Entry::decode(&first.bytes).map_or(Digest(u128::MAX), |entry| entry.digest);
        Position { version: first.version, chain: first.chain, digest }
    }))
}

/// Reads the records of one page after a version; the rows behind the page are not looked at.
pub(super) fn log(
    connection: &Connection,
    after: Version,
    max: usize,
) -> rusqlite::Result<Vec<Record>> {
    let mut statement = connection.prepare_cached(
        "SELECT version, chain, bytes FROM log WHERE version > ?1 ORDER BY version LIMIT ?2",
    )?;
    let mut rows = statement.query(params![after, max])?;
    let (mut page, mut bytes) = (Vec::new(), 0);
    while let Some(row) = rows.next()? {
        let next = record(row)?;
        bytes += next.bytes.len();
        if bytes > limits::READ_BYTES_MAX && !page.is_empty() {
            break;
        }
        page.push(next);
    }
    Ok(page)
}

fn record(row: &Row<'_>) -> rusqlite::Result<Record> {
    Ok(Record {
        version: row.get(0)?,
        chain: Chain(row.get(1)?),
        bytes: row.get::<_, Vec<u8>>(2)?.into(),
    })
}

/// Reads what the batch touches.
pub(super) fn current(
    transaction: &Transaction<'_>,
    batch: &Batch,
    now: Timestamp,
) -> rusqlite::Result<Current> {
    let mut ads = HashMap::new();
    let mut ad = transaction.prepare_cached("SELECT encoded FROM ads WHERE id = ?1")?;
    for id in batch.ads() {
        let encoded: Option<Vec<u8>> =
            ad.query_row([id.as_bytes()], |row| row.get(0)).optional()?;
        ads.extend(encoded.map(|bytes| (id, EncodedAd::from_bytes(bytes.into()))));
    }
    let mut kept = HashMap::new();
    let oldest = now.saturating_add_micros(-(limits::IDEMPOTENCY_KEPT.as_micros() as i64));
    let mut answer = transaction
        .prepare_cached("SELECT body, answer FROM idempotency WHERE scope = ?1 AND at > ?2")?;
    for scope in batch.scopes() {
        let found = answer.query_row(params![scope, oldest.micros()], |row| {
            let answer = row.get::<_, Vec<u8>>(1)?.into();
            Ok(KeptAnswer { scope, body: row.get(0)?, answer })
        });
        kept.extend(found.optional()?.map(|found| (scope, found)));
    }
    let mut written = HashMap::new();
    if batch.repeated {
        let mut row = transaction
            .prepare_cached("SELECT version, chain, bytes, item FROM log WHERE request = ?1")?;
        for id in batch.request_ids() {
            let rows = row.query_map([id.as_bytes()], |row| Ok((row.get(3)?, record(row)?)))?;
            for found in rows {
                let (item, record) = found?;
                written.insert((id, item), record);
            }
        }
    }
    let head = head(transaction)?;
    let records = records::touched(transaction, batch, now)?;
    let pools_of_ads = records::pools_of_ads(transaction, batch)?;
    // The one replica of the directory is not in a table.
    let registered = None;
    Ok(Current { head, now, ads, records, pools_of_ads, registered, kept, written })
}

/// Writes a plan down.
pub(super) fn write(transaction: &Transaction<'_>, plan: &Plan) -> rusqlite::Result<()> {
    let mut log = transaction.prepare_cached(
        "INSERT INTO log (version, chain, request, item, at, bytes) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
    )?;
    for LogRow { record, request, item, at } in &plan.log {
        log.execute(params![
            record.version,
            record.chain.0,
            request.as_bytes(),
            item,
            at.micros(),
            record.bytes.as_ref(),
        ])?;
    }
    let mut put = transaction.prepare_cached(
        "INSERT OR REPLACE INTO ads (id, version, created_at, start_at, end_at, title, encoded, pool)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
    )?;
    let mut delete = transaction.prepare_cached("DELETE FROM ads WHERE id = ?1")?;
    for (id, ad) in &plan.ads {
        match ad {
            Some((Ad { version, created_at, spec, .. }, encoded)) => put.execute(params![
                id.as_bytes(),
                version,
                created_at.micros(),
                spec.start_at.micros(),
                spec.end_at.micros(),
                spec.title,
                encoded.bytes().as_ref(),
                spec.delivery.pool.as_ref().map(Uuid::as_bytes),
            ])?,
            None => delete.execute([id.as_bytes()])?,
        };
    }
    records::write(transaction, plan)?;
    let mut keep = transaction.prepare_cached(
        "INSERT OR REPLACE INTO idempotency (scope, body, answer, at) VALUES (?1, ?2, ?3, ?4)",
    )?;
    for KeptAnswer { scope, body, answer } in &plan.kept {
        keep.execute(params![scope, body, answer.as_ref(), plan.now.micros()])?;
    }
    if plan.level() > FORMAT_LEVEL_MIN {
        let mut raise = transaction.prepare_cached("UPDATE journal SET level = max(level, ?1)")?;
        raise.execute([plan.level()])?;
    }
    if !plan.log.is_empty() {
        let mut head =
            transaction.prepare_cached("UPDATE head SET version = ?1, chain = ?2, digest = ?3")?;
        let Position { version, chain, digest } = plan.head;
        head.execute(params![version, chain.0, digest.0.to_be_bytes()])?;
    }
    Ok(())
}
