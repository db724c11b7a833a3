//! What operators see of wrong clocks: the brake of expiry and its release, over a model journal whose clock follows
//! this machine's until the test makes it jump; and a replica whose own clock is an hour ahead of a real PostgreSQL's.

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use placard_api::App;
use placard_model::Timestamp;
use placard_node::{Access, ApiConfig};
use placard_replica::ports::NoCheckpoints;
use placard_replica::{Expiry, Handle, Replica, system_now};
use placard_scheduler::{Config, Scheduler};
use placard_storage::in_process::InProcess;
use placard_storage::postgres::{self, PostgresJournal};
use placard_tasks::{PostgresTasks, SqliteTasks, Wording};
use placard_testkit::models::{ModelJournal, ModelStream};
use placard_testkit::servers::postgres::PostgresServer;
use placard_testkit::wait::until;
use serde_json::{Value, json};

use crate::server::{ADS, Server, ad_with};

const RELEASE: &str = "/api/v1/admin/expiry/release";
const TOKEN: &str = "0123456789abcdef";
const HOUR_MS: i64 = 3_600_000;
const MINUTE_MS: i64 = 60_000;

/// By how many microseconds both the journal's machine and this one have been set ahead, as by one wrong time server.
static AHEAD: AtomicI64 = AtomicI64::new(0);

/// Returns the time that both machines' clocks show.
fn clock() -> Timestamp {
    system_now().saturating_add_micros(AHEAD.load(Ordering::Relaxed))
}

/// Makes the model's clock run.
async fn go(journal: ModelJournal) {
    let mut ticks = tokio::time::interval(Duration::from_millis(5));
    loop {
        ticks.tick().await;
        journal.state().now = clock();
    }
}

async fn metric(server: &Server, name: &str) -> u64 {
    let answer = server.get("/metrics").await.is(200);
    let text = String::from_utf8(answer.body.to_vec()).expect("metrics are text");
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.and_then(|value| value.parse().ok()).unwrap_or_else(|| panic!("no {name} in {text}"))
}

/// Returns a configuration with an address. No client reaches the replica at it, but every replica must have one.
fn addressed() -> placard_replica::Config {
    placard_replica::Config { address: "in.process:1".to_owned(), ..Default::default() }
}

