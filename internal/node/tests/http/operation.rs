//! What operators and load balancers see, and requests for unknown paths.

use std::time::Duration;

use placard_api::App;
use placard_model::Timestamp;
use placard_replica::core::Phase;
use placard_replica::ports::NoCheckpoints;
use placard_replica::{Config, Replica};
use placard_testkit::models::{ModelJournal, ModelStream};
use placard_testkit::wait::until;
use uuid::Uuid;

use crate::both;
use crate::server::{ADS, Answer, BATCH, Server, ad};

both!(
    the_process_is_live,
    the_replica_is_ready,
    metrics_count_what_was_done,
    every_answer_names_its_request,
    other_paths_are_not_found,
    other_methods_are_not_allowed,
    requests_that_no_route_takes_are_counted,
);

async fn the_process_is_live(server: Server) {
    let live = server.get("/livez").await.is(200);
    assert_eq!(live.header("content-type"), Some("application/json"));
}

async fn the_replica_is_ready(server: Server) {
    server.create(&ad()).await;
    until("the version on /readyz", async || {
        let ready = server.get("/readyz").await.is(200).json();
        (ready["status"] == "ready" && ready["version"] == 1).then_some(())
    })
    .await;
}

async fn metrics_count_what_was_done(server: Server) {
    server.create(&ad()).await;
    server.create(&ad()).await;
    server.get(ADS).await.is(200);
    server.get(&format!("{ADS}?age=0")).await.is(400);
    until("the metrics", async || {
        let metrics = server.get("/metrics").await.is(200);
        let media = metrics.header("content-type").unwrap_or_default();
        assert!(media.starts_with("text/plain; version=0.0.4"), "{media}");
        let text = String::from_utf8(metrics.body.to_vec()).expect("metrics are text");
        let value = |name: &str, labels: &[&str]| {
            let line = text.lines().find(|line| {
                line.starts_with(name) && labels.iter().all(|label| line.contains(label))
            });
            line.and_then(|line| line.rsplit(' ').next()?.parse::<f64>().ok())
        };
        let requests = |method, status| {
            value("placard_http_requests_total", &["route=\"/api/v1/ad\"", method, status])
        };
        let seen = [
            value("placard_published_version ", &[]),
            value("placard_ads ", &[]),
            value("placard_ready ", &[]),
            value("placard_lag_versions ", &[]),
            value("placard_ads_live ", &[]),
            value("placard_commit_entries_sum ", &[]),
            value("placard_commit_duration_seconds_bucket", &["le=\"+Inf\""]),
            value("placard_build_info", &["version="]),
            requests("method=\"POST\"", "status=\"2xx\""),
            requests("method=\"GET\"", "status=\"2xx\""),
            requests("method=\"GET\"", "status=\"4xx\""),
        ];
        (seen == [2.0, 2.0, 1.0, 0.0, 2.0, 2.0, 2.0, 1.0, 2.0, 1.0, 1.0].map(Some)).then_some(())
    })
    .await;
}

async fn every_answer_names_its_request(server: Server) {
    const ID: &str = "x-request-id";
    for (method, path) in [("GET", ADS), ("POST", ADS), ("GET", "/livez"), ("GET", "/none")] {
        let named = server.call(method, path).header(ID, "front-7.1/a").send().await;
        assert_eq!(named.header(ID), Some("front-7.1/a"), "{method} {path}");
        let first = server.call(method, path).send().await;
        let second = server.call(method, path).header(ID, "not one").send().await;
        let id = |answer: &Answer| answer.header(ID).and_then(|id| Uuid::try_parse(id).ok());
        assert!(id(&first).is_some() && id(&second).is_some(), "{method} {path}");
        assert_ne!(id(&first), id(&second));
    }
}

async fn other_paths_are_not_found(server: Server) {
    for path in ["/api", "/api/v1", "/api/v1/ads", "/api/v1/ad/", "/api/v2/ad", "/livez/", "//"] {
        server.get(path).await.problem(404, "route-not-found");
    }
    let below = format!("{ADS}/6f9619ff-8b86-4d01-b42d-00c04fc964ff/x");
    server.get(&below).await.problem(404, "route-not-found");
}

