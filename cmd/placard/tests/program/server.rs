//! `placard serve` on a private directory, and a client for it.

use std::path::Path;

use placard_testkit::process::{Ended, Process};
use reqwest::{Client, Response};
use serde_json::{Value, json};

/// The program under test.
pub(crate) const PLACARD: &str = env!("CARGO_BIN_EXE_placard");
/// A port that the system chooses.
pub(crate) const ANY_PORT: &str = "127.0.0.1:0";

/// A running server and its address.
pub(crate) struct Server {
    pub(crate) process: Process,
    pub(crate) url: String,
    pub(crate) client: Client,
}

impl Server {
    /// Serves from this directory.
    pub(crate) async fn on(directory: &Path) -> Self {
        Self::with(directory, &[]).await
    }

    /// Serves from this directory, with further arguments.
    pub(crate) async fn with(directory: &Path, arguments: &[&str]) -> Self {
        let directory = directory.to_str().expect("the directory's name is text");
        let all =
            [&["serve", "--listen", ANY_PORT, "--data-dir", directory][..], arguments].concat();
        Self::of(Process::start(PLACARD, &all, &[])).await
    }

    /// A process that serves and says where.
    pub(crate) async fn of(mut process: Process) -> Self {
        let url = process.url().await;
        Self { process, url, client: client() }
    }

    pub(crate) fn path(&self, path: &str) -> String {
        format!("{}{path}", self.url)
    }

    pub(crate) async fn get(&self, path: &str) -> Response {
        self.client.get(self.path(path)).send().await.expect("the server answers")
    }

    pub(crate) async fn json(&self, path: &str) -> Value {
        self.get(path).await.json().await.expect("the answer is JSON")
    }

    /// Creates an ad and returns it.
    pub(crate) async fn create(&self, ad: &Value) -> Value {
        let sent = self.client.post(self.path("/api/v1/ad")).json(ad).send().await;
        let answer = sent.expect("the server answers");
        assert_eq!(answer.status(), 201);
        answer.json().await.expect("the answer is JSON")
    }

    /// Returns the number of ads that it holds, served or not.
    pub(crate) async fn ads(&self) -> u64 {
        let text = self.get("/metrics").await.text().await.expect("metrics are text");
        let line = text.lines().find_map(|line| line.strip_prefix("placard_ads "));
        line.and_then(|count| count.parse().ok()).expect("the ads are counted")
    }

    /// Stops it as an operator would; it must end well.
    pub(crate) async fn stop(self) -> Ended {
        self.process.terminate();
        let ended = self.process.ended().await;
        assert_eq!(ended.status.code(), Some(0), "{ended:#?}");
        ended
    }
}

pub(crate) fn client() -> Client {
    Client::builder().no_proxy().build().expect("a client can be made")
}

/// An ad that is served for a long time.
pub(crate) fn ad(title: &str) -> Value {
    json!({
        "title": title,
        "content": "Everything must go",
        "start_at": "2020-01-01T00:00:00Z",
        "end_at": "2099-01-01T00:00:00Z",
    })
}
