//! The statements on pools, holds and tombstones, inside the caller's transaction.

use std::collections::{BTreeSet, HashSet};

use placard_model::Timestamp;
use placard_model::records::{EncodedRecord, Kind};
use placard_replica::{Batch, Plan};
use rusqlite::{OptionalExtension, Transaction, params};
use uuid::Uuid;

const ONE: &str = "SELECT encoded, parent FROM records WHERE kind = ?1 AND id = ?2";
const LAPSED: &str = "
    SELECT id, encoded FROM records
     WHERE kind = ?1 AND parent = ?2 AND due <= ?3 ORDER BY due LIMIT ?4";
const AD: &str = "SELECT 1 FROM ads WHERE pool = ?1 LIMIT 1";
const PUT: &str = "
    INSERT OR REPLACE INTO records (kind, id, parent, due, encoded) VALUES (?1, ?2, ?3, ?4, ?5)";
const REMOVE: &str = "DELETE FROM records WHERE kind = ?1 AND id = ?2";

/// Reads the records that the batch touches.
pub(super) fn touched(
    transaction: &Transaction<'_>,
    batch: &Batch,
    now: Timestamp,
) -> rusqlite::Result<Vec<(Uuid, EncodedRecord)>> {
    let Some(named) = batch.named() else { return Ok(Vec::new()) };
    let mut found = Vec::new();
    let mut pools: BTreeSet<_> = named.pools.iter().copied().collect();
    let mut one = transaction.prepare_cached(ONE)?;
    let mut read = |kind: Kind, id: Uuid| {
        let row = one.query_row(params![kind.number(), id.as_bytes()], |row| {
            let parent = row.get::<_, Option<[u8; 16]>>(1)?;
            Ok((row.get::<_, Vec<u8>>(0)?, parent.map(Uuid::from_bytes)))
        });
        let row = row.optional()?;
        let parent = row.as_ref().and_then(|(_, parent)| *parent);
        found.extend(row.map(|(bytes, _)| (id, EncodedRecord::from_bytes(kind, bytes.into()))));
        Ok::<_, rusqlite::Error>(parent)
    };
    for id in &named.holds {
        pools.extend(read(Kind::Hold, *id)?);
        read(Kind::Tombstone, *id)?;
    }
    for id in &pools {
        read(Kind::Pool, *id)?;
    }
    let max = Batch::lapsed_max(&named);
    let mut lapsed = transaction.prepare_cached(LAPSED)?;
    for pool in &pools {
        let holds = Kind::Hold.number();
        let rows = lapsed.query_map(params![holds, pool.as_bytes(), now.micros(), max], |row| {
            let bytes = row.get::<_, Vec<u8>>(1)?.into();
            let record = EncodedRecord::from_bytes(Kind::Hold, bytes);
            Ok((Uuid::from_bytes(row.get(0)?), record))
        })?;
        for row in rows {
            found.push(row?);
        }
    }
    Ok(found)
}

/// Returns those of the pools that the batch names which ads name too.
pub(super) fn pools_of_ads(
    transaction: &Transaction<'_>,
    batch: &Batch,
) -> rusqlite::Result<HashSet<Uuid>> {
    let Some(named) = batch.named() else { return Ok(HashSet::new()) };
    let mut ad = transaction.prepare_cached(AD)?;
    let mut found = HashSet::new();
    for pool in named.pools {
        if ad.exists([pool.as_bytes()])? {
            found.insert(pool);
        }
    }
    Ok(found)
}

/// Writes the records of a plan down.
pub(super) fn write(transaction: &Transaction<'_>, plan: &Plan) -> rusqlite::Result<()> {
    let mut put = transaction.prepare_cached(PUT)?;
    let mut remove = transaction.prepare_cached(REMOVE)?;
    for (key, row) in &plan.records {
        match row {
            Some(row) => put.execute(params![
                key.kind.number(),
                key.id.as_bytes(),
                row.parent.as_ref().map(Uuid::as_bytes),
                row.due.map(Timestamp::micros),
                row.encoded.bytes().as_ref(),
            ])?,
            None => remove.execute(params![key.kind.number(), key.id.as_bytes()])?,
        };
    }
    Ok(())
}
