//! Clients follow the log through HAProxy, as a stream and in pages, while replicas are killed, stopped and held, Redis is
//! flushed, and the log is trimmed. What they have in the end is compared with the journal, entry by entry, and with what the
//! replicas show.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use placard_model::entry::{Chain, Record};
use placard_model::event;
use placard_scheduler::ports::Chores;
use placard_storage::postgres::{Options, PostgresJournal};
use placard_testkit::servers::haproxy::HaProxy;
use placard_testkit::servers::postgres::PostgresServer;
use placard_testkit::wait::until;
use reqwest::header::ACCEPT;
use reqwest::{Client, Method, StatusCode};
use serde_json::{Value, json};
use sqlx::{Connection, PgConnection};
use tokio::task::{JoinHandle, JoinSet};
use uuid::Uuid;

use crate::balancers::{Fleet, up};
use crate::cluster::{ADS, ad};

const CHANGES: &str = "/api/v1/changes";
const POOLS: &str = "/api/v1/pool";
const RESERVATIONS: &str = "/api/v1/reservation";
const WRITERS: usize = 4;
/// Twice each kind of fault.
const FAULTS: usize = 8;
/// Entries that each follower gets between two faults.
const BETWEEN: u64 = 20;
/// Less than this many may be left between what all followers have and where the log begins.
const KEPT: u64 = 5;

/// How a follower reads.
#[derive(Debug, Clone, Copy)]
enum Form {
    Stream,
    Pages,
}

/// A client that follows the log until it has the last entry that there will be.
struct Follower {
    /// The version that it has.
    at: Arc<AtomicU64>,
    task: JoinHandle<Vec<(String, String)>>,
}

impl Follower {
    fn start(balancer: &str, form: Form, last: Arc<AtomicU64>) -> Self {
        let at = Arc::new(AtomicU64::new(0));
        let following = Following {
            url: format!("{balancer}{CHANGES}"),
            client: Client::builder().no_proxy().build().expect("a client can be made"),
            at: Arc::clone(&at),
            got: Vec::new(),
        };
        Self { at, task: tokio::spawn(following.run(form, last)) }
    }

    fn at(&self) -> u64 {
        self.at.load(Ordering::Relaxed)
    }
}

struct Following {
    url: String,
    client: Client,
    at: Arc<AtomicU64>,
    /// The events, with their ids.
    got: Vec<(String, String)>,
}

