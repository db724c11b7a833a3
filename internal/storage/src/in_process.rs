//! The stream of a replica that is alone: a bounded list of the newest records, in this process.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use placard_model::entry::{Chain, Incarnation, Record};
use placard_model::{Version, limits};
use placard_replica::ports::{Appended, Stream, StreamStatus, Unavailable};
use tokio::sync::Notify;

/// Longest wait of a read for a record to come.
const READ_WAIT: Duration = Duration::from_secs(1);

/// A handle to the stream; its clones share it.
#[derive(Debug, Clone, Default)]
pub struct InProcess {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    stored: Mutex<Stored>,
    appended: Notify,
}

#[derive(Debug, Default)]
struct Stored {
    /// The newest records, consecutive.
    records: VecDeque<Record>,
    /// The newest there ever was.
    top: Option<(Version, Chain)>,
}

impl InProcess {
    fn stored(&self) -> MutexGuard<'_, Stored> {
        self.shared.stored.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn after(&self, version: Version, max: usize) -> Vec<Record> {
        let records = &self.stored().records;
        let first = records.partition_point(|record| record.version <= version);
        let newer = || records.iter().skip(first);
        newer().take(Record::page(newer(), max)).cloned().collect()
    }
}

impl Stored {
    fn append(&mut self, record: &Record) -> Appended {
        match self.top {
            Some((top, _)) if record.version > top + 1 => return Appended::Behind { top },
            Some((top, _)) if record.version <= top => {
                let at = self.records.binary_search_by_key(&record.version, |known| known.version);
                let known = at.map_or(record.chain, |at| self.records[at].chain);
                return if known == record.chain { Appended::Done } else { Appended::Fork };
            }
            Some((_, chain)) if chain.next(record.version, &record.bytes) != record.chain => {
                return Appended::Fork;
            }
            _ => {}
        }
        if self.records.len() >= limits::STREAM_ENTRIES_MAX {
            self.records.pop_front();
        }
        self.records.push_back(record.clone());
        self.top = Some((record.version, record.chain));
        Appended::Done
    }
}

impl Stream for InProcess {
    /// The journal is this process' own, and there is no other.
    fn of(&self, _: Incarnation) -> Self {
        self.clone()
    }

    async fn append(&self, new: Arc<[Record]>) -> Result<Appended, Unavailable> {
        let mut stored = self.stored();
        let refused =
            new.iter().map(|record| stored.append(record)).find(|one| *one != Appended::Done);
        drop(stored);
        self.shared.appended.notify_waiters();
        Ok(refused.unwrap_or(Appended::Done))
    }

    async fn read(&self, after: Version, max: usize) -> Result<Vec<Record>, Unavailable> {
        let appended = self.shared.appended.notified();
        tokio::pin!(appended);
        // Registered before the first look, so that nothing can be appended unseen in between.
        appended.as_mut().enable();
        let records = self.after(after, max);
        if !records.is_empty() {
            return Ok(records);
        }
        // The second look tells whether it came.
        let _ = tokio::time::timeout(READ_WAIT, appended).await;
        Ok(self.after(after, max))
    }

    async fn status(&self) -> Result<StreamStatus, Unavailable> {
        let stored = self.stored();
        Ok(StreamStatus { top: stored.top, entries: stored.records.len() as u64 })
    }

    async fn reset(&self, top: Version, chain: Chain) -> Result<(), Unavailable> {
        let mut stored = self.stored();
        if stored.top == Some((top, chain)) {
            *stored = Stored::default();
        }
        Ok(())
    }

    async fn trim(&self, keep: Version, max: usize, _: Version) -> Result<(), Unavailable> {
        let records = &mut self.stored().records;
        let old = records.partition_point(|record| record.version < keep);
        let surplus = records.len().saturating_sub(max);
        records.drain(..old.max(surplus));
        Ok(())
    }
}
