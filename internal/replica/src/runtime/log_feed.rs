//! Reads of the log for clients that follow it, from where one has come up to what is published. One of them reads the journal
//! at a time, and those that are near the end share what it has read.

use std::collections::VecDeque;
use std::fmt;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use placard_engine::Reader;
use placard_model::entry::{Position, Record};
use placard_model::{Cursor, Version, limits};
use tokio::sync::{Semaphore, watch};

use super::outage::Outage;
use super::state::State;
use crate::ports::{Journal, Unavailable};

/// Most bytes of records that are kept for those that are near the end.
const RECENT_BYTES_MAX: usize = 2 * limits::READ_BYTES_MAX;
/// Most such records.
const RECENT_ENTRIES_MAX: usize = 4 * limits::READ_ENTRIES_MAX;

/// The reason why a cursor has no next page.
#[derive(Debug, thiserror::Error)]
pub enum FeedError {
    /// The log does not reach back to the cursor.
    #[error("the log begins later")]
    Trimmed {
        /// The log's first entry; `None` if it has none that are published.
        first: Option<Version>,
    },
    /// The journal's history has no such entry.
    #[error("the cursor is not in the journal's history")]
    Replaced,
    /// The journal could not be asked.
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
}

/// Reads a page of the journal's log.
struct ReadLog(Box<dyn Fn(Version) -> Reading + Send + Sync>);

type Reading = Pin<Box<dyn Future<Output = Result<Vec<Record>, Unavailable>> + Send>>;

/// The published log. Cloning it is cheap.
#[derive(Debug, Clone)]
pub struct LogFeed(Arc<Inner>);

struct Inner {
    read: ReadLog,
    reader: Reader,
    state: watch::Receiver<State>,
    /// A permit to read the journal: its connections are there for the replica first.
    reading: Semaphore,
    recent: Mutex<Recent>,
    outage: Mutex<Outage>,
}

impl fmt::Debug for Inner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LogFeed").field("recent", &self.recent).finish_non_exhaustive()
    }
}

impl LogFeed {
    pub(super) fn new<J: Journal>(
        journal: J,
        reader: Reader,
        state: watch::Receiver<State>,
    ) -> Self {
        let read = move |after| -> Reading {
            let journal = journal.clone();
            Box::pin(async move { journal.log(after, limits::READ_ENTRIES_MAX).await })
        };
        Self(Arc::new(Inner {
            read: ReadLog(Box::new(read)),
            reader,
            state,
            reading: Semaphore::new(1),
            recent: Mutex::default(),
            outage: Mutex::new(
                Outage::of("the log cannot be read for clients that follow it")
                    .tried_every(limits::FEED_RETRY),
            ),
        }))
    }

    /// Returns the entries that follow a cursor and are published, in order and without holes: at most `max`, and at most as
    /// many bytes as a page of the log has. The page is empty if the cursor is at the published position.
    ///
    /// # Errors
    /// The log does not reach back, the journal has another history, or it cannot be asked.
    pub async fn after(&self, cursor: Cursor, max: usize) -> Result<Vec<Record>, FeedError> {
        if let Some(page) = self.without_reading(cursor, max)? {
            return Ok(page);
        }
        // The semaphore is never closed.
        let _one = self.0.reading.acquire().await;
        // Another reader may have read them meanwhile.
        if let Some(page) = self.without_reading(cursor, max)? {
            return Ok(page);
        }
        // Before the read: what the journal has by then is more than that, never less.
        let (published, history) = (self.0.reader.published(), self.history());
        let read = (self.0.read.0)(cursor.version).await;
        self.0.outage.lock().unwrap_or_else(PoisonError::into_inner).is(&read);
        let mut page = following(cursor, read?, published)?;
        if self.history() == history {
            self.recent().take(&page);
        }
        page.truncate(max);
        Ok(page)
    }

    /// Returns the page if the journal need not be asked for it.
    fn without_reading(
        &self,
        cursor: Cursor,
        max: usize,
    ) -> Result<Option<Vec<Record>>, FeedError> {
        let published = self.0.reader.published();
        if cursor.is(published) {
            return Ok(Some(Vec::new()));
        }
        if cursor.version >= published.version {
            return Err(FeedError::Replaced);
        }
        Ok(self.recent().page(cursor, max, published))
    }

