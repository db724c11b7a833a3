//! A client that writes, and never gives a write up: it sends a write without an answer again with the same key. The
//! ledger records each answered write.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use placard_testkit::ledger::Ledger;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use reqwest::{Client, Method};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::server::ad;

/// State that the writers of a storm share.
#[derive(Default)]
pub(crate) struct Shared {
    pub(crate) ledger: Mutex<Ledger>,
    /// Writes that were answered.
    pub(crate) answered: AtomicUsize,
}

/// One request, as it is sent however often it takes.
#[derive(Debug, Clone)]
struct Write {
    key: String,
    method: Method,
    path: String,
    body: Value,
    kind: Kind,
}

#[derive(Debug, Clone)]
enum Kind {
    Create,
    CreateMany,
    Change(Uuid),
    Delete(Uuid),
}

/// The client; no other client writes its ads.
pub(crate) struct Writer {
    name: usize,
    rng: ChaCha8Rng,
    ads: Vec<Uuid>,
    keys: usize,
    unanswered: Option<Write>,
    last: Option<(Write, Value)>,
}

impl Writer {
    pub(crate) fn new(name: usize, seed: u64) -> Self {
        let rng = ChaCha8Rng::seed_from_u64(seed.wrapping_add(name as u64));
        Self { name, rng, ads: Vec::new(), keys: 0, unanswered: None, last: None }
    }

    /// Writes until the server is gone, and leaves at most one write unanswered.
    pub(crate) async fn storm(&mut self, client: &Client, url: &str, shared: &Shared) {
        while self.one(client, url, shared).await.is_ok() {}
    }

    /// Sends the unanswered write until it is answered, and asks for the last answer once more.
    pub(crate) async fn settle(&mut self, client: &Client, url: &str, shared: &Shared) {
        if self.unanswered.is_some() {
            self.one(client, url, shared).await.expect("a server that nobody kills answers");
        }
        if let Some((write, answer)) = &self.last {
            let again = send(client, url, write).await.expect("a server that nobody kills answers");
            assert_eq!(&again, answer, "{write:?} was answered otherwise before");
        }
    }

    async fn one(&mut self, client: &Client, url: &str, shared: &Shared) -> reqwest::Result<()> {
        let write = self.unanswered.take().unwrap_or_else(|| self.draw());
        match send(client, url, &write).await {
            Ok(answer) => {
                self.record(&write, &answer, &mut shared.ledger.lock().expect("no writer panics"));
                shared.answered.fetch_add(1, Ordering::Relaxed);
                self.last = Some((write, answer));
                Ok(())
            }
            Err(error) => {
                self.unanswered = Some(write);
                Err(error)
            }
        }
    }

    fn title(&self) -> String {
        format!("Writer {} wrote {}", self.name, self.keys)
    }

    fn draw(&mut self) -> Write {
        self.keys += 1;
        let key = format!("writer-{}-{}", self.name, self.keys);
        let body = ad(&self.title());
        let at = self.rng.random_range(0..self.ads.len().max(1));
        let known = self.ads.get(at).copied();
        let path = |id: Uuid| format!("/api/v1/ad/{id}");
        let (method, path, body, kind) = match (self.rng.random_range(0..10), known) {
            (0..2, Some(id)) => (Method::PUT, path(id), body, Kind::Change(id)),
            (2..4, Some(id)) => {
                let patch = json!({ "title": body["title"] });
                (Method::PATCH, path(id), patch, Kind::Change(id))
            }
            (4..6, Some(id)) => (Method::DELETE, path(id), Value::Null, Kind::Delete(id)),
            (6, _) => {
                let many = self.rng.random_range(1..20);
                let batch = Value::from(vec![body; many]);
                (Method::POST, "/api/v1/ad/batch".to_owned(), batch, Kind::CreateMany)
            }
            (7, _) => {
                let mut body = body;
                body["id"] = json!(Uuid::from_u128(self.rng.random()));
                (Method::POST, "/api/v1/ad".to_owned(), body, Kind::Create)
            }
            _ => (Method::POST, "/api/v1/ad".to_owned(), body, Kind::Create),
        };
        Write { key, method, path, body, kind }
    }

    fn record(&mut self, write: &Write, answer: &Value, ledger: &mut Ledger) {
        let id = |of: &Value| {
            let id = of["id"].as_str().and_then(|text| text.parse().ok());
            id.unwrap_or_else(|| panic!("{write:?} was answered {answer}"))
        };
        let version = |of: &Value| of["version"].as_u64().expect("an answer has a version");
        match &write.kind {
            Kind::Create => {
                self.ads.push(id(answer));
                ledger.put(id(answer), version(answer), self.title());
            }
            Kind::CreateMany => {
                let items = answer["items"].as_array().expect("a batch's answer has items");
                assert_eq!(items.len(), write.body.as_array().map_or(0, Vec::len));
                for item in items {
                    self.ads.push(id(item));
                    ledger.put(id(item), version(item), self.title());
                }
            }
            Kind::Change(changed) => {
                assert_eq!(id(answer), *changed);
                ledger.put(*changed, version(answer), self.title());
            }
            Kind::Delete(deleted) => {
                assert_eq!(id(answer), *deleted);
                self.ads.retain(|ad| ad != deleted);
                ledger.deleted(*deleted, version(answer));
            }
        }
    }
}

/// Sends a write; its answer, unless the connection went first. Until it is killed the server accepts all.
async fn send(client: &Client, url: &str, write: &Write) -> reqwest::Result<Value> {
    let mut request = client.request(write.method.clone(), format!("{url}{}", write.path));
    request = request.header("idempotency-key", &write.key);
    if !write.body.is_null() {
        request = request.json(&write.body);
    }
    let answer = request.send().await?;
    let status = answer.status();
    let body = answer.text().await?;
    assert!(status.is_success(), "{write:?} was answered {status}: {body}");
    Ok(serde_json::from_str(&body).unwrap_or_else(|error| panic!("{body}: {error}")))
}
