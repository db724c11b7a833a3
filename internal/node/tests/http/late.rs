//! A write that this replica cannot show within its deadline: it is durable, and the answer says who does not show it.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use http::{Request, StatusCode};
use http_body_util::BodyExt;
use placard_api::App;
use placard_model::entry::{Position, Record};
use placard_model::{Encoded, Timestamp, Version};
use placard_replica::ports::{
    CommitError, Head, Heartbeat, Journal, NoCheckpoints, PollError, Unavailable,
};
use placard_replica::{Batch, Config, Plan, Replica};
use placard_testkit::contract::batch;
use placard_testkit::models::{ModelJournal, ModelStream};
use placard_testkit::requests::{create, request};
use placard_testkit::wait::until;
use serde_json::Value;
use tokio::sync::{Semaphore, mpsc};
use tower::ServiceExt;
use uuid::Uuid;

use crate::server::{ADS, ad};

/// A journal whose log is not read for a while.
#[derive(Clone)]
struct Held {
    journal: ModelJournal,
    reads: Arc<Semaphore>,
}

impl Journal for Held {
    async fn commit(&self, batch: Arc<Batch>) -> Result<Plan, CommitError> {
        self.journal.commit(batch).await
    }

    async fn poll(&self, heartbeat: Heartbeat, at: Version) -> Result<Head, PollError> {
        self.journal.poll(heartbeat, at).await
    }

    async fn leave(&self, replica: Uuid) -> Result<(), Unavailable> {
        self.journal.leave(replica).await
    }

    async fn log(&self, after: Version, max: usize) -> Result<Vec<Record>, Unavailable> {
        let _read = self.reads.acquire().await.expect("it is never closed");
        self.journal.log(after, max).await
    }

    async fn snapshot(&self, chunks: mpsc::Sender<Vec<Encoded>>) -> Result<Position, Unavailable> {
        self.journal.snapshot(chunks).await
    }

    async fn exclusively(
        &self,
        work: impl Future<Output = ()> + Send,
    ) -> Result<bool, Unavailable> {
        self.journal.exclusively(work).await
    }
}

/// The write's entry follows one that the replica does not get until the write's deadline has passed; then it is shown,
/// before the wait for all replicas ends.
#[tokio::test]
async fn late_write_names_the_unconfirmed_replicas() {
    let now = Timestamp::parse("2026-01-01T00:00:00Z").expect("a constant");
    let journal = Held { journal: ModelJournal::new(now), reads: Arc::new(Semaphore::new(0)) };
    let config = Config {
        address: "replica-1:8080".to_owned(),
        write_deadline: Duration::from_secs(1),
        ..Config::default()
    };
    let stream = ModelStream::default();
    let replica = Replica::start(journal.clone(), stream, NoCheckpoints, config);
    let handle = replica.handle().clone();
    handle.ready().await;
    let by_another = vec![Arc::new(request(1, vec![create(1, "by another")]))];
    let committed = journal.journal.state().commit(&batch(by_another));
    committed.expect("it has an ad");
    let router = App::new(handle.clone()).router();
    let write = Request::post(format!("{ADS}?ack=all"))
        .header("host", "replica-1:8080")
        .header("content-type", "application/json")
        .body(Body::from(ad().to_string()))
        .expect("a request");
    let late = async {
        let waiting = async || handle.state().unpublished;
        until("the write to be durable", async || (waiting().await == 1).then_some(())).await;
        until("its deadline to pass", async || (waiting().await == 0).then_some(())).await;
        assert_eq!(handle.reader().published().version, 0);
        journal.reads.add_permits(1);
    };
    let (answer, ()) = tokio::join!(router.oneshot(write), late);
    let answer = answer.expect("it is answered");
    assert_eq!(answer.status(), StatusCode::ACCEPTED);
    let body = answer.into_body().collect().await.expect("it has a body").to_bytes();
    let body: Value = serde_json::from_slice(&body).expect("the answer is JSON");
    let missing = &body["receipts"]["unconfirmed"];
    assert_eq!(missing[0]["address"], "replica-1:8080", "a 202 that names nobody: {body}");
}
