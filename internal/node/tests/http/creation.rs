//! Creating an ad: every field, what may be left out, the client's own id.

use serde_json::{Value, json};

use crate::both;
use crate::server::{ADS, Server, ad, ad_with};

both!(
    all_fields_come_back,
    conditions_left_out_mean_any,
    absent_null_and_empty_are_the_same,
    duplicates_are_folded,
    a_client_may_choose_the_id,
    an_id_is_taken_once,
    the_server_draws_distinct_ids,
    lengths_count_characters,
    bounds_of_ages_are_inclusive,
    line_ends_are_content,
    an_ad_may_start_later,
    a_media_type_may_have_parameters,
    versions_count_up_without_holes,
);

async fn all_fields_come_back(server: Server) {
    let sent = json!({
        "id": "6f9619ff-8b86-4d01-b42d-00c04fc964ff",
        "title": "Bicycles",
        "content": "New and used",
        "start_at": "2026-01-02T03:04:05Z",
        "end_at": "2098-02-03T04:05:06.789Z",
        "age_start": 18,
        "age_end": 35,
        "gender": ["F"],
        "country": ["JP", "TW"],
        "platform": ["android", "ios"],
    });
    let created = server.create(&sent).await;
    let body = created.json();
    for (name, value) in sent.as_object().expect("an object") {
        assert_eq!(&body[name], value, "{name}");
    }
    assert_eq!(body["version"], 1);
    assert_eq!(created.version(), 1);
    assert_eq!(created.header("etag"), Some("\"1\""));
    assert_eq!(created.header("content-type"), Some("application/json"));
    assert_eq!(created.location(), format!("{ADS}/6f9619ff-8b86-4d01-b42d-00c04fc964ff"));
    assert!(body["created_at"].as_str().is_some_and(|stamp| stamp.ends_with('Z')), "{body}");
    let shown = server.get(&created.location()).await.is(200).json();
    for (name, value) in body.as_object().expect("an object") {
        assert_eq!(&shown[name], value, "{name}");
    }
}

async fn conditions_left_out_mean_any(server: Server) {
    server.create(&ad()).await;
    for query in ["", "age=1", "age=100&gender=M&country=AD&platform=web", "gender=F"] {
        assert_eq!(server.list(query).await.1, 1, "{query}");
    }
}

async fn absent_null_and_empty_are_the_same(server: Server) {
    let nulls = json!({
        "age_start": null, "age_end": null, "gender": null, "country": null, "platform": null, "id": null,
    });
    let empties = json!({ "gender": [], "country": [], "platform": [] });
    let mut shown = Vec::new();
    for fields in [json!({}), nulls, empties] {
        let mut body = server.create(&ad_with(fields)).await.json();
        for drawn in ["id", "version", "created_at"] {
            body.as_object_mut().expect("an object").remove(drawn);
        }
        shown.push(body);
    }
    assert_eq!(shown[0], shown[1]);
    assert_eq!(shown[0], shown[2]);
    assert_eq!(server.list("age=50&gender=F&country=FR&platform=web").await.1, 3);
}

async fn duplicates_are_folded(server: Server) {
    let doubled = json!({
        "country": ["TW", "JP", "TW"], "gender": ["F", "F"], "platform": ["web", "ios", "web", "ios"],
    });
    let body = server.create(&ad_with(doubled)).await.json();
    let sorted = |name: &str| {
        let mut values: Vec<_> =
            body[name].as_array().expect("an array").iter().filter_map(Value::as_str).collect();
        values.sort_unstable();
        values
    };
    assert_eq!(sorted("country"), ["JP", "TW"]);
    assert_eq!(sorted("gender"), ["F"]);
    assert_eq!(sorted("platform"), ["ios", "web"]);
}

async fn a_client_may_choose_the_id(server: Server) {
    let id = "0190a6c2-0000-7000-8000-00000000000a";
    let created = server.create(&ad_with(json!({ "id": id.to_uppercase() }))).await;
    assert_eq!(created.id(), id, "an id is shown in lower case however it was written");
    assert_eq!(created.location(), format!("{ADS}/{id}"));
    server.get(&format!("{ADS}/{}", id.to_uppercase())).await.is(200);
}

