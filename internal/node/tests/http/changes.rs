//! Replacing, patching and deleting an ad, with and without a precondition.

use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::{Value, json};
use uuid::Uuid;

use crate::both;
use crate::server::{ADS, Server, ad, ad_with, all, with};

both!(
    put_replaces_the_whole_ad,
    patch_changes_what_it_names,
    patch_opens_a_dimension_with_null,
    patch_checks_the_merged_ad,
    patch_takes_the_type_for_merge_patches,
    delete_answers_with_the_version,
    an_unknown_id_is_not_found,
    preconditions_are_honoured,
    a_malformed_precondition_is_refused,
    no_ad_is_changed_to_an_ended_one,
    one_of_many_conditional_writers_wins,
    no_reader_sees_half_a_change,
    put_takes_exactly_what_get_gave,
    wrong_read_only_fields_are_refused,
);

/// An ad with every condition.
fn targeted() -> Value {
    ad_with(json!({
        "age_start": 20, "age_end": 30, "gender": ["F"], "country": ["TW"], "platform": ["ios"],
    }))
}

async fn put_replaces_the_whole_ad(server: Server) {
    let created = server.create(&targeted()).await;
    let new = json!({
        "title": "Winter sale",
        "content": "Half of it must go",
        "start_at": "2021-01-01T00:00:00Z",
        "end_at": "2098-01-01T00:00:00Z",
        "country": ["JP"],
    });
    let put = server.call("PUT", &created.location()).json(&new).send().await.is(200);
    let kept = json!({
        "id": created.id(), "version": 2, "created_at": created.json()["created_at"],
    });
    assert_eq!(put.json(), with(new, kept));
    assert_eq!(put.version(), 2);
    assert_eq!(put.header("etag"), Some("\"2\""));
    let shown = server.get(&created.location()).await.is(200);
    assert_eq!(shown.json(), with(put.json(), json!({ "status": "active" })));
}

async fn patch_changes_what_it_names(server: Server) {
    let created = server.create(&targeted()).await;
    let mut expected = created.json();
    for (n, (name, value)) in [
        ("title", json!("Winter sale")),
        ("content", json!("Half of it")),
        ("start_at", json!("2021-01-01T00:00:00Z")),
        ("end_at", json!("2098-01-01T00:00:00Z")),
        ("age_start", json!(30)),
        ("age_end", json!(40)),
        ("gender", json!(["M"])),
        ("country", json!(["JP"])),
        ("platform", json!(["web"])),
    ]
    .into_iter()
    .enumerate()
    {
        expected[name] = value.clone();
        expected["version"] = json!(n + 2);
        let patch = json!({ name: value });
        let patched = server.call("PATCH", &created.location()).json(&patch).send().await.is(200);
        assert_eq!(patched.json(), expected, "{name}");
        assert_eq!(patched.version(), n as u64 + 2);
        let shown = server.get(&created.location()).await.is(200);
        assert_eq!(shown.json(), with(expected.clone(), json!({ "status": "active" })));
    }
}

async fn patch_opens_a_dimension_with_null(server: Server) {
    let created = server.create(&targeted()).await;
    let open = server.create(&ad()).await.json();
    let patch = json!({
        "age_start": null, "age_end": null, "gender": null, "country": null, "platform": [],
    });
    let patched = server.call("PATCH", &created.location()).json(&patch).send().await.is(200);
    let own =
        json!({ "id": created.id(), "version": 3, "created_at": created.json()["created_at"] });
    assert_eq!(patched.json(), with(open, own));
    assert_eq!(server.list("age=99&gender=M&country=FR&platform=web").await.1, 2);
}

async fn patch_checks_the_merged_ad(server: Server) {
    let open = server.create(&ad()).await;
    let aged = server.create(&targeted()).await;
    for (ad, patch, place) in [
        (&open, json!({ "age_start": 5 }), "pointer /age_end"),
        (&open, json!({ "age_end": 5 }), "pointer /age_start"),
        (&aged, json!({ "age_start": 31 }), "pointer /age_end"),
        (&aged, json!({ "age_start": null }), "pointer /age_start"),
        (&open, json!({ "start_at": "2099-01-01T00:00:00Z" }), "pointer /end_at"),
        (&open, json!({ "end_at": "2020-01-01T00:00:00Z" }), "pointer /end_at"),
        (&open, json!({ "title": null }), "pointer /title"),
        (&open, json!({ "content": null }), "pointer /content"),
        (&open, json!({ "start_at": null }), "pointer /start_at"),
        (&open, json!({ "end_at": null }), "pointer /end_at"),
    ] {
        server.call("PATCH", &ad.location()).json(&patch).send().await.names(&[place]);
    }
    assert_eq!(server.get(&open.location()).await.json()["version"], 1);
    assert_eq!(server.get(&aged.location()).await.json()["version"], 2);
}

