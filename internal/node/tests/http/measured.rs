//! What `/metrics` says of pools and reservations, on a replica where nothing is closed that has lapsed.

use placard_api::App;
use placard_model::entry::FORMAT_LEVEL_MIN;
use placard_replica::ports::{Identity, Member, NoCheckpoints};
use placard_replica::{Config, Replica, system_now};
use placard_testkit::models::{ModelJournal, ModelStream};
use placard_testkit::wait::until;
use serde_json::json;
use uuid::Uuid;

use crate::pools::{POOLS, RESERVATIONS, create, pool, reserve};
use crate::server::{ADS, Server, ad, ad_with};

/// The values of metrics, by their names without the prefix.
async fn measured<const N: usize>(server: &Server, names: [&str; N]) -> [f64; N] {
    let metrics = server.get("/metrics").await.is(200);
    let text = String::from_utf8(metrics.body.to_vec()).expect("metrics are text");
    names.map(|name| {
        let line = text.lines().find_map(|line| line.strip_prefix(&format!("placard_{name} ")));
        line.and_then(|value| value.parse().ok()).unwrap_or_else(|| panic!("no {name} in {text}"))
    })
}

/// A replica without a scheduler, its app, and its journal.
async fn start() -> (Server, App, ModelJournal) {
    let journal = ModelJournal::new(system_now());
    let config = Config { address: "in.process:1".to_owned(), ..Default::default() };
    let replica = Replica::start(journal.clone(), ModelStream::default(), NoCheckpoints, config);
    replica.handle().ready().await;
    let app = App::new(replica.handle().clone());
    (Server::of(&app, replica), app, journal)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pools_and_reservations_are_measured() {
    const NAMES: [&str; 4] = ["pools", "holds", "tombstones", "reservations_overdue"];
    let (server, app, journal) = start().await;
    let pool = create(&server, &pool()).await.id();
    create(&server, &crate::pools::pool()).await;
    let closed = reserve(&server, &pool, 3).await.location();
    server.call("DELETE", &closed).send().await.is(200);
    reserve(&server, &pool, 2).await;
    let lapses = json!({ "pool": pool, "amount": 1, "expires_in": 60 });
    server.post(RESERVATIONS, &lapses).await.is(201);
    app.upkeep();
    assert_eq!(measured(&server, NAMES).await, [2.0, 2.0, 1.0, 0.0]);
    journal.state().now = system_now().saturating_add_micros(90_000_000);
    until("the reservation to lapse", async || {
        app.upkeep();
        (measured(&server, NAMES).await == [2.0, 2.0, 1.0, 1.0]).then_some(())
    })
    .await;
    let [seconds] = measured(&server, ["reservations_overdue_seconds"]).await;
    assert!((15.0..60.0).contains(&seconds), "{seconds}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn commands_refused_beside_an_old_build_are_counted() {
    let (server, _, journal) = start().await;
    assert_eq!(measured(&server, ["not_yet_total"]).await, [0.0]);
    let own = journal.state().members.values().next().cloned().expect("it is registered");
    let replica = Uuid::from_u128(1);
    let identity = Identity { replica, format_level: FORMAT_LEVEL_MIN, ..own.identity.clone() };
    journal.state().members.insert(replica, Member { identity, ..own });
    // A pool that is created first would keep the old build out instead.
    until("the old build to be known", async || {
        let cluster = server.get("/api/v1/cluster").await.is(200).json();
        (cluster["members"].as_array().map(Vec::len) == Some(2)).then_some(())
    })
    .await;
    server.post(POOLS, &pool()).await.problem(503, "not-yet");
    server.post(ADS, &ad_with(json!({ "weight": 2 }))).await.problem(503, "not-yet");
    assert_eq!(measured(&server, ["not_yet_total"]).await, [2.0]);
    // What the old build reads is written.
    server.create(&ad()).await;
}
