//! Many creations in one request, each decided by itself.

use serde_json::{Value, json};

use crate::both;
use crate::server::{ADS, BATCH, Server, ad, ad_with, named};

both!(
    every_item_has_its_answer_in_order,
    every_ad_gets_a_distinct_version,
    items_of_one_batch_see_each_other,
    batch_of_invalid_items_is_answered_item_by_item,
    sizes_are_bounded,
    a_body_of_eight_mebibytes_is_the_most,
    body_that_is_not_an_array_is_refused,
);

fn id(n: usize) -> String {
    format!("0190a6c2-0000-7000-8000-{n:012x}")
}

async fn every_item_has_its_answer_in_order(server: Server) {
    server.create(&ad_with(json!({ "id": id(9) }))).await;
    let batch = json!([
        ad_with(json!({ "id": id(1) })),
        ad_with(json!({ "title": "x", "country": ["tw"] })),
        ad_with(json!({ "id": id(9) })),
        7,
        ad_with(json!({ "id": id(2) })),
        ad_with(json!({ "end_at": "2020-06-01T00:00:00Z" })),
        null,
        [],
        ad_with(json!({ "id": id(3) })),
    ]);
    let answer = server.post(BATCH, &batch).await.is(200);
    let body = answer.json();
    assert_eq!((&body["created"], &body["failed"]), (&json!(3), &json!(6)));
    let items = body["items"].as_array().expect("items is an array");
    let statuses: Vec<_> = items.iter().map(|item| item["status"].as_u64()).collect();
    let expected = [201, 400, 409, 400, 201, 400, 400, 400, 201];
    assert_eq!(statuses, expected.map(Some));
    for (at, n, version) in [(0, 1, 2), (4, 2, 3), (8, 3, 4)] {
        assert_eq!((&items[at]["id"], &items[at]["version"]), (&json!(id(n)), &json!(version)));
        server.get(&format!("{ADS}/{}", id(n))).await.is(200);
    }
    assert_eq!(named(&items[1]["error"]), ["pointer /country/0", "pointer /title"]);
    assert_eq!(items[2]["error"]["type"], "/problems/ad-exists");
    assert_eq!(named(&items[3]["error"]), ["pointer "]);
    assert_eq!(named(&items[5]["error"]), ["pointer /end_at"]);
    assert_eq!(answer.version(), 4);
    assert_eq!(server.list("").await.1, 4);
}

async fn every_ad_gets_a_distinct_version(server: Server) {
    let batch: Vec<_> = (0..1_000).map(|_| ad()).collect();
    let body = server.post(BATCH, &Value::from(batch)).await.is(200).json();
    let items = body["items"].as_array().expect("items is an array");
    let versions: Vec<_> = items.iter().filter_map(|item| item["version"].as_u64()).collect();
    assert!(versions.into_iter().eq(1..=1_000));
    let mut ids: Vec<_> = items.iter().filter_map(|item| item["id"].as_str()).collect();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), 1_000);
    assert_eq!(server.list("").await.1, 1_000);
}

async fn items_of_one_batch_see_each_other(server: Server) {
    let batch = json!([ad_with(json!({ "id": id(1) })), ad_with(json!({ "id": id(1) }))]);
    let body = server.post(BATCH, &batch).await.is(200).json();
    assert_eq!(body["items"][0]["status"], 201);
    assert_eq!(body["items"][1]["status"], 409);
    assert_eq!(server.list("").await.1, 1);
}

async fn batch_of_invalid_items_is_answered_item_by_item(server: Server) {
    let answer = server.post(BATCH, &json!([{}, { "title": 7 }])).await.is(200);
    let body = answer.json();
    assert_eq!((&body["created"], &body["failed"]), (&json!(0), &json!(2)));
    let required = ["pointer /content", "pointer /end_at", "pointer /start_at", "pointer /title"];
    assert_eq!(named(&body["items"][0]["error"]), required);
    assert_eq!(named(&body["items"][1]["error"]), required);
    assert_eq!(answer.version(), 0);
}

async fn sizes_are_bounded(server: Server) {
    server.post(BATCH, &json!([])).await.names(&["pointer "]);
    let batch: Vec<_> = (0..1_001).map(|_| ad()).collect();
    server.post(BATCH, &Value::from(batch)).await.names(&["pointer "]);
    let tiny = Value::from(vec![0; 1_000_000]);
    server.post(BATCH, &tiny).await.names(&["pointer "]);
    assert_eq!(server.list("").await.1, 0);
    server.still_answers().await;
}

async fn a_body_of_eight_mebibytes_is_the_most(server: Server) {
    let batch: Vec<_> =
        (0..800).map(|_| ad_with(json!({ "content": "x".repeat(10_000) }))).collect();
    let mut body = Value::from(batch).to_string();
    assert!(body.len() < 8 << 20);
    body.extend(std::iter::repeat_n(' ', (8 << 20) - body.len()));
    let answer = server.call("POST", BATCH).text(body.clone()).send().await.is(200);
    assert_eq!(answer.json()["created"], 800);
    body.push(' ');
    let refused = server.call("POST", BATCH).text(body).send().await;
    refused.problem(413, "body-too-large");
    assert_eq!(server.list("").await.1, 800);
    server.still_answers().await;
}

async fn body_that_is_not_an_array_is_refused(server: Server) {
    for body in [json!({}), json!(null), json!("x"), json!(7), ad()] {
        server.post(BATCH, &body).await.names(&["pointer "]);
    }
    for text in ["", "[", "[{}", "[{},]", "[{}] x", "[}"] {
        server.call("POST", BATCH).text(text).send().await.names(&["pointer "]);
    }
}