async fn other_methods_are_not_allowed(server: Server) {
    let one = server.create(&ad()).await.location();
    for (method, path, allowed) in [
        ("DELETE", ADS, vec!["GET", "POST"]),
        ("PUT", ADS, vec!["GET", "POST"]),
        ("GET", BATCH, vec!["POST"]),
        ("DELETE", BATCH, vec!["POST"]),
        ("POST", &one, vec!["GET", "PUT", "PATCH", "DELETE"]),
        ("POST", "/livez", vec!["GET"]),
        ("BREW", ADS, vec!["GET", "POST"]),
    ] {
        let answer = server.call(method, path).send().await;
        answer.problem(405, "method-not-allowed");
        let listed = answer.header("allow").expect("a 405 lists what is allowed").to_owned();
        let listed: Vec<_> = listed.split(',').map(str::trim).collect();
        for method in allowed {
            assert!(listed.contains(&method), "{path}: {listed:?} lacks {method}");
        }
    }
    server.get(&one).await.is(200);
}

async fn requests_that_no_route_takes_are_counted(server: Server) {
    let counted = async || {
        let metrics = server.get("/metrics").await.is(200);
        let text = String::from_utf8(metrics.body.to_vec()).expect("metrics are text");
        ["404", "405"].map(|status| {
            let name = format!("placard_http_unrouted_total{{status=\"{status}\"}} ");
            let count = text.lines().find_map(|line| line.strip_prefix(&name));
            count.unwrap_or_else(|| panic!("{name} is missing in {text}")).to_owned()
        })
    };
    assert_eq!(counted().await, ["0", "0"]);
    for (method, path) in [
        ("GET", "/none"),
        ("POST", "/api/v1/none"),
        ("BREW", "/none"),
        ("GET", "/docs/none.css"),
        ("DELETE", ADS),
        ("POST", "/livez"),
    ] {
        server.call(method, path).send().await;
    }
    // An ad that is not there has a route.
    server.get(&format!("{ADS}/{}", Uuid::new_v4())).await.is(404);
    assert_eq!(counted().await, ["4", "2"]);
}

/// Returns what a load balancer and an alert learn of a replica.
async fn told(server: &Server) -> (u16, String, bool) {
    let asked = server.get("/readyz").await;
    let metrics = server.get("/metrics").await.is(200);
    let text = String::from_utf8(metrics.body.to_vec()).expect("metrics are text");
    let is_ready = text.lines().any(|line| line == "placard_ready 1");
    assert!(is_ready || text.lines().any(|line| line == "placard_ready 0"), "{text}");
    (asked.status, asked.json()["status"].as_str().expect("a status").to_owned(), is_ready)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ready_metric_agrees_with_readyz() {
    let start = async |config: Config| {
        let refuses_for_good = config.refuses_after.is_some();
        let journal = ModelJournal::new(Timestamp::EPOCH);
        let replica = Replica::start(journal, ModelStream::default(), NoCheckpoints, config);
        // One that refuses for good never answers.
        let handle = replica.handle().clone();
        let reached = async || {
            let answers = refuses_for_good || handle.read_permits().verdict().answers();
            (handle.state().phase == Phase::Ready && answers).then_some(())
        };
        until("the replica is ready", reached).await;
        let app = App::new(replica.handle().clone());
        (Server::of(&app, replica), app)
    };
    let (server, app) = start(Config::default()).await;
    assert_eq!(told(&server).await, (200, "ready".to_owned(), true));
    app.drain();
    assert_eq!(told(&server).await, (503, "draining".to_owned(), false));
    // Whatever it heard of the journal is too old already.
    let none = Duration::ZERO;
    let config = Config { lease: none, refuses_after: Some(none), ..Default::default() };
    let (server, _) = start(config).await;
    assert_eq!(told(&server).await, (503, "stale".to_owned(), false));
}
