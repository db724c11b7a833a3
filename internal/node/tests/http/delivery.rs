//! How an ad is delivered: out of which pool, with which weight, where a click leads, and whether it is paused.

use serde_json::{Value, json};
use uuid::Uuid;

use crate::both;
use crate::pools::{POOLS, create, pool};
use crate::server::{ADS, Answer, Server, ad, ad_with};

both!(
    delivery_is_set_shown_and_opened,
    broken_rules_of_a_delivery_are_named,
    paused_ad_is_in_no_list_until_it_is_resumed,
    pool_of_an_ad_exists_as_long_as_it_is_named,
);

async fn change(server: &Server, path: &str, patch: Value) -> Answer {
    server.call("PATCH", path).json(&patch).send().await
}

async fn delivery_is_set_shown_and_opened(server: Server) {
    let pool = create(&server, &pool()).await.id();
    let link = "https://shop.example/sale?from=placard";
    let fields = json!({ "pool": pool, "weight": 7, "link": link });
    let path = server.create(&ad_with(fields.clone())).await.location();
    let listed = server.get(ADS).await.json()["ads"][0].clone();
    for shown in [server.get(&path).await.json(), listed] {
        for name in ["pool", "weight", "link"] {
            assert_eq!(shown[name], fields[name], "{name}");
        }
        assert_eq!(shown["paused"], Value::Null);
    }
    // What was read is what there is.
    let mut read = server.get(&path).await.json();
    read["weight"] = json!(8);
    let put = server.call("PUT", &path).json(&read).send().await.is(200).json();
    assert_eq!((&put["weight"], &put["link"]), (&json!(8), &json!(link)));
    let opened = json!({ "pool": null, "weight": null, "link": null, "paused": null });
    let open = change(&server, &path, opened).await.is(200).json();
    for name in ["pool", "weight", "link", "paused"] {
        assert_eq!(open[name], Value::Null, "{name}");
    }
}

async fn broken_rules_of_a_delivery_are_named(server: Server) {
    let broken = json!({ "pool": "7", "weight": 0, "link": "javascript:alert(1)", "paused": "no" });
    server.post(ADS, &ad_with(broken)).await.names(&[
        "pointer /link",
        "pointer /paused",
        "pointer /pool",
        "pointer /weight",
    ]);
    let path = server.create(&ad()).await.location();
    let unknown = Uuid::new_v4().to_string();
    for (patch, place) in [
        (json!({ "weight": 1_000_001 }), "pointer /weight"),
        (json!({ "weight": 1.5 }), "pointer /weight"),
        (json!({ "link": "https://shop.example@evil.example/" }), "pointer /link"),
        (json!({ "link": "" }), "pointer /link"),
        (json!({ "pool": unknown }), "pointer /pool"),
    ] {
        change(&server, &path, patch).await.names(&[place]);
    }
    server.post(ADS, &ad_with(json!({ "pool": unknown }))).await.names(&["pointer /pool"]);
    change(&server, &path, json!({ "weight": 1_000_000 })).await.is(200);
}

async fn paused_ad_is_in_no_list_until_it_is_resumed(server: Server) {
    let path = server.create(&ad()).await.location();
    server.create(&ad_with(json!({ "paused": true }))).await;
    assert_eq!(server.list("").await.1, 1);
    let paused = change(&server, &path, json!({ "paused": true })).await.is(200);
    assert_eq!(paused.json()["paused"], true);
    assert_eq!(server.list("").await, (vec![], 0));
    let shown = server.get(&path).await;
    assert_eq!(shown.json()["status"], "paused");
    let tag = shown.header("etag").expect("an ad has a tag").to_owned();
    server.call("GET", &path).header("if-none-match", &tag).send().await.is(304);
    change(&server, &path, json!({ "title": "Another title" })).await.is(200);
    assert_eq!(server.list("").await.1, 0);
    let resume = server.call("PATCH", &path).header("if-match", "\"4\"");
    resume.json(&json!({ "paused": false })).send().await.is(200);
    assert_eq!(server.list("").await.1, 1);
    assert_eq!(server.get(&path).await.json()["status"], "active");
}

async fn pool_of_an_ad_exists_as_long_as_it_is_named(server: Server) {
    let created = create(&server, &pool()).await;
    let (pool, id) = (created.location(), created.id());
    assert_eq!(pool, format!("{POOLS}/{id}"));
    let first = server.create(&ad_with(json!({ "pool": id }))).await.location();
    let second = server.create(&ad()).await.location();
    change(&server, &second, json!({ "pool": id })).await.is(200);
    change(&server, &pool, json!({ "paused": true })).await.is(200);
    let delete = async || server.call("DELETE", &pool).send().await;
    delete().await.problem(409, "pool-named");
    server.call("DELETE", &first).send().await.is(200);
    delete().await.problem(409, "pool-named");
    server.call("PUT", &second).json(&ad()).send().await.is(200);
    delete().await.is(200);
    server.post(ADS, &ad_with(json!({ "pool": id }))).await.names(&["pointer /pool"]);
}
