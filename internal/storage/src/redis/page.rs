//! Turns the answer to a read into records. An entry that is not ours is not skipped, or its reader would never learn
//! that the stream is spoilt: it becomes a record that every replica refuses.

use bytes::Bytes;
use placard_model::Version;
use placard_model::entry::Record;
use redis::Value;

use super::top::{UNKNOWN, chain, version};

/// Returns the entries in an answer to `XREAD` of one stream; `None` if the answer has another shape.
pub(super) fn entries(answer: Value) -> Option<Value> {
    match answer {
        Value::Nil => Some(Value::Array(Vec::new())),
        answer => array(array(answer)?.into_iter().next()?)?.into_iter().nth(1),
    }
}

/// Returns the records in entries after a version; `None` if the entries have another shape. If an entry lacks its
/// bytes or a whole chain, the record has no bytes, and [`UNKNOWN`] for a chain. If the id is not ours, the record also
/// claims to be the next version, and it is the last: what follows has such ids too.
pub(super) fn records(entries: Value, after: Version) -> Option<Vec<Record>> {
    let entries = array(entries)?;
    let mut records = Vec::with_capacity(entries.len());
    let mut newest = after;
    for entry in entries {
        let mut parts = array(entry)?.into_iter();
        let (id, fields) = (bytes(parts.next()?)?, parts.next()?);
        let Some(version) = version(&id) else {
            records.push(refused(newest.saturating_add(1)));
            break;
        };
        records.push(record(version, fields).unwrap_or_else(|| refused(version)));
        newest = version;
    }
    Some(records)
}

fn record(version: Version, fields: Value) -> Option<Record> {
    let (mut its_chain, mut its_bytes) = (None, None);
    let mut fields = array(fields)?.into_iter();
    while let (Some(name), Some(value)) = (fields.next(), fields.next()) {
        match &bytes(name)?[..] {
            b"chain" => its_chain = chain(&bytes(value)?),
            b"entry" => its_bytes = Some(Bytes::from(bytes(value)?)),
            _ => {}
        }
    }
    Some(Record { version, chain: its_chain?, bytes: its_bytes? })
}

fn refused(version: Version) -> Record {
    Record { version, chain: UNKNOWN, bytes: Bytes::new() }
}

fn array(value: Value) -> Option<Vec<Value>> {
    match value {
        Value::Array(values) => Some(values),
        _ => None,
    }
}

fn bytes(value: Value) -> Option<Vec<u8>> {
    match value {
        Value::BulkString(bytes) => Some(bytes),
        _ => None,
    }
}