async fn patch_takes_the_type_for_merge_patches(server: Server) {
    let created = server.create(&ad()).await;
    let patch = server.call("PATCH", &created.location());
    let patch = patch.header("content-type", "application/merge-patch+json");
    patch.json(&json!({ "title": "Winter sale" })).send().await.is(200);
    let other = server.call("PATCH", &created.location());
    let other = other.header("content-type", "application/json-patch+json");
    other.json(&json!([])).send().await.problem(415, "unsupported-media-type");
}

async fn delete_answers_with_the_version(server: Server) {
    let created = server.create(&ad()).await;
    let deleted = server.call("DELETE", &created.location()).send().await.is(200);
    assert_eq!(deleted.json(), json!({ "id": created.id(), "version": 2 }));
    assert_eq!(deleted.version(), 2);
    let missing = server.get(&created.location()).await;
    missing.problem(404, "ad-not-found");
    assert_eq!(missing.version(), 2);
    let again = server.call("DELETE", &created.location()).send().await;
    again.problem(404, "ad-not-found");
    assert_eq!(again.version(), 2);
}

async fn an_unknown_id_is_not_found(server: Server) {
    let path = format!("{ADS}/{}", Uuid::new_v4());
    server.call("PUT", &path).json(&ad()).send().await.problem(404, "ad-not-found");
    server.call("PATCH", &path).json(&json!({})).send().await.problem(404, "ad-not-found");
    server.call("DELETE", &path).send().await.problem(404, "ad-not-found");
    assert_eq!(server.list("").await.1, 0);
}

async fn preconditions_are_honoured(server: Server) {
    let created = server.create(&ad()).await;
    let path = created.location();
    for stale in ["\"7\"", "W/\"1\"", "\"abc\"", "\"3\", \"4\"", "\"\""] {
        for (method, body) in [("PUT", ad()), ("PATCH", json!({})), ("DELETE", Value::Null)] {
            let call = server.call(method, &path).header("if-match", stale);
            let call = if body.is_null() { call } else { call.json(&body) };
            let refused = call.send().await;
            refused.problem(412, "version-mismatch");
            assert_eq!(refused.version(), 1);
        }
    }
    let tag = created.header("etag").expect("a tag").to_owned();
    let put = server.call("PUT", &path).header("if-match", &tag).json(&ad()).send().await.is(200);
    let stale = server.call("PUT", &path).header("if-match", &tag).json(&ad()).send().await;
    stale.problem(412, "version-mismatch");
    let tag = put.header("etag").expect("a tag").to_owned();
    let several = format!("\"77\", {tag}");
    let patch = server.call("PATCH", &path).header("if-match", &several).json(&json!({}));
    patch.send().await.is(200);
    server.call("PATCH", &path).header("if-match", "*").json(&json!({})).send().await.is(200);
    let shown = server.get(&path).await.is(200);
    let tag = shown.header("etag").expect("a tag");
    server.call("DELETE", &path).header("if-match", tag).send().await.is(200);
}

async fn a_malformed_precondition_is_refused(server: Server) {
    let created = server.create(&ad()).await;
    for wrong in ["1", "\"1", "1\"", "\"1\" \"2\"", "'1'", "w/\"1\""] {
        let call = server.call("DELETE", &created.location()).header("if-match", wrong);
        call.send().await.names(&["header if-match"]);
    }
    server.get(&created.location()).await.is(200);
}

async fn no_ad_is_changed_to_an_ended_one(server: Server) {
    let past = json!({ "start_at": "2019-01-01T00:00:00Z", "end_at": "2020-01-01T00:00:00Z" });
    server.post(ADS, &ad_with(past.clone())).await.names(&["pointer /end_at"]);
    let path = server.create(&ad()).await.location();
    let put = server.call("PUT", &path).json(&ad_with(past.clone()));
    put.send().await.names(&["pointer /end_at"]);
    server.call("PATCH", &path).json(&past).send().await.names(&["pointer /end_at"]);
    assert_eq!(server.list("").await.1, 1);
}

async fn one_of_many_conditional_writers_wins(server: Server) {
    let path = server.create(&ad()).await.location();
    let tried = (0..8).map(|n| {
        let title = json!({ "title": format!("Writer {n}") });
        server.call("PATCH", &path).header("if-match", "\"1\"").json(&title).send()
    });
    let mut answers = Vec::new();
    for answer in all(tried).await {
        answers.push(answer.status);
    }
    answers.sort_unstable();
    assert_eq!(answers, [200, 412, 412, 412, 412, 412, 412, 412]);
    assert_eq!(server.get(&path).await.json()["version"], 2);
}

