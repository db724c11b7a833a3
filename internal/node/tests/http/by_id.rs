//! One ad by its id: its status over time, its tag, and invalid ids.

use placard_model::Timestamp;
use placard_testkit::wait::until;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::both;
use crate::server::{ADS, Server, ad, ad_with};

both!(
    an_ad_is_shown_with_its_status_and_tag,
    an_ad_starts_and_ends_by_itself,
    an_unknown_id_is_not_found,
    malformed_id_is_refused,
    head_is_get_without_a_body,
);

async fn an_ad_is_shown_with_its_status_and_tag(server: Server) {
    let created = server.create(&ad()).await;
    let later = server.create(&ad()).await;
    let shown = server.get(&created.location()).await.is(200);
    assert_eq!(shown.json()["status"], "active");
    assert_eq!(shown.json()["version"], created.version());
    assert_eq!(shown.header("etag"), created.header("etag"));
    assert_eq!(shown.header("content-type"), Some("application/json"));
    assert!(shown.version() >= later.version(), "the version is the state's, not the ad's");
}

/// Scheduled, then active, then ended: by id it stays readable until it is deleted, and the listing has it only in
/// between.
async fn an_ad_starts_and_ends_by_itself(server: Server) {
    let from_now = |micros| now().saturating_add_micros(micros).to_string();
    let window = json!({ "start_at": from_now(700_000), "end_at": from_now(1_500_000) });
    let created = server.create(&ad_with(window)).await;
    let mut seen = Vec::new();
    until("the ad's end", async || {
        let (_, listed) = server.list("").await;
        let shown = server.get(&created.location()).await;
        // What has ended may have been deleted since.
        let ended = Value::from("ended");
        let status =
            if shown.status == 404 { ended } else { shown.is(200).json()["status"].clone() };
        let status = status.as_str().expect("a status is text").to_owned();
        // The listing came first: an ad in it had started, and an ad that has not started cannot be in it.
        assert!(!(listed == 1 && status == "scheduled"), "listed before its start");
        let (_, listed_after) = server.list("").await;
        assert!(!(listed_after == 1 && status == "ended"), "listed after its end");
        if seen.last() != Some(&status) {
            seen.push(status.clone());
        }
        (status == "ended").then_some(())
    })
    .await;
    let order = ["scheduled", "active", "ended"];
    let places: Vec<_> = seen.iter().map(|status| order.iter().position(|s| s == status)).collect();
    assert!(places.is_sorted() && !places.contains(&None), "{seen:?}");
    let deleted = server.call("DELETE", &created.location()).send().await.status;
    assert!([200, 404].contains(&deleted), "{deleted}");
    server.get(&created.location()).await.problem(404, "ad-not-found");
}

fn now() -> Timestamp {
    let since = std::time::SystemTime::UNIX_EPOCH.elapsed().expect("it is after 1970");
    let micros = i64::try_from(since.as_micros()).expect("it is before the year 292277");
    Timestamp::EPOCH.saturating_add_micros(micros)
}

async fn an_unknown_id_is_not_found(server: Server) {
    server.create(&ad()).await;
    let missing = server.get(&format!("{ADS}/{}", Uuid::new_v4())).await;
    missing.problem(404, "ad-not-found");
    assert_eq!(missing.version(), 1);
}

async fn malformed_id_is_refused(server: Server) {
    for wrong in ["x", "7", "%20", "6f9619ff8b864d01b42d00c04fc964ff", "a%2Fb", "%FF", "%C3%28"] {
        let path = format!("{ADS}/{wrong}");
        server.get(&path).await.names(&["parameter id"]);
        server.call("DELETE", &path).send().await.names(&["parameter id"]);
        server.call("PUT", &path).json(&ad()).send().await.names(&["parameter id"]);
        server.call("PATCH", &path).json(&json!({})).send().await.names(&["parameter id"]);
    }
}

async fn head_is_get_without_a_body(server: Server) {
    let created = server.create(&ad()).await;
    for path in [ADS.to_owned(), created.location()] {
        let head = server.call("HEAD", &path).send().await.is(200);
        assert!(head.body.is_empty());
        assert_eq!(head.version(), 1);
    }
}
