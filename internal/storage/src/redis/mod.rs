//! The stream of a cluster: one Redis Stream whose entry ids are `0-<version>`, and beside it a key with the chain at
//! its top, which the script that appends writes too. Redis may forget, lose or roll back any of it, and other clients
//! may write to it: whatever does not fit is reported, and the replicas read the journal instead.
//!
//! The keys are named after the journal's incarnation, so that any number of clusters can share a Redis, copies of a
//! journal among them. Each start of PostgreSQL begins another stream; keys that nobody uses any more expire.

mod check;
mod connect;
mod connection;
mod page;
mod scripts;
mod top;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use placard_model::entry::{Chain, Incarnation, Record};
use placard_model::{Version, limits};
use placard_replica::ports::{Appended, Stream, StreamStatus, Unavailable};
use redis::aio::MultiplexedConnection;
use redis::{RedisResult, Value};
use uuid::Uuid;

pub use check::Warning;
pub use connect::{Options, OptionsError, Sentinel, Server, Tls};

use crate::page::PageBytes;
use crate::place::Place;
use connect::Target;
use connection::{Failure, ReconnectingConnection};
use scripts::{Keys, StreamInfo};
use top::{AppendStep, Top};

/// How long Redis may take to answer a call that does not wait.
const CALL: Duration = Duration::from_millis(500);
/// How long a read waits inside Redis. Not for ever: one that waits is not woken when the stream is deleted and
/// begins again below what it waits for.
const WAIT: Duration = Duration::from_millis(900);
/// How long Redis may take to answer a read.
const READ: Duration = Duration::from_millis(1_400);
/// The number of times that an append tries, when others append in between.
const TRIES: usize = 8;
/// Returns the most entries that a waiting read asks for, since Redis does not count bytes there: this many of the
/// largest entries make a page of `bytes` bytes.
const fn waited(bytes: usize) -> usize {
    let entries = bytes / limits::ENTRY_BYTES_MAX;
    if entries == 0 { 1 } else { entries }
}

/// A handle to the stream; its clones share two connections, one to read and one for all else.
///
/// A call takes at most half a second, a read 1.4 s, and a call that must connect first takes a second more (2.5 s
/// through Sentinels), and yet another second if a file with a password begins to hang. Any error of Redis or of the
/// network is [`Unavailable`], and the connection is given up: the next call makes a new one, except within 50 to 500
/// ms of a failed attempt, when it fails at once. No command is sent twice; each of them may be carried out after it
/// was given up, and is harmless then.
#[derive(Debug, Clone)]
pub struct RedisStream {
    shared: Arc<Shared>,
    /// The stream that this is a handle to, if it is one.
    named: Option<Arc<Named>>,
}

#[derive(Debug)]
struct Shared {
    entries_max: Option<u64>,
    calls: ReconnectingConnection,
    reads: ReconnectingConnection,
    /// The stream that was asked for last, so that what is known of it is kept.
    last: Mutex<Option<Arc<Named>>>,
    /// The place of the journal. Redis remembers beside the streams which journal is there.
    place: OnceLock<Place>,
}

/// The stream of one journal, and what is known of it.
#[derive(Debug)]
struct Named {
    journal: Incarnation,
    keys: Keys,
    /// Most entries that an append leaves in it.
    entries_max: Option<u64>,
    /// The stream's top as last seen: a guess that saves a look at it before each append.
    seen: Mutex<Top>,
    page: PageBytes,
    /// Whether the last read has left something unread, so that the next one need not wait.
    more: AtomicBool,
}

impl RedisStream {
    /// Makes a handle. Connections are made when they are needed, so that Redis need not be there yet.
    ///
    /// # Errors
    /// The options cannot be used, whether or not Redis is there.
    pub fn connect(options: &Options) -> Result<Self, OptionsError> {
        let shared = Shared {
            entries_max: options.entries_max,
            calls: ReconnectingConnection::new(Target::new(options)?),
            reads: ReconnectingConnection::new(Target::new(options)?),
            last: Mutex::default(),
            place: OnceLock::new(),
        };
        Ok(Self { shared: Arc::new(shared), named: None })
    }

