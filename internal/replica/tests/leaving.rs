//! Tests how a replica leaves the register.

#![allow(clippy::disallowed_methods, reason = "tests use clocks, chance and tasks as they like")]

use std::sync::Arc;
use std::time::Duration;

use placard_model::entry::Record;
use placard_model::{Encoded, Timestamp, Version};
use placard_replica::ports::{
    CommitError, Head, Heartbeat, Journal, NoCheckpoints, PollError, Unavailable,
};
use placard_replica::{Batch, Config, Plan, Replica};
use placard_testkit::models::{ModelJournal, ModelStream};
use placard_testkit::requests::{create, request};
use placard_testkit::wait::until;
use tokio::sync::{Semaphore, mpsc};
use uuid::Uuid;

/// A journal whose polls wait for permission to arrive, and which registers every replica that polls.
#[derive(Clone)]
struct Slow {
    journal: ModelJournal,
    begun: Arc<Semaphore>,
    arrive: Arc<Semaphore>,
}

impl Journal for Slow {
    async fn commit(&self, batch: Arc<Batch>) -> Result<Plan, CommitError> {
        self.journal.commit(batch).await
    }

    async fn poll(&self, heartbeat: Heartbeat, at: Version) -> Result<Head, PollError> {
        self.begun.add_permits(1);
        self.arrive.acquire().await.expect("it is never closed").forget();
        self.journal.state().left.clear();
        self.journal.poll(heartbeat, at).await
    }

    async fn leave(&self, replica: Uuid) -> Result<(), Unavailable> {
        self.journal.leave(replica).await
    }

    async fn log(&self, after: Version, max: usize) -> Result<Vec<Record>, Unavailable> {
        self.journal.log(after, max).await
    }

    async fn snapshot(
        &self,
        chunks: mpsc::Sender<Vec<Encoded>>,
    ) -> Result<placard_model::entry::Position, Unavailable> {
        self.journal.snapshot(chunks).await
    }

    async fn exclusively(
        &self,
        work: impl Future<Output = ()> + Send,
    ) -> Result<bool, Unavailable> {
        self.journal.exclusively(work).await
    }
}

#[tokio::test]
async fn pending_poll_does_not_register_a_leaving_replica() {
    let journal = Slow {
        journal: ModelJournal::new(Timestamp::EPOCH),
        begun: Arc::new(Semaphore::new(0)),
        arrive: Arc::new(Semaphore::new(3)),
    };
    let config = Config::default();
    let stream = ModelStream::default();
    let replica = Replica::start(journal.clone(), stream, NoCheckpoints, config);
    let handle = replica.handle().clone();
    handle.ready().await;
    // The one after those that may arrive.
    journal.begun.acquire_many(4).await.expect("it is never closed").forget();
    assert_eq!(journal.journal.state().members.len(), 1);
    let stopping = tokio::spawn(replica.stop(Duration::from_secs(60)));
    until("the core to be gone", async || {
        handle.write(request(1, vec![create(1, "too late")])).await.is_err().then_some(())
    })
    .await;
    // Whatever the leaving task does while a poll is under way it does now.
    tokio::task::yield_now().await;
    journal.arrive.add_permits(1);
    let stopped = stopping.await.expect("it does not panic").expect("no task has panicked");
    assert!(stopped);
    assert_eq!(journal.journal.state().members.len(), 0, "it is on the register again");
}