async fn an_id_is_taken_once(server: Server) {
    let mine = ad_with(json!({ "id": "0190a6c2-0000-7000-8000-00000000000a" }));
    let created = server.create(&mine).await;
    let again = server.post(ADS, &mine).await;
    again.problem(409, "ad-exists");
    assert_eq!(again.version(), created.version());
    let another = server.post(ADS, &ad_with(json!({ "id": created.id(), "title": "Other" }))).await;
    another.problem(409, "ad-exists");
    assert_eq!(server.get(&created.location()).await.json()["title"], "Summer sale");
    server.call("DELETE", &created.location()).send().await.is(200);
    server.create(&mine).await;
}

async fn the_server_draws_distinct_ids(server: Server) {
    let (one, two) = (server.create(&ad()).await, server.create(&ad()).await);
    assert_ne!(one.id(), two.id());
    assert_eq!(server.list("").await.1, 2);
}

async fn lengths_count_characters(server: Server) {
    for title in ["12345", "日本語の犬", "🚲🚲🚲🚲🚲", &"x".repeat(100), &"🚲".repeat(100)]
    {
        let body = server.create(&ad_with(json!({ "title": title }))).await.json();
        assert_eq!(body["title"], title);
    }
    for content in ["x", "犬", &"x".repeat(10_000), &"🚲".repeat(10_000)] {
        let body = server.create(&ad_with(json!({ "content": content }))).await.json();
        assert_eq!(body["content"], content);
    }
    // As long on the wire as it gets: every scalar as an escaped surrogate pair.
    let escaped = ad().to_string().replace("Everything must go", &"\\ud83d\\udeb2".repeat(10_000));
    let created = server.call("POST", ADS).text(escaped).send().await.is(201);
    assert_eq!(created.json()["content"], "🚲".repeat(10_000));
}

async fn bounds_of_ages_are_inclusive(server: Server) {
    for (start, end) in [(1, 1), (1, 100), (100, 100), (50, 50)] {
        server.create(&ad_with(json!({ "age_start": start, "age_end": end }))).await;
    }
    assert_eq!(server.list("age=1").await.1, 2);
    assert_eq!(server.list("age=2").await.1, 1);
    assert_eq!(server.list("age=50").await.1, 2);
    assert_eq!(server.list("age=100").await.1, 2);
}

async fn line_ends_are_content(server: Server) {
    let text = "one\r\ntwo\n\tthree \"quoted\" \\ / <b>&amp;</b>";
    let created = server.create(&ad_with(json!({ "content": text }))).await;
    assert_eq!(created.json()["content"], text);
    assert_eq!(server.get(&created.location()).await.json()["content"], text);
    assert_eq!(server.get(ADS).await.json()["ads"][0]["content"], text);
}

async fn an_ad_may_start_later(server: Server) {
    let created = server.create(&ad_with(json!({ "start_at": "2098-12-31T00:00:00Z" }))).await;
    assert_eq!(server.list("").await.1, 0);
    assert_eq!(server.get(&created.location()).await.is(200).json()["status"], "scheduled");
}

async fn a_media_type_may_have_parameters(server: Server) {
    for media in ["application/json; charset=utf-8", "APPLICATION/JSON", "application/json;q=1"] {
        let call = server.call("POST", ADS).header("content-type", media);
        call.json(&ad()).send().await.is(201);
    }
}

async fn versions_count_up_without_holes(server: Server) {
    for version in 1..=5 {
        // What is refused takes no version.
        server.post(ADS, &ad_with(json!({ "title": "x" }))).await.is(400);
        server.call("DELETE", &format!("{ADS}/{}", uuid::Uuid::nil())).send().await.is(404);
        assert_eq!(server.create(&ad()).await.version(), version);
    }
}
