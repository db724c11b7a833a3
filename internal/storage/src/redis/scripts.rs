//! The scripts that run inside Redis, one at a time and atomically: the append, the look at the stream's top, the
//! reading of a page, and the reset. Apart from the adapter, so that the protocol between the two can be read in one
//! place.

use std::sync::LazyLock;

use placard_model::entry::{Incarnation, Record};
use placard_model::limits;
use redis::aio::MultiplexedConnection;
use redis::{RedisResult, Script, Value};

use super::top::{Top, id};

static APPEND: LazyLock<Script> =
    LazyLock::new(|| Script::new(concat!(include_str!("look.lua"), include_str!("append.lua"))));
static STATUS: LazyLock<Script> =
    LazyLock::new(|| Script::new(concat!(include_str!("look.lua"), include_str!("status.lua"))));
static PAGE: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("page.lua")));
static RESET: LazyLock<Script> =
    LazyLock::new(|| Script::new(concat!(include_str!("look.lua"), include_str!("reset.lua"))));

/// Where a journal's stream lives. One hash tag keeps both keys in one slot of a Redis that shards, and all names begin
/// alike, so that an access rule can name them. The first builds named the keys of every journal `{placard}:stream` and
/// `{placard}:top`.
#[derive(Debug)]
pub(super) struct Keys {
    pub(super) stream: String,
    pub(super) mark: String,
}

impl Keys {
    pub(super) fn new(journal: Incarnation) -> Self {
        Self {
            stream: format!("{{placard}}:{journal}:stream"),
            mark: format!("{{placard}}:{journal}:top"),
        }
    }
}

/// The key that names the journal at a place.
pub(super) fn journal_key(place: &str) -> String {
    format!("{{placard}}:journal:{place}")
}

/// What Redis says of the stream, unchecked.
#[derive(Debug)]
pub(super) struct StreamInfo {
    pub(super) id: Vec<u8>,
    pub(super) mark: Option<Vec<u8>>,
    pub(super) entries: u64,
    /// The chain of the entry that was asked for, if the stream still has that entry.
    pub(super) chain: Option<Vec<u8>>,
}

type Answer = (Vec<u8>, Option<Vec<u8>>, u64, Option<Vec<u8>>);

impl From<Answer> for StreamInfo {
    fn from((id, mark, entries, chain): Answer) -> Self {
        Self { id, mark, entries, chain }
    }
}

impl StreamInfo {
    pub(super) fn top(&self) -> Top {
        Top::read(&self.id, self.mark.as_deref())
    }
}

/// Appends records, of which there is at least one, if the top is the expected one; otherwise a look at the
/// stream, and at the entry that has the last record's version.
pub(super) async fn append(
    connection: &mut MultiplexedConnection,
    keys: &Keys,
    entries_max: Option<u64>,
    expected: Top,
    records: &[Record],
) -> RedisResult<Option<StreamInfo>> {
    let last = records.last().map_or(Top::Empty, |last| Top::At(last.version, last.chain));
    let mut call = APPEND.prepare_invoke();
    call.key(&keys.stream).key(&keys.mark);
    call.arg(expected.id()).arg(expected.mark()).arg(last.mark());
    call.arg(entries_max.map_or_else(String::new, |max| max.to_string()));
    call.arg(limits::STREAM_KEPT.as_secs());
    for record in records {
        call.arg(id(record.version)).arg(&record.chain.0[..]).arg(&record.bytes[..]);
    }
    let refused: Option<Answer> = call.invoke_async(connection).await?;
    Ok(refused.map(StreamInfo::from))
}

/// Looks at the stream, and at its entry with this id.
pub(super) async fn stream_info(
    connection: &mut MultiplexedConnection,
    keys: &Keys,
    id: &str,
) -> RedisResult<StreamInfo> {
    let mut call = STATUS.prepare_invoke();
    let answer: Answer =
        call.key(&keys.stream).key(&keys.mark).arg(id).invoke_async(connection).await?;
    Ok(answer.into())
}

/// Reads a page of the stream after an id, without waiting: entries as Redis tells them.
pub(super) async fn page(
    connection: &mut MultiplexedConnection,
    keys: &Keys,
    id: &str,
    entries_max: usize,
    bytes_max: usize,
) -> RedisResult<Value> {
    let mut call = PAGE.prepare_invoke();
    call.key(&keys.stream).arg(id).arg(entries_max).arg(bytes_max).invoke_async(connection).await
}

/// Deletes both keys, if they are still as they were seen.
pub(super) async fn reset(
    connection: &mut MultiplexedConnection,
    keys: &Keys,
    seen: &StreamInfo,
) -> RedisResult<()> {
    let mut call = RESET.prepare_invoke();
    call.key(&keys.stream).key(&keys.mark);
    call.arg(&seen.id).arg(seen.mark.as_deref().unwrap_or_default());
    call.invoke_async(connection).await
}
