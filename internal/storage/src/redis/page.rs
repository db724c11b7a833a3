//! What comes back from a read, as records. An entry that is none of ours is not skipped, or its reader would
//! never learn that the stream is spoilt: it becomes a record that every replica refuses.

use bytes::Bytes;
use placard_model::Version;
use placard_model::entry::Record;
use redis::Value;

use super::top::{UNKNOWN, chain, version};

/// The records in an answer to a read after a version; `None` if the answer has another shape. Where an entry
/// lacks its bytes or a whole chain, the record has none, and [`UNKNOWN`] for a chain. Where the id is none of
/// ours, the record moreover claims to be the next, and it is the last: what follows has such ids too.
pub(super) fn records(answer: Value, after: Version) -> Option<Vec<Record>> {
    let streams = match answer {
        Value::Nil => return Some(Vec::new()),
        answer => array(answer)?,
    };
    let stream = array(streams.into_iter().next()?)?;
    let entries = array(stream.into_iter().nth(1)?)?;
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