async fn expiry(server: &Server) -> Value {
    server.get("/api/v1/cluster").await.is(200).json()["expiry"].clone()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_brake_is_shown_and_released_by_an_operator() {
    let journal = ModelJournal::new(clock());
    let going = tokio::spawn(go(journal.clone()));
    let stream = ModelStream::default();
    let replica = Replica::start(journal.clone(), stream, NoCheckpoints, addressed());
    replica.handle().ready().await;
    let (shared, directory) = (Expiry::default(), tempfile::tempdir().expect("there is room"));
    let tasks = SqliteTasks::in_directory(directory.path());
    let config = Config { own_clock: clock, ..Config::default() };
    let handle = replica.handle().clone();
    let scheduler = Scheduler::start(journal.clone(), tasks, handle, shared.clone(), config);
    let access = Access::from_file(&format!("ann:{TOKEN}")).expect("the file is right");
    let app = App::new(replica.handle().clone())
        .with_expiry(shared)
        .with_config(ApiConfig { access, ..ApiConfig::default() });
    let server = Server::of(&app, replica);
    let bearer = format!("Bearer {TOKEN}");

    let half = clock().saturating_add_micros(HOUR_MS * 1_000 / 2).to_string();
    let ad = ad_with(json!({ "end_at": half }));
    let created = server.call("POST", ADS).header("authorization", &bearer).json(&ad).send();
    let id = created.await.is(201).id();
    until("the first look at the clock", async || {
        (metric(&server, "placard_expiry_looks_total").await > 0).then_some(())
    })
    .await;
    assert_eq!(metric(&server, "placard_expiry_braked").await, 0);
    assert_eq!(expiry(&server).await, json!({ "state": "running", "deleted": 0 }));

    AHEAD.store(HOUR_MS * 1_000, Ordering::Relaxed);
    let jumped = until("the brake", async || {
        let expiry = expiry(&server).await;
        (expiry["state"] == "braked").then_some(expiry)
    })
    .await;
    assert_eq!(metric(&server, "placard_expiry_braked").await, 1);
    let brake = &jumped["brake"];
    let jump = brake["jump_ms"].as_i64().expect("a jump is a number");
    assert!((jump - HOUR_MS).abs() < MINUTE_MS, "{jumped}");
    let since = Timestamp::parse(brake["since"].as_str().expect("a time is text"));
    let since = since.expect("it is a time");
    assert!((clock().micros() - since.micros()).abs() < MINUTE_MS * 1_000, "{jumped}");
    // By the clock that there is the ad has ended. It is not deleted at the next looks either.
    let looks = metric(&server, "placard_expiry_looks_total").await;
    until("another look", async || {
        (metric(&server, "placard_expiry_looks_total").await > looks).then_some(())
    })
    .await;
    assert_eq!(expiry(&server).await, jumped);
    assert_eq!(metric(&server, "placard_expired_total").await, 0);
    assert_eq!(journal.state().ads.len(), 1);

    // Nobody else may say that the clock is right.
    server.call("POST", RELEASE).send().await.problem(401, "unauthorized");
    assert_eq!(expiry(&server).await["state"], "braked");
    let release = || server.call("POST", RELEASE).header("authorization", &bearer).send();
    let released = release().await.is(200).json();
    assert_eq!(
        released,
        json!({ "released": true, "expiry": { "state": "running", "deleted": 0 } })
    );
    assert_eq!(release().await.is(200).json()["released"], false);
    assert_eq!(metric(&server, "placard_expiry_braked").await, 0);
    until("the ended ad to go", async || journal.state().ads.is_empty().then_some(())).await;
    until("the entry on the replica", async || {
        (server.get(&format!("{ADS}/{id}")).await.status == 404).then_some(())
    })
    .await;
    until("the account of it", async || {
        (expiry(&server).await == json!({ "state": "running", "deleted": 1 })).then_some(())
    })
    .await;
    drop(scheduler);
    going.abort();
}

/// A scheduler on behalf of a replica, by this clock, and its account.
fn scheduled(
    journal: &PostgresJournal,
    replica: &Handle,
    own_clock: fn() -> Timestamp,
) -> (Scheduler, Expiry) {
    let pool = journal.tasks_pool();
    let tasks = PostgresTasks { pool, migrate: true, wording: Wording::new(postgres::told) };
    let config = Config { own_clock, ..Config::default() };
    let expiry = Expiry::default();
    (Scheduler::start(journal.clone(), tasks, replica.clone(), expiry.clone(), config), expiry)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn replica_an_hour_ahead_says_so_and_deletes_nothing() {
    let servers = PostgresServer::start().await.expect("a private PostgreSQL starts");
    let options =
        postgres::Options { accept_unsafe_durability: true, ..postgres::Options::default() };
    let journal = PostgresJournal::connect(&servers.url(), options).await.expect("it is a journal");
    let stream = InProcess::default();
    let replica = Replica::start(journal.clone(), stream, NoCheckpoints, addressed());
    replica.handle().ready().await;
    let ahead = || system_now().saturating_add_micros(HOUR_MS * 1_000);
    let handle = replica.handle().clone();
    let (_wrong, account) = scheduled(&journal, &handle, ahead);
    let app = App::new(handle.clone()).with_expiry(account.clone());
    let server = Server::of(&app, replica);
    let ending = |in_ms: i64| {
        let end_at = system_now().saturating_add_micros(in_ms * 1_000).to_string();
        ad_with(json!({ "end_at": end_at }))
    };
    // By its own clock both have ended.
    let soon = server.create(&ending(1_500)).await.location();
    let later = server.create(&ending(HOUR_MS / 2)).await.location();
    assert_eq!(server.list("").await.1, 2);
    until("the end of the first", async || {
        let shown = server.get(&soon).await.is(200).json();
        (shown["status"] == "ended").then_some(())
    })
    .await;
    let looks = metric(&server, "placard_expiry_looks_total").await;
    until("two more looks", async || {
        (metric(&server, "placard_expiry_looks_total").await >= looks + 2).then_some(())
    })
    .await;
    assert_eq!(metric(&server, "placard_expiry_clock_off").await, 1);
    assert_eq!(expiry(&server).await, json!({ "state": "clock-off", "deleted": 0 }));
    server.get(&soon).await.is(200);
    assert_eq!(server.list("").await, (vec![server.get(&later).await.is(200).id()], 1));
    // Another replica's, as it were.
    let (_right, other) = scheduled(&journal, &handle, system_now);
    until("the ended ad to go", async || (server.get(&soon).await.status == 404).then_some(()))
        .await;
    until("the account of it", async || (other.account().counts.deleted == 1).then_some(())).await;
    assert_eq!(account.account().counts.deleted, 0);
    server.get(&later).await.is(200);
}