    /// Makes Redis remember from now on which journal is at a place, once something was written to the journal. Streams
    /// themselves do not tell: any number of clusters may share a Redis.
    pub fn remember_at(&self, place: Place) {
        // One journal has one place, so the first value stays.
        let _ = self.shared.place.set(place);
    }

    /// Returns the journal that was at the place when it was last seen to have entries.
    ///
    /// # Errors
    /// Redis cannot be used.
    pub async fn remembered(&self) -> Result<Option<Uuid>, Unavailable> {
        let Some(place) = self.place() else { return Ok(None) };
        let ask = async |mut connection: MultiplexedConnection| {
            let mut get = redis::cmd("GET");
            get.arg(scripts::journal_key(place))
                .query_async::<Option<String>>(&mut connection)
                .await
        };
        let known = self.shared.calls.share(CALL, ask).await;
        known
            .map(|known| known.and_then(|known| known.parse().ok()))
            .map_err(|error| unavailable("ask Redis which journal there was", error))
    }

    /// Makes Redis forget the journal at the place, since it no longer exists.
    ///
    /// # Errors
    /// Redis cannot be used.
    pub async fn forget(&self) -> Result<(), Unavailable> {
        let Some(place) = self.place() else { return Ok(()) };
        let delete = async |mut connection: MultiplexedConnection| {
            let mut delete = redis::cmd("DEL");
            delete.arg(scripts::journal_key(place)).query_async::<()>(&mut connection).await
        };
        let done = self.shared.calls.share(CALL, delete).await;
        done.map_err(|error| unavailable("have Redis forget the journal before", error))
    }

    /// Returns the name of the journal's place, if it is known.
    fn place(&self) -> Option<&str> {
        self.shared.place.get().and_then(Place::name)
    }

    fn named(&self) -> Result<&Arc<Named>, Failure> {
        self.named.as_ref().ok_or(Failure::Unnamed)
    }

    /// Returns what about this Redis makes the stream forget more than it must. Correctness does not depend on it.
    ///
    /// # Errors
    /// Redis cannot be used.
    pub async fn check(&self) -> Result<Vec<Warning>, Unavailable> {
        let ask = async |mut connection: MultiplexedConnection| {
            redis::cmd("INFO").query_async::<String>(&mut connection).await
        };
        let info = self.shared.calls.share(CALL, ask).await;
        info.map(|info| check::warnings(&info))
            .map_err(|error| unavailable("ask Redis what it is", error))
    }
}

impl Named {
    fn seen(&self) -> MutexGuard<'_, Top> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Appends records that follow each other; `None` if others kept changing the stream.
    async fn append(
        &self,
        mut connection: MultiplexedConnection,
        records: &[Record],
    ) -> RedisResult<Option<Appended>> {
        let Some(last) = records.last() else { return Ok(Some(Appended::Done)) };
        let mut top = *self.seen();
        for _ in 0..TRIES {
            let (connection, keys) = (&mut connection, &self.keys);
            let info = match top.step(records) {
                AppendStep::Append(there) if there < records.len() => {
                    let new = &records[there..];
                    scripts::append(connection, keys, self.entries_max, top, new).await?
                }
                // A guess is enough for an append, but not for a refusal.
                _ => Some(scripts::stream_info(connection, keys, &top::id(last.version)).await?),
            };
            top = info.as_ref().map_or(Top::At(last.version, last.chain), StreamInfo::top);
            *self.seen() = top;
            let Some(info) = info else { return Ok(Some(Appended::Done)) };
            match top.step(records) {
                AppendStep::Append(there) if there < records.len() => {}
                AppendStep::Append(_) => return Ok(Some(Appended::Done)),
                AppendStep::Compare => {
                    let same = info.chain.is_none_or(|chain| chain == last.chain.0);
                    return Ok(Some(if same { Appended::Done } else { Appended::Fork }));
                }
                AppendStep::Behind(top) => return Ok(Some(Appended::Behind { top })),
                AppendStep::Fork => return Ok(Some(Appended::Fork)),
            }
        }
        Ok(None)
    }

