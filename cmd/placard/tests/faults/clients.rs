//! Single requests that a test makes itself, of the replica of its choice.

use std::sync::Arc;
use std::time::Duration;

use placard_model::Version;
use reqwest::{Client, Response, StatusCode};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::load::{Load, PATH, Write, version};

/// Longer than a replica waits for anything (`ack=all`: 5 s) before it answers.
pub(crate) const ANSWER: Duration = Duration::from_secs(8);

/// One replica, asked over connections of this client's own; what it acknowledges goes into the ledger.
#[derive(Clone)]
pub(crate) struct Asked {
    client: Client,
    url: String,
    load: Arc<Load>,
}

/// The answer to a takedown that waits for all replicas.
#[derive(Debug)]
pub(crate) struct Receipts {
    pub(crate) status: StatusCode,
    pub(crate) confirmed: usize,
    pub(crate) unconfirmed: usize,
}

impl Asked {
    pub(crate) fn new(url: String, load: Arc<Load>) -> Self {
        let client = Client::builder().no_proxy().timeout(ANSWER).build();
        Self { client: client.expect("a client can be made"), url, load }
    }

    /// The same replica, over connections that no other has.
    pub(crate) fn apart(&self) -> Self {
        Self::new(self.url.clone(), Arc::clone(&self.load))
    }

    /// `None` if it does not answer.
    pub(crate) async fn get(&self, path: &str) -> Option<Response> {
        self.client.get(format!("{}{path}", self.url)).send().await.ok()
    }

    pub(crate) async fn json(&self, path: &str) -> Option<Value> {
        self.get(path).await?.json().await.ok()
    }

    /// Sends the creation of an ad that ends before the load's ads, and so is listed before them.
    pub(crate) async fn post(&self, title: &str) -> Response {
        self.post_with(title, "content").await
    }

    async fn post_with(&self, title: &str, content: &str) -> Response {
        let body = json!({
            "title": title, "content": content,
            "start_at": "2020-01-01T00:00:00Z", "end_at": "2098-01-01T00:00:00Z",
        });
        let ads = format!("{}{PATH}", self.url);
        self.client.post(ads).json(&body).send().await.expect("the replica answers")
    }

    pub(crate) async fn create(&self, title: &str) -> (Uuid, Version) {
        self.create_with(title, "content").await
    }

    /// As [`Asked::create`], with this content.
    pub(crate) async fn create_with(&self, title: &str, content: &str) -> (Uuid, Version) {
        let answer = self.post_with(title, content).await;
        assert_eq!(answer.status(), StatusCode::CREATED);
        let answer: Value = answer.json().await.expect("the answer is JSON");
        let id = answer["id"].as_str().and_then(|id| id.parse().ok()).expect("an id");
        let at = version(&answer);
        self.load.acknowledge(at, Write::Put(id, title.to_owned()));
        (id, at)
    }

    /// Asks for an ad to be taken down from all replicas, and returns the answer's status. The ledger gets nothing of
    /// it.
    pub(crate) async fn asks_for_takedown(&self, id: Uuid) -> StatusCode {
        let ad = format!("{}{PATH}/{id}?ack=all", self.url);
        self.client.delete(ad).send().await.expect("the replica answers").status()
    }

    /// Deletes an ad, and waits until no replica serves it any more, or cannot be asked.
    pub(crate) async fn take_down(&self, id: Uuid) -> Receipts {
        let ad = format!("{}{PATH}/{id}?ack=all", self.url);
        let answer = self.client.delete(ad).send().await.expect("the replica answers");
        let status = answer.status();
        let answer: Value = answer.json().await.expect("the answer is JSON");
        self.load.acknowledge(version(&answer), Write::Delete(id));
        let count = |which: &str| answer["receipts"][which].as_array().map_or(0, Vec::len);
        Receipts { status, confirmed: count("confirmed"), unconfirmed: count("unconfirmed") }
    }
}