/// An ad that moves in the order and between targets is always there once, and always one or the other.
async fn no_reader_sees_half_a_change(server: Server) {
    let shapes = [
        ad_with(
            json!({ "title": "Shape one", "country": ["TW"], "end_at": "2090-01-01T00:00:00Z" }),
        ),
        ad_with(json!({ "title": "Shape two", "country": ["JP"], "age_start": 3, "age_end": 9 })),
    ];
    let path = server.create(&shapes[0]).await.location();
    server.create(&ad_with(json!({ "end_at": "2095-01-01T00:00:00Z" }))).await;
    let done = AtomicBool::new(false);
    let write = async {
        for shape in shapes.iter().cycle().skip(1).take(100) {
            server.call("PUT", &path).json(shape).send().await.is(200);
        }
        done.store(true, Ordering::Relaxed);
    };
    let read = async || {
        while !done.load(Ordering::Relaxed) {
            // In process a read never waits, and the writer is to have its turn.
            tokio::task::yield_now().await;
            let page = server.get(ADS).await.is(200).json();
            let ads = page["ads"].as_array().expect("ads is an array");
            assert_eq!((ads.len(), &page["total"]), (2, &json!(2)), "{page}");
            let whole = |shape: &Value| {
                let same =
                    |(name, value): (&String, &Value)| ads.iter().any(|ad| &ad[name] == value);
                shape.as_object().expect("an object").iter().all(same)
            };
            assert!(shapes.iter().any(whole), "{page}");
            for query in ["country=TW", "country=JP"] {
                let total = server.list(query).await.1;
                assert!(total == 1 || total == 2, "{query}: {total}");
            }
        }
    };
    tokio::join!(write, read(), read());
}

/// What a client reads, it may send back, with or without a change.
async fn put_takes_exactly_what_get_gave(server: Server) {
    let path = server.create(&targeted()).await.location();
    for changes in [
        json!({}),
        json!({ "title": "Changed title" }),
        json!({ "start_at": "2098-01-01T00:00:00Z" }),
    ] {
        let shown = server.get(&path).await.is(200);
        let tag = shown.header("etag").expect("a tag").to_owned();
        let sent = with(shown.json(), changes);
        let put =
            server.call("PUT", &path).header("if-match", &tag).json(&sent).send().await.is(200);
        let expected = json!({ "version": put.version(), "status": null });
        let mut sent = with(sent, expected);
        sent.as_object_mut().expect("an object").remove("status");
        assert_eq!(put.json(), sent);
        let patched =
            server.call("PATCH", &path).json(&server.get(&path).await.json()).send().await;
        assert_eq!(patched.is(200).json()["title"], sent["title"]);
    }
    // A listing and a write show an ad without its status.
    let listed = server.create(&ad()).await;
    server.call("PUT", &listed.location()).json(&listed.json()).send().await.is(200);
    // However it is written.
    let shown = server.get(&path).await.json();
    let id = shown["id"].as_str().expect("an id").to_uppercase();
    let created = shown["created_at"].as_str().expect("a stamp").replace('Z', "+00:00");
    let sent = with(shown, json!({ "id": id, "created_at": created }));
    server.call("PUT", &path).json(&sent).send().await.is(200);
}

async fn wrong_read_only_fields_are_refused(server: Server) {
    let path = server.create(&ad()).await.location();
    for (name, value) in [
        ("id", json!("0190a6c2-0000-7000-8000-00000000000a")),
        ("id", json!("x")),
        ("version", json!(2)),
        ("version", json!("1")),
        ("version", json!(1.5)),
        ("created_at", json!("2026-01-01T00:00:00Z")),
        ("created_at", json!(7)),
        ("status", json!("scheduled")),
        ("status", json!("Active")),
    ] {
        let place = format!("pointer /{name}");
        let fields = json!({ name: value });
        server.call("PUT", &path).json(&ad_with(fields.clone())).send().await.names(&[&place]);
        server.call("PATCH", &path).json(&fields).send().await.names(&[&place]);
    }
    // All at once, and nothing is so before there is an ad.
    let wrong = ad_with(json!({ "version": 9, "status": "ended" }));
    let places = ["pointer /status", "pointer /version"];
    server.call("PUT", &path).json(&wrong).send().await.names(&places);
    server.post(ADS, &wrong).await.names(&places);
    assert_eq!(server.get(ADS).await.version(), 1, "something was written");
}