    /// Waits until the published position is not the cursor's any more. Returns false if the replica has stopped.
    pub async fn moved(&self, cursor: Cursor) -> bool {
        let mut state = self.0.state.clone();
        loop {
            // First, because readers see a position before the state says it.
            state.mark_unchanged();
            if !cursor.is(self.0.reader.published()) {
                return true;
            }
            if state.changed().await.is_err() {
                return false;
            }
        }
    }

    /// Returns the number of histories that the replica has found to be lost, or wrong.
    fn history(&self) -> u64 {
        self.0.state.borrow().history
    }

    /// Returns the recent records, none if they may be of a lost history.
    fn recent(&self) -> MutexGuard<'_, Recent> {
        let history = self.history();
        let mut recent = self.0.recent.lock().unwrap_or_else(PoisonError::into_inner);
        if recent.history != history {
            *recent = Recent { history, ..Recent::default() };
        }
        recent
    }
}

/// Returns those of the records that are published, if they are what follows the cursor in the published history.
fn following(
    cursor: Cursor,
    mut records: Vec<Record>,
    published: Position,
) -> Result<Vec<Record>, FeedError> {
    records.retain(|record| record.version <= published.version);
    let first = records.first().map(|first| first.version);
    if first.is_none_or(|first| first > cursor.version.saturating_add(1)) {
        return Err(FeedError::Trimmed { first });
    }
    let mut at = cursor;
    for record in &records {
        let is_published = record.version < published.version || record.chain == published.chain;
        if !at.is_before(record) || !is_published {
            return Err(FeedError::Replaced);
        }
        at = Cursor::at(record);
    }
    Ok(records)
}

/// The newest records that were read for any client: each follows the one before it.
#[derive(Debug, Default)]
struct Recent {
    /// [`State::history`] when they were read.
    history: u64,
    records: VecDeque<Record>,
    bytes: usize,
}

impl Recent {
    /// Returns what follows the cursor, if it is here and is published. What is here of another history than the published one
    /// is forgotten.
    fn page(&mut self, cursor: Cursor, max: usize, published: Position) -> Option<Vec<Record>> {
        let oldest = self.records.front()?.version;
        let at = |version: Version| usize::try_from(version.checked_sub(oldest)?).ok();
        let newest = at(published.version).and_then(|nth| self.records.get(nth));
        if newest.is_some_and(|newest| newest.chain != published.chain) {
            self.forget();
            return None;
        }
        let next = at(cursor.version + 1)?;
        self.records.get(next).filter(|record| cursor.is_before(record))?;
        let records = self.records.range(next..);
        let records = records.take_while(|record| record.version <= published.version);
        let count = Record::page(records.clone(), max);
        (count > 0).then(|| records.take(count).cloned().collect())
    }

    fn forget(&mut self) {
        *self = Self { history: self.history, ..Self::default() };
    }