    /// Reads a page's entries; `None` if the answer has another shape.
    async fn read(
        &self,
        mut connection: MultiplexedConnection,
        after: Version,
        max: usize,
        bytes_max: usize,
    ) -> RedisResult<Option<Value>> {
        let (keys, id) = (&self.keys, top::id(after));
        if self.more.swap(false, Ordering::Relaxed) {
            let page = scripts::page(&mut connection, keys, &id, max, bytes_max).await?;
            if page != Value::Array(Vec::new()) {
                self.more.store(true, Ordering::Relaxed);
                return Ok(Some(page));
            }
        }
        let (mut read, count) = (redis::cmd("XREAD"), max.min(waited(bytes_max)));
        read.arg("COUNT").arg(count).arg("BLOCK").arg(WAIT.as_millis() as u64);
        read.arg("STREAMS").arg(&keys.stream).arg(id);
        let entries = page::entries(read.query_async(&mut connection).await?);
        let full = matches!(&entries, Some(Value::Array(entries)) if entries.len() >= count);
        self.more.store(full, Ordering::Relaxed);
        Ok(entries)
    }

    async fn reset(
        &self,
        mut connection: MultiplexedConnection,
        top: (Version, Chain),
    ) -> RedisResult<()> {
        let seen = scripts::stream_info(&mut connection, &self.keys, &top::id(0)).await?;
        if seen.top().shown() == Some(top) {
            scripts::reset(&mut connection, &self.keys, &seen).await?;
        }
        Ok(())
    }

    async fn trim(
        &self,
        mut connection: MultiplexedConnection,
        place: Option<&str>,
        keep: Version,
        max: usize,
    ) -> RedisResult<()> {
        let stream = &self.keys.stream;
        let mut trim = redis::pipe();
        trim.cmd("XTRIM").arg(stream).arg("MINID").arg("=").arg(top::id(keep)).ignore();
        trim.cmd("XTRIM").arg(stream).arg("MAXLEN").arg("=").arg(max).ignore();
        // A replica that trims the stream uses it.
        for key in [stream, &self.keys.mark] {
            trim.cmd("EXPIRE").arg(key).arg(limits::STREAM_KEPT.as_secs()).ignore();
        }
        if let Some(place) = place {
            let key = scripts::journal_key(place);
            let kept = limits::JOURNAL_REMEMBERED.as_secs();
            let journal = self.journal.journal.to_string();
            trim.cmd("SET").arg(key).arg(journal).arg("EX").arg(kept).ignore();
        }
        trim.query_async(&mut connection).await
    }
}

fn unavailable(what: &'static str, error: Failure) -> Unavailable {
    Unavailable(what, error.into())
}

impl Stream for RedisStream {
    fn of(&self, journal: Incarnation) -> Self {
        let shared = &self.shared;
        let mut last = shared.last.lock().unwrap_or_else(PoisonError::into_inner);
        let known = last.take().filter(|named| named.journal == journal);
        let named = known.unwrap_or_else(|| {
            Arc::new(Named {
                journal,
                keys: Keys::new(journal),
                entries_max: shared.entries_max,
                seen: Mutex::new(Top::Empty),
                page: PageBytes::default(),
                more: AtomicBool::new(false),
            })
        });
        *last = Some(Arc::clone(&named));
        Self { shared: Arc::clone(shared), named: Some(named) }
    }