impl Following {
    async fn run(mut self, form: Form, last: Arc<AtomicU64>) -> Vec<(String, String)> {
        while last.load(Ordering::Relaxed) == 0
            || self.got.len() as u64 != last.load(Ordering::Relaxed)
        {
            let read = match form {
                Form::Stream => self.stream(&last).await,
                Form::Pages => self.page().await,
            };
            if read.is_err() {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
        self.got
    }

    /// Reads one stream until it breaks, or has the last entry.
    async fn stream(&mut self, last: &AtomicU64) -> reqwest::Result<()> {
        let mut request = self.client.get(&self.url).header(ACCEPT, "text/event-stream");
        if let Some((id, _)) = self.got.last() {
            request = request.header("last-event-id", id);
        }
        let mut answer = self.accepted(request.send().await?)?;
        let mut text = String::new();
        while let Some(chunk) = answer.chunk().await? {
            text += std::str::from_utf8(&chunk).expect("events are text");
            while let Some((block, rest)) = text.split_once("\n\n") {
                assert!(!block.contains("event: problem"), "{block}");
                if let Some((id, data)) = block.split_once("\ndata: ") {
                    let id = id.strip_prefix("id: ").expect("an event has an id");
                    self.take(id.to_owned(), data.to_owned());
                }
                text = rest.to_owned();
            }
            if self.got.len() as u64 == last.load(Ordering::Relaxed) {
                break;
            }
        }
        Ok(())
    }

    /// Reads one page.
    async fn page(&mut self) -> reqwest::Result<()> {
        let after = self.got.last().map_or("0", |(id, _)| id);
        let url = format!("{}?after={after}&limit=7&wait=1", self.url);
        let answer = self.accepted(self.client.get(url).send().await?)?;
        for line in answer.text().await?.lines() {
            let event: Value = serde_json::from_str(line).expect("a line is JSON");
            let id = event["id"].as_str().expect("an event has an id");
            self.take(id.to_owned(), line.to_owned());
        }
        Ok(())
    }

    /// A replica, or HAProxy, may be unable to answer. No answer may say that the entries are gone.
    fn accepted(&self, answer: reqwest::Response) -> reqwest::Result<reqwest::Response> {
        let status = answer.status();
        assert!(
            status.is_success() || status.is_server_error(),
            "{status} at {:?}",
            self.got.last()
        );
        answer.error_for_status()
    }

    fn take(&mut self, id: String, event: String) {
        self.got.push((id, event));
        self.at.store(self.got.len() as u64, Ordering::Relaxed);
    }
}

/// Clients that write through the balancer until they are stopped. Each write has a key, and is sent until it is answered.
struct Writers {
    stop: Arc<AtomicBool>,
    running: JoinSet<()>,
}

impl Writers {
    fn start(balancer: &str, pool: &str) -> Self {
        let (stop, mut running) = (Arc::new(AtomicBool::new(false)), JoinSet::new());
        for _ in 0..WRITERS {
            let writer = Writer {
                client: Client::builder().no_proxy().build().expect("a client can be made"),
                balancer: balancer.to_owned(),
            };
            running.spawn(writer.run(pool.to_owned(), Arc::clone(&stop)));
        }
        Self { stop, running }
    }

    async fn end(self) {
        self.stop.store(true, Ordering::Relaxed);
        self.running.join_all().await;
    }
}

struct Writer {
    client: Client,
    balancer: String,
}

impl Writer {
    async fn run(self, pool: String, stop: Arc<AtomicBool>) {
        let id = |answer: Value| answer["id"].as_str().expect("what was made has an id").to_owned();
        while !stop.load(Ordering::Relaxed) {
            let one = id(self.write(Method::POST, ADS, ad("To be followed")).await);
            let wanted = json!({ "pool": pool, "amount": 2 });
            let reservation = id(self.write(Method::POST, RESERVATIONS, wanted).await);
            let reservation = format!("{RESERVATIONS}/{reservation}");
            let one = format!("{ADS}/{one}");
            self.write(Method::PATCH, &one, json!({ "title": "Followed" })).await;
            self.write(Method::PATCH, &reservation, json!({ "expires_at": null })).await;
            self.write(Method::DELETE, &format!("{reservation}?used=1"), Value::Null).await;
            let other = id(self.write(Method::POST, ADS, ad("To be deleted")).await);
            self.write(Method::DELETE, &format!("{ADS}/{other}"), Value::Null).await;
        }
    }

    async fn write(&self, method: Method, path: &str, body: Value) -> Value {
        let key = Uuid::new_v4().to_string();
        loop {
            let url = format!("{}{path}", self.balancer);
            let mut request =
                self.client.request(method.clone(), url).header("idempotency-key", &key);
            if !body.is_null() {
                request = request.json(&body);
            }
            let answered = async {
                let answer = request.send().await?.error_for_status()?;
                answer.json::<Value>().await
            };
            match answered.await {
                Ok(answer) => return answer,
                Err(error) => {
                    let refused = error.status().filter(StatusCode::is_client_error);
                    assert_eq!(refused, None, "{method} {path}");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            }
        }
    }
}

/// Deletes the log up to a version, as housekeeping does, and keeps a copy of what it deletes.
async fn trim(postgres: &PostgresServer, journal: &PostgresJournal, up_to: u64) {
    let sql = |text: &str| postgres.sql(text).expect("PostgreSQL answers");
    sql("CREATE TABLE IF NOT EXISTS kept (version bigint PRIMARY KEY, chain bytea, bytes bytea)");
    sql(&format!(
        "INSERT INTO kept SELECT version, chain, bytes FROM log WHERE version <= {up_to} ON CONFLICT DO NOTHING"
    ));
    sql(&format!("UPDATE log SET at = at - interval '2h' WHERE version <= {up_to}"));
    // Another replica may be trimming it.
    until("the log to be trimmed", async || {
        journal.trim_log(Duration::from_secs(3600)).await.ok()?;
        let first: u64 = sql("SELECT min(version) FROM log").parse().ok()?;
        (first > up_to).then_some(())
    })
    .await;
}

/// Returns the whole log, what was trimmed of it too.
async fn whole_log(url: &str) -> Vec<Record> {
    let mut connection = PgConnection::connect(url).await.expect("PostgreSQL answers");
    let rows: Vec<(i64, Vec<u8>, Vec<u8>)> = sqlx::query_as(
        "SELECT version, chain, bytes FROM (TABLE kept UNION SELECT version, chain, bytes FROM log) AS whole ORDER BY version",
    )
    .fetch_all(&mut connection)
    .await
    .expect("the log can be read");
    let record = |(version, chain, bytes): (i64, Vec<u8>, Vec<u8>)| Record {
        version: version.unsigned_abs(),
        chain: Chain(chain.try_into().expect("a chain has 32 bytes")),
        bytes: bytes.into(),
    };
    rows.into_iter().map(record).collect()
}

/// The state that all of the events have left: ads by id, and the balance of the pool.
fn left(events: &[(String, String)]) -> (BTreeMap<String, Value>, Value) {
    let (mut ads, mut balance) = (BTreeMap::new(), Value::Null);
    for (_, event) in events {
        let event: Value = serde_json::from_str(event).expect("an event is JSON");
        let after = &event["after"];
        match (event["change"].as_str(), event["ad"].as_str()) {
            (Some("ad_put"), Some(id)) => drop(ads.insert(id.to_owned(), after["ad"].clone())),
            (Some("ad_deleted"), Some(id)) => drop(ads.remove(id)),
            (Some("pool_put"), _) => {}
            (Some("moves"), _) => balance = after["balances"][0].clone(),
            _ => panic!("{event}"),
        }
    }
    (ads, balance)
}

#[tokio::test(flavor = "multi_thread")]
async fn followers_get_each_change_once_whatever_fails() {
    let mut fleet = Fleet::start().await;
    let haproxy = HaProxy::start(&fleet.ports).await.expect("HAProxy starts");
    up([haproxy.port()]).await;
    let balancer = format!("http://127.0.0.1:{}", haproxy.port());
    let url = fleet.servers.postgres.url();
    let journal = PostgresJournal::connect(&url, Options::default()).await;
    let journal = journal.expect("the journal can be used");
    let redis = redis::Client::open(fleet.servers.redis.url()).expect("the URL is one of Redis");
    let mut redis = redis.get_multiplexed_async_connection().await.expect("Redis answers");

    let pool = json!({ "name": "Followed", "capacity": 1_000_000 });
    let made = fleet.replicas[0].send(Method::POST, POOLS, Some(&pool), None).await;
    let pool: Value = made.json().await.expect("the answer is JSON");
    let pool = pool["id"].as_str().expect("a pool has an id");
    let writers = Writers::start(&balancer, pool);
    let last = Arc::new(AtomicU64::new(0));
    let forms = [Form::Stream, Form::Stream, Form::Pages, Form::Pages];
    let followers = forms.map(|form| Follower::start(&balancer, form, Arc::clone(&last)));
    let go_on = async || {
        let before = followers.each_ref().map(Follower::at);
        until("entries for each follower", async || {
            let mut both = followers.iter().zip(&before);
            both.all(|(follower, before)| follower.at() >= before + BETWEEN).then_some(())
        })
        .await;
    };
    for (nth, port) in fleet.ports.into_iter().cycle().take(FAULTS).enumerate() {
        go_on().await;
        match nth % 4 {
            0 => fleet.kill(port).await,
            1 => {
                let flushed = redis::cmd("FLUSHALL").query_async::<()>(&mut redis).await;
                flushed.expect("Redis obeys");
                fleet.restart(port).await;
            }
            2 => {
                let has = followers.iter().map(Follower::at).min().unwrap_or_default();
                trim(&fleet.servers.postgres, &journal, has - KEPT).await;
                fleet.kill(port).await;
                // It cannot have read what is trimmed.
                let started = fleet.replicas.last().expect("there are replicas");
                let gone = started.get(&format!("{CHANGES}?after=0")).await;
                assert_eq!(gone.status(), StatusCode::GONE);
            }
            _ => {
                fleet.replicas[0].process.pause();
                go_on().await;
                fleet.replicas[0].process.resume();
                fleet.kill(port).await;
            }
        }
    }
    go_on().await;
    writers.end().await;
    let log = whole_log(&url).await;
    last.store(log.len() as u64, Ordering::Relaxed);

    let expected: Vec<_> =
        log.iter().map(|record| event(record).expect("it can be read")).collect();
    for follower in followers {
        let got = follower.task.await.expect("the follower goes on");
        for ((record, event), (id, data)) in log.iter().zip(&expected).zip(&got) {
            assert_eq!(*id, format!("{}-{}", record.version, record.chain));
            assert_eq!(data.as_bytes(), event);
        }
        assert_eq!(
            (got.len(), got.len() as u64),
            (log.len(), log.last().expect("entries").version)
        );
        let (ads, balance) = left(&got);
        shows(&fleet, &ads, pool, &balance).await;
    }
    fleet.servers.verify(&fleet.replicas[0]).await;
}

/// Compares what the followed entries have left with what a replica shows.
async fn shows(fleet: &Fleet, ads: &BTreeMap<String, Value>, pool: &str, balance: &Value) {
    const PAGE: usize = 100;
    let replica = &fleet.replicas[0];
    let mut shown = BTreeMap::new();
    for offset in (0..=ads.len()).step_by(PAGE) {
        let page = replica.json(&format!("{ADS}?limit={PAGE}&offset={offset}")).await;
        assert_eq!(page["total"], ads.len());
        for ad in page["ads"].as_array().expect("a page has ads") {
            shown.insert(ad["id"].as_str().expect("an ad has an id").to_owned(), ad.clone());
        }
    }
    assert_eq!(shown, *ads);
    let shown = replica.json(&format!("{POOLS}/{pool}")).await;
    for field in ["reserved", "allotted", "used", "lost"] {
        assert_eq!(shown[field], balance[field], "{field}");
    }
    assert!(shown["used"].as_u64() > Some(0), "{shown}");
}
