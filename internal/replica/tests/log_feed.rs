//! Tests how clients follow the log of a running replica.

#![allow(clippy::disallowed_methods, reason = "tests use clocks, chance and tasks as they like")]

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use placard_model::entry::{Position, Record};
use placard_model::{Cursor, Encoded, Timestamp, Version};
use placard_replica::ports::{
    CommitError, Head, Heartbeat, Journal, NoCheckpoints, PollError, Unavailable,
};
use placard_replica::{Batch, Config, FeedError, Handle, Plan, Replica, Reply};
use placard_testkit::contract::batch;
use placard_testkit::models::{ModelJournal, ModelStream};
use placard_testkit::requests::{create, request};
use placard_testkit::wait::until;
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;
use uuid::Uuid;

/// A journal that can be replaced by another one, and whose reads are counted and can be held.
#[derive(Clone)]
struct Watched {
    journal: Arc<Mutex<ModelJournal>>,
    reads: Arc<AtomicUsize>,
    permits: Arc<Semaphore>,
}

impl Watched {
    fn new() -> Self {
        Self {
            journal: Arc::new(Mutex::new(empty())),
            reads: Arc::default(),
            permits: Arc::new(Semaphore::new(1)),
        }
    }

    fn now(&self) -> ModelJournal {
        self.journal.lock().expect("no test has panicked").clone()
    }
}

fn empty() -> ModelJournal {
    ModelJournal::new(Timestamp::parse("2026-01-01T00:00:00Z").expect("a constant"))
}

impl Journal for Watched {
    async fn commit(&self, batch: Arc<Batch>) -> Result<Plan, CommitError> {
        self.now().commit(batch).await
    }

    async fn poll(&self, heartbeat: Heartbeat, at: Version) -> Result<Head, PollError> {
        self.now().poll(heartbeat, at).await
    }

    async fn leave(&self, replica: Uuid) -> Result<(), Unavailable> {
        self.now().leave(replica).await
    }

    async fn log(&self, after: Version, max: usize) -> Result<Vec<Record>, Unavailable> {
        self.reads.fetch_add(1, Ordering::Relaxed);
        let _held = self.permits.acquire().await.expect("it is never closed");
        self.now().log(after, max).await
    }

    async fn snapshot(&self, chunks: mpsc::Sender<Vec<Encoded>>) -> Result<Position, Unavailable> {
        self.now().snapshot(chunks).await
    }

    async fn exclusively(
        &self,
        work: impl Future<Output = ()> + Send,
    ) -> Result<bool, Unavailable> {
        self.now().exclusively(work).await
    }
}

/// Writes an ad.
async fn write(handle: &Handle, nth: u128) {
    let reply = handle.write(request(nth, vec![create(nth, "to be followed")])).await;
    assert!(matches!(reply, Ok(Reply::Applied(_))), "{reply:?}");
}

async fn started(journal: &Watched) -> Replica {
    let stream = ModelStream::default();
    let replica = Replica::start(journal.clone(), stream, NoCheckpoints, Config::default());
    replica.handle().ready().await;
    replica
}

#[tokio::test]
async fn clients_at_the_end_share_one_read() {
    const CLIENTS: usize = 32;
    let journal = Watched::new();
    let replica = started(&journal).await;
    let handle = replica.handle().clone();
    for nth in 1..=3 {
        write(&handle, nth).await;
    }
    let before = journal.reads.load(Ordering::Relaxed);
    let held = journal.permits.acquire().await.expect("it is never closed");
    let mut clients = JoinSet::new();
    for _ in 0..CLIENTS {
        let log = handle.log().clone();
        clients.spawn(async move { log.after(Cursor::START, 10).await.expect("it can be read") });
    }
    let reads = || journal.reads.load(Ordering::Relaxed) - before;
    until("a read", async || (reads() > 0).then_some(())).await;
    drop(held);
    for page in clients.join_all().await {
        assert_eq!(page.iter().map(|record| record.version).collect::<Vec<_>>(), [1, 2, 3]);
    }
    // The replica itself may have read too.
    assert!(reads() < CLIENTS / 4, "{} reads", reads());
}

/// The journal is restored to a state without the last entries, and gives their versions to others.
#[tokio::test]
async fn client_of_a_lost_history_gets_no_other_entries() {
    let journal = Watched::new();
    let replica = started(&journal).await;
    let handle = replica.handle().clone();
    for nth in 1..=4 {
        write(&handle, nth).await;
    }
    let log = handle.log().clone();
    let page = log.after(Cursor::START, 10).await.expect("it can be read");
    let (second, last) = (Cursor::at(&page[1]), Cursor::at(&page[3]));
    let waits = tokio::spawn({
        let log = log.clone();
        async move { log.moved(last).await }
    });
    let restored = empty();
    for nth in [1, 2, 7, 8, 9, 10] {
        let one = Arc::new(request(nth, vec![create(nth, "to be followed")]));
        restored.state().commit(&batch(vec![one])).expect("a journal takes it");
    }
    *journal.journal.lock().expect("no test has panicked") = restored;
    assert!(waits.await.expect("it does not panic"), "the wait ends when the history does");
    until("the replica to have the new history", async || {
        (handle.reader().published().version == 6).then_some(())
    })
    .await;
    let lost = log.after(last, 10).await;
    assert!(matches!(lost, Err(FeedError::Replaced)), "{lost:?}");
    // What both histories have in common is followed by what is true now, although the other was read before.
    let page = log.after(second, 10).await.expect("it can be read");
    assert_eq!(page.iter().map(|record| record.version).collect::<Vec<_>>(), [3, 4, 5, 6]);
    assert_eq!(page.last().map(|record| record.chain), Some(handle.reader().published().chain));
}