    /// If the records do not all follow each other, those up to the first that does not are appended, and the rest is a
    /// fork. Entries in the stream beyond its mark are a fork too, no matter which client put them there. Large runs
    /// are appended in portions, each with its own deadline.
    async fn append(&self, records: Arc<[Record]>) -> Result<Appended, Unavailable> {
        const WHAT: &str = "append to the stream";
        let shared = &self.shared;
        let named = self.named().map_err(|error| unavailable(WHAT, error))?;
        let (run, rest) = records.split_at(top::consecutive(&records));
        let mut left = run;
        while !left.is_empty() {
            let (portion, later) = left.split_at(top::portion(left));
            let work = |connection| named.append(connection, portion);
            let appended = shared.calls.share(CALL, work).await;
            let appended = appended.and_then(|appended| appended.ok_or(Failure::Busy));
            match appended.map_err(|error| unavailable(WHAT, error))? {
                Appended::Done => left = later,
                refused => return Ok(refused),
            }
        }
        Ok(if rest.is_empty() { Appended::Done } else { Appended::Fork })
    }

    /// An entry that is not ours is read as a record that no replica applies: without bytes, with an impossible chain,
    /// and as the next version if its id is not a version.
    async fn read(&self, after: Version, max: usize) -> Result<Vec<Record>, Unavailable> {
        const WHAT: &str = "read the stream";
        let shared = &self.shared;
        let named = self.named().map_err(|error| unavailable(WHAT, error))?;
        let (page, bound) = (&named.page, named.page.bound());
        let read = |connection| named.read(connection, after, max, bound);
        let answer = shared.reads.own(READ, read).await;
        let records = answer.and_then(|entries| {
            entries.and_then(|entries| page::records(entries, after)).ok_or(Failure::Shape)
        });
        if let Some(last) = records.as_ref().ok().and_then(|records| records.last()) {
            let mut seen = named.seen();
            if seen.shown().is_none_or(|(version, _)| version < last.version) {
                *seen = Top::At(last.version, last.chain);
            }
        }
        match &records {
            Ok(records) => page.came(bound, records.iter().map(|record| record.bytes.len()).sum()),
            Err(Failure::Late(_)) => page.late(bound),
            Err(_) => {}
        }
        records.map_err(|error| unavailable(WHAT, error))
    }

    /// A top whose chain is not known, because the mark is lost or something else lies there, is shown with a
    /// chain of zeros, and one whose id is no version as the highest that a journal can count.
    async fn status(&self) -> Result<StreamStatus, Unavailable> {
        const WHAT: &str = "ask the stream for its top";
        let shared = &self.shared;
        let named = self.named().map_err(|error| unavailable(WHAT, error))?;
        let ask = async |mut connection: MultiplexedConnection| {
            scripts::stream_info(&mut connection, &named.keys, &top::id(0)).await
        };
        let info = shared.calls.share(CALL, ask).await.map_err(|error| unavailable(WHAT, error))?;
        Ok(StreamStatus { top: info.top().shown(), entries: info.entries })
    }

    /// The top is compared as [`RedisStream::status`] shows it.
    async fn reset(&self, top: Version, chain: Chain) -> Result<(), Unavailable> {
        const WHAT: &str = "reset the stream";
        let shared = &self.shared;
        let named = self.named().map_err(|error| unavailable(WHAT, error))?;
        let work = |connection| named.reset(connection, (top, chain));
        let done = shared.calls.share(CALL, work).await;
        done.map_err(|error| unavailable(WHAT, error))
    }

    /// While the journal has entries, it is remembered as the one that was at its place.
    async fn trim(&self, keep: Version, max: usize, head: Version) -> Result<(), Unavailable> {
        const WHAT: &str = "trim the stream";
        let shared = &self.shared;
        let named = self.named().map_err(|error| unavailable(WHAT, error))?;
        let place = self.place().filter(|_| head > 0);
        let work = |connection| named.trim(connection, place, keep, max);
        let done = shared.calls.share(CALL, work).await;
        done.map_err(|error| unavailable(WHAT, error))
    }
}
