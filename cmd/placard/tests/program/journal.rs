//! The journal's file, read by itself: the log and its two sums are computed again, from the first entry on.

use std::collections::BTreeMap;
use std::path::Path;

use placard_model::EncodedAd;
use placard_model::entry::{Change, Entry};
use placard_testkit::ledger::Known;
use rusqlite::{Connection, OpenFlags};
use sha2::{Digest, Sha256};
use uuid::Uuid;

/// The contents of the file, which were checked to be consistent.
pub(crate) struct Journal {
    /// The version of the head; the log has exactly the versions up to it.
    pub(crate) version: u64,
    /// The ads.
    pub(crate) ads: BTreeMap<Uuid, Known>,
}

struct LogRow {
    version: u64,
    chain: [u8; 32],
    request: [u8; 16],
    item: u32,
    bytes: Vec<u8>,
}

/// Reads the journal of this directory, and checks that the log has no hole, that chain and digest are right
/// at every entry, and that the ads and the head are what the log amounts to.
pub(crate) fn read(directory: &Path) -> Journal {
    let file = directory.join("journal.sqlite");
    let mut connection = Connection::open_with_flags(file, OpenFlags::SQLITE_OPEN_READ_ONLY)
        .expect("the file opens");
    let transaction = connection.transaction().expect("the file can be read");
    let log = log(&transaction);
    let stored = ads(&transaction);
    let head = transaction.query_row("SELECT version, chain, digest FROM head", [], |row| {
        Ok((row.get(0)?, row.get(1)?, row.get(2)?))
    });
    let (version, chain, digest): (u64, [u8; 32], [u8; 16]) = head.expect("there is a head");

    let (mut sum, mut total) = ([0; 32], 0u128);
    let mut ads: BTreeMap<Uuid, EncodedAd> = BTreeMap::new();
    for (expected, row) in (1..).zip(&log) {
        assert_eq!(row.version, expected, "the log has a hole");
        sum = Sha256::new()
            .chain_update(sum)
            .chain_update(row.version.to_be_bytes())
            .chain_update(&row.bytes)
            .finalize()
            .into();
        assert_eq!(row.chain, sum, "the chain breaks at {expected}");
        let entry = Entry::decode(&row.bytes.clone().into()).expect("an entry can be decoded");
        assert_eq!((entry.request.into_bytes(), entry.item), (row.request, row.item));
        let (old, new) = match entry.change {
            Change::Put(ad) => {
                let id = ad.decode().expect("an ad can be decoded").id;
                let new = share(&ad);
                (ads.insert(id, ad), new)
            }
            Change::Delete(id) => (ads.remove(&id), 0),
            other => panic!("no ad is in {other:?}"),
        };
        total = total.wrapping_sub(old.as_ref().map_or(0, share)).wrapping_add(new);
        assert_eq!(entry.digest.0, total, "the digest of entry {expected} is wrong");
    }
    assert_eq!((version, chain), (log.len() as u64, sum), "the head is not the log's end");
    assert_eq!(u128::from_be_bytes(digest), total, "the head's digest is wrong");
    assert_eq!(stored, ads, "the ads are not what the log amounts to");
    let known = |ad: &EncodedAd| {
        let ad = ad.decode().expect("an ad can be decoded");
        Known { version: ad.version, title: ad.spec.title }
    };
    Journal { version, ads: ads.iter().map(|(id, ad)| (*id, known(ad))).collect() }
}

/// An ad's share in the digest.
fn share(ad: &EncodedAd) -> u128 {
    let sum: [u8; 32] = Sha256::digest(ad.bytes()).into();
    sum[..16].iter().fold(0, |share, byte| share << 8 | u128::from(*byte))
}

fn log(connection: &Connection) -> Vec<LogRow> {
    let mut statement = connection
        .prepare("SELECT version, chain, request, item, bytes FROM log ORDER BY version")
        .expect("there is a log");
    let rows = statement.query_map([], |row| {
        Ok(LogRow {
            version: row.get(0)?,
            chain: row.get(1)?,
            request: row.get(2)?,
            item: row.get(3)?,
            bytes: row.get(4)?,
        })
    });
    rows.and_then(Iterator::collect).expect("the log can be read")
}

fn ads(connection: &Connection) -> BTreeMap<Uuid, EncodedAd> {
    let mut statement = connection.prepare("SELECT id, encoded FROM ads").expect("there are ads");
    let rows = statement.query_map([], |row| {
        let (id, bytes): ([u8; 16], Vec<u8>) = (row.get(0)?, row.get(1)?);
        Ok((Uuid::from_bytes(id), EncodedAd::from_bytes(bytes.into())))
    });
    rows.and_then(Iterator::collect).expect("the ads can be read")
}