    /// Takes records that were read, each of which follows the one before it, unless newer ones are here.
    fn take(&mut self, read: &[Record]) {
        let (Some(first), Some(last)) = (read.first(), read.last()) else { return };
        let newest = self.records.back().map(Cursor::at);
        if newest.is_some_and(|newest| newest.version >= last.version) {
            return;
        }
        if !newest.is_some_and(|newest| newest.is_before(first)) {
            self.forget();
        }
        self.bytes += read.iter().map(|record| record.bytes.len()).sum::<usize>();
        self.records.extend(read.iter().cloned());
        while self.bytes > RECENT_BYTES_MAX || self.records.len() > RECENT_ENTRIES_MAX {
            let Some(oldest) = self.records.pop_front() else { break };
            self.bytes -= oldest.bytes.len();
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use placard_model::entry::{Chain, Digest};

    use super::*;

    /// A history of this many records, whose bytes say which it is.
    fn history(name: &'static str, records: u64) -> Vec<Record> {
        let bytes = Bytes::from_static(name.as_bytes());
        let next = |chain: &mut Chain, version| {
            *chain = chain.next(version, &bytes);
            Some(Record { version, chain: *chain, bytes: bytes.clone() })
        };
        (1..=records).scan(Chain::GENESIS, next).collect()
    }

    fn position(record: &Record) -> Position {
        Position { version: record.version, chain: record.chain, digest: Digest(0) }
    }

    fn versions(records: &[Record]) -> Vec<Version> {
        records.iter().map(|record| record.version).collect()
    }

    #[test]
    fn page_ends_at_the_published_position() {
        let log = history("one", 5);
        let page = following(Cursor::at(&log[0]), log[1..].to_vec(), position(&log[3]));
        assert_eq!(versions(&page.unwrap()), [2, 3, 4]);
        let version_only = Cursor { version: 1, chain: None };
        let page = following(version_only, log[1..].to_vec(), position(&log[3]));
        assert_eq!(versions(&page.unwrap()), [2, 3, 4]);
    }

    #[test]
    fn log_that_begins_later_is_trimmed() {
        let log = history("one", 5);
        for (read, first) in [(&log[2..], Some(3)), (&log[4..], None), (&[], None)] {
            let page = following(Cursor::at(&log[0]), read.to_vec(), position(&log[3]));
            let Err(FeedError::Trimmed { first: found }) = page else { panic!("{page:?}") };
            assert_eq!(found, first);
        }
    }

    #[test]
    fn records_of_another_history_are_refused() {
        let (one, other) = (history("one", 5), history("other", 5));
        let is_refused = |cursor, read: &[Record], published| {
            let page = following(cursor, read.to_vec(), position(published));
            matches!(page, Err(FeedError::Replaced))
        };
        assert!(is_refused(Cursor::at(&one[0]), &other[1..], &other[4]));
        assert!(is_refused(Cursor { version: 1, chain: None }, &one[1..], &other[4]));
        let mixed = [&one[1..3], &other[3..]].concat();
        assert!(is_refused(Cursor::at(&one[0]), &mixed, &other[4]));
        let with_a_hole = [&one[1..2], &one[3..]].concat();
        assert!(is_refused(Cursor::at(&one[0]), &with_a_hole, &one[4]));
        assert!(!is_refused(Cursor::at(&one[0]), &one[1..], &one[4]));
    }

    #[test]
    fn recent_records_serve_only_their_own_history() {
        let (one, other) = (history("one", 9), history("other", 9));
        let mut recent = Recent::default();
        let newest = position(&one[8]);
        assert!(recent.page(Cursor::START, 9, newest).is_none());
        recent.take(&one[2..5]);
        recent.take(&one[5..9]);
        let mut page = |cursor, max, published| {
            recent.page(cursor, max, published).map(|page| versions(&page))
        };
        assert_eq!(page(Cursor::at(&one[1]), 9, newest), Some((3..=9).collect()));
        assert_eq!(page(Cursor::at(&one[3]), 2, newest), Some(vec![5, 6]));
        assert_eq!(page(Cursor::at(&one[3]), 9, position(&one[5])), Some(vec![5, 6]));
        assert_eq!(page(Cursor { version: 7, chain: None }, 9, newest), Some(vec![8, 9]));
        for elsewhere in [Cursor::START, Cursor::at(&one[8]), Cursor::at(&other[3])] {
            assert_eq!(page(elsewhere, 9, newest), None);
        }
        // What is published says that they are of a lost history.
        assert_eq!(page(Cursor::at(&one[1]), 9, position(&other[6])), None);
        assert_eq!(page(Cursor::at(&one[1]), 9, newest), None, "they are forgotten");
    }

    #[test]
    fn recent_records_are_the_newest_and_bounded() {
        let log = history("one", 3 * RECENT_ENTRIES_MAX as u64);
        let mut recent = Recent::default();
        for page in log.chunks(limits::READ_ENTRIES_MAX) {
            recent.take(page);
            assert!(recent.records.len() <= RECENT_ENTRIES_MAX);
        }
        let newest = log.last().expect("there are records");
        assert_eq!(recent.records.back(), Some(newest));
        let bytes = recent.records.iter().map(|record| record.bytes.len()).sum::<usize>();
        assert_eq!(recent.bytes, bytes);
        // A client that catches up does not take the place of the newest.
        recent.take(&log[..100]);
        assert_eq!(recent.records.back(), Some(newest));
        let large = Record { version: 1, chain: Chain::GENESIS, bytes: vec![0; 300 << 10].into() };
        let mut recent = Recent::default();
        for version in 1..100 {
            recent.take(&[Record { version, ..large.clone() }]);
            assert!(recent.bytes <= RECENT_BYTES_MAX);
        }
        assert_eq!(recent.records.back().map(|record| record.version), Some(99));
    }
}
