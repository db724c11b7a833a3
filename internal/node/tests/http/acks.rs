//! `ack=all`: receipts of every replica, and the page that shows the replicas. Embedded there is one.

use serde_json::json;

use crate::both;
use crate::server::{ADS, BATCH, Server, ad};

both!(
    every_write_can_ask_for_receipts,
    a_write_that_wrote_nothing_has_no_receipts,
    without_asking_there_are_no_receipts,
    invalid_ack_is_refused,
    the_cluster_is_shown,
);

async fn every_write_can_ask_for_receipts(server: Server) {
    let created = server.post(&format!("{ADS}?ack=all"), &ad()).await.is(201);
    let path = format!("{}?ack=all", created.location());
    let replaced = server.call("PUT", &path).json(&ad()).send().await.is(200);
    let patched =
        server.call("PATCH", &path).json(&json!({ "title": "Changed" })).send().await.is(200);
    let deleted = server.call("DELETE", &path).send().await.is(200);
    let batch = server.post(&format!("{BATCH}?ack=all"), &json!([ad()])).await.is(200);
    for (answer, version) in [created, replaced, patched, deleted, batch].iter().zip(1..) {
        let receipts = &answer.json()["receipts"];
        assert_eq!(receipts["unconfirmed"], json!([]));
        let confirmed = receipts["confirmed"].as_array().expect("a list of receipts");
        assert_eq!(confirmed.len(), 1);
        assert!(confirmed[0]["version"].as_u64() >= Some(version), "{receipts}");
        assert_eq!(answer.version(), version);
    }
}

async fn a_write_that_wrote_nothing_has_no_receipts(server: Server) {
    let missing = format!("{ADS}/0190a6c2-0000-7000-8000-000000000002?ack=all");
    server.call("DELETE", &missing).send().await.problem(404, "ad-not-found");
    let refused = server.post(&format!("{BATCH}?ack=all"), &json!([{}])).await.is(200);
    assert_eq!(refused.json().get("receipts"), None);
}

async fn without_asking_there_are_no_receipts(server: Server) {
    for path in [ADS.to_owned(), format!("{ADS}?ack=applied")] {
        let created = server.post(&path, &ad()).await.is(201);
        assert_eq!(created.json().get("receipts"), None);
    }
}

async fn invalid_ack_is_refused(server: Server) {
    for ack in ["ack=", "ack=ALL", "ack=none", "ack=all&ack=all", "acks=all"] {
        let refused = server.post(&format!("{ADS}?{ack}"), &ad()).await;
        refused.problem(400, "invalid-request");
    }
    server.get(&format!("{ADS}?ack=all")).await.problem(400, "invalid-request");
}

async fn the_cluster_is_shown(server: Server) {
    server.post(&format!("{ADS}?ack=all"), &ad()).await.is(201);
    let page = server.get("/api/v1/cluster").await.is(200).json();
    let members = page["members"].as_array().expect("a list of members");
    assert_eq!(members.len(), 1);
    assert_eq!(members[0]["replica"], page["replica"]);
    assert_eq!(members[0]["state"], "ready");
    assert_eq!(members[0]["published"], page["head"]);
    assert_eq!((&members[0]["lag_entries"], &members[0]["lag_ms"]), (&json!(0), &json!(0)));
    assert!(members[0]["lease_ms"].as_i64() > Some(0));
    assert_eq!(page["head"]["version"], 1);
}
