//! The stream of a replica that is alone: a bounded list of the newest records, in this process.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use placard_model::entry::Record;
use placard_model::{Version, limits};
use placard_replica::ports::{Appended, Stream, Unavailable};
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
    /// The newest records, consecutive.
    records: Mutex<VecDeque<Record>>,
    appended: Notify,
}

impl InProcess {
    fn records(&self) -> MutexGuard<'_, VecDeque<Record>> {
        self.shared.records.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn after(&self, version: Version, max: usize) -> Vec<Record> {
        let records = self.records();
        let first = records.partition_point(|record| record.version <= version);
        records.iter().skip(first).take(max).cloned().collect()
    }
}

impl Stream for InProcess {
    async fn append(&self, new: Arc<[Record]>) -> Result<Appended, Unavailable> {
        let mut records = self.records();
        for record in new.iter() {
            let Some(last) = records.back() else {
                records.push_back(record.clone());
                continue;
            };
            if record.version > last.version + 1 {
                return Ok(Appended::Behind { top: last.version });
            }
            if record.version == last.version + 1 {
                if last.chain.next(record.version, &record.bytes) != record.chain {
                    return Ok(Appended::Fork);
                }
                records.push_back(record.clone());
                continue;
            }
            let at = records.binary_search_by_key(&record.version, |known| known.version);
            if at.is_ok_and(|at| records[at].chain != record.chain) {
                return Ok(Appended::Fork);
            }
        }
        let surplus = records.len().saturating_sub(limits::STREAM_ENTRIES_MAX);
        records.drain(..surplus);
        drop(records);
        self.shared.appended.notify_waiters();
        Ok(Appended::Done)
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
        // Whether it came or not, the second look tells.
        let _ = tokio::time::timeout(READ_WAIT, appended).await;
        Ok(self.after(after, max))
    }
}
