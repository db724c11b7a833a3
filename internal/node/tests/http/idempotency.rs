//! `Idempotency-Key`: the same request is decided once, however often it is sent.

use serde_json::{Value, json};
use uuid::Uuid;

use crate::both;
use crate::server::{ADS, Answer, BATCH, Server, ad, ad_with, all};

both!(
    a_creation_is_answered_alike_and_done_once,
    changes_are_answered_alike_and_done_once,
    a_batch_is_answered_alike_and_done_once,
    not_found_is_kept,
    a_failed_precondition_is_kept,
    a_conflict_is_kept,
    a_bad_request_is_never_kept,
    another_body_is_refused,
    a_key_is_scoped_by_method_and_path,
    concurrent_duplicates_create_one_ad,
    concurrent_rivals_for_a_key_create_one_ad,
    without_a_key_every_request_counts,
    malformed_key_is_refused,
    replayed_refusals_say_so,
    another_precondition_is_another_request,
    spelling_of_an_id_is_no_part_of_a_request,
    same_ad_written_otherwise_is_the_same_request,
);

/// Status, version and body are the same; the second says that it was given before.
fn alike(first: &Answer, again: &Answer) {
    assert_eq!(first.status, again.status);
    assert_eq!(first.json(), again.json());
    for name in ["placard-version", "etag", "location", "content-type"] {
        assert_eq!(first.header(name), again.header(name), "{name}");
    }
}

async fn a_creation_is_answered_alike_and_done_once(server: Server) {
    let create = || server.call("POST", ADS).key("k-1").json(&ad()).send();
    let first = create().await.is(201);
    server
        .call("PATCH", &first.location())
        .json(&json!({ "title": "Changed" }))
        .send()
        .await
        .is(200);
    alike(&first, &create().await);
    server.call("DELETE", &first.location()).send().await.is(200);
    alike(&first, &create().await);
    assert_eq!(server.list("").await.1, 0);
}

async fn changes_are_answered_alike_and_done_once(server: Server) {
    let path = server.create(&ad()).await.location();
    let put =
        || server.call("PUT", &path).key("k").json(&ad_with(json!({ "title": "Put it" }))).send();
    let patch = || server.call("PATCH", &path).key("k").json(&json!({ "title": "Patched" })).send();
    let delete = || server.call("DELETE", &path).key("k").send();
    let put_once = put().await.is(200);
    let patched_once = patch().await.is(200);
    alike(&put_once, &put().await);
    assert_eq!(server.get(&path).await.json()["title"], "Patched");
    let deleted_once = delete().await.is(200);
    alike(&patched_once, &patch().await);
    alike(&deleted_once, &delete().await);
    assert_eq!(server.get(ADS).await.version(), 4);
}

async fn a_batch_is_answered_alike_and_done_once(server: Server) {
    let batch =
        json!([ad(), { "title": 1 }, ad(), ad_with(json!({ "end_at": "2020-06-01T00:00:00Z" }))]);
    let send = || server.call("POST", BATCH).key("k").json(&batch).send();
    let first = send().await.is(200);
    alike(&first, &send().await);
    assert_eq!(server.list("").await.1, 2);
    let other = server.call("POST", BATCH).key("k").json(&json!([ad()])).send().await;
    other.problem(422, "idempotency-key-reused");
    assert_eq!(server.list("").await.1, 2);
}

async fn not_found_is_kept(server: Server) {
    let id = Uuid::new_v4().to_string();
    let path = format!("{ADS}/{id}");
    let delete = || server.call("DELETE", &path).key("k").send();
    let first = delete().await;
    first.problem(404, "ad-not-found");
    server.create(&ad_with(json!({ "id": id }))).await;
    alike(&first, &delete().await);
    server.get(&path).await.is(200);
}

async fn a_failed_precondition_is_kept(server: Server) {
    let path = server.create(&ad()).await.location();
    let patch = || {
        let call = server.call("PATCH", &path).key("k").header("if-match", "\"2\"");
        call.json(&json!({ "title": "Late change" })).send()
    };
    let first = patch().await;
    first.problem(412, "version-mismatch");
    server.call("PATCH", &path).json(&json!({ "title": "Changed" })).send().await.is(200);
    alike(&first, &patch().await);
    assert_eq!(server.get(&path).await.json()["title"], "Changed");
}

async fn a_conflict_is_kept(server: Server) {
    let mine = ad_with(json!({ "id": Uuid::new_v4().to_string() }));
    let path = server.create(&mine).await.location();
    let create = || server.call("POST", ADS).key("k").json(&mine).send();
    let first = create().await;
    first.problem(409, "ad-exists");
    server.call("DELETE", &path).send().await.is(200);
    alike(&first, &create().await);
    assert_eq!(server.list("").await.1, 0);
}

/// Whether its shape is wrong or only the ad's state makes it so: a mended request may use the key.
async fn a_bad_request_is_never_kept(server: Server) {
    let past = ad_with(json!({ "end_at": "2020-06-01T00:00:00Z" }));
    for (n, wrong) in [ad_with(json!({ "title": "x" })), past].iter().enumerate() {
        let key = format!("k-{n}");
        server.call("POST", ADS).key(&key).json(wrong).send().await.is(400);
        server.call("POST", ADS).key(&key).json(wrong).send().await.is(400);
        server.call("POST", ADS).key(&key).json(&ad()).send().await.is(201);
    }
    let path = server.create(&ad()).await.location();
    let patch = |body: Value| server.call("PATCH", &path).key("k").json(&body).send();
    patch(json!({ "age_start": 5 })).await.is(400);
    patch(json!({ "age_start": 5, "age_end": 9 })).await.is(200);
}

async fn another_body_is_refused(server: Server) {
    let first = server.call("POST", ADS).key("k").json(&ad()).send().await.is(201);
    let other = server.call("POST", ADS).key("k").json(&ad_with(json!({ "title": "Other" })));
    other.send().await.problem(422, "idempotency-key-reused");
    alike(&first, &server.call("POST", ADS).key("k").json(&ad()).send().await);
    assert_eq!(server.list("").await.1, 1);
}

async fn a_key_is_scoped_by_method_and_path(server: Server) {
    let one = server.call("POST", ADS).key("k").json(&ad()).send().await.is(201).location();
    let two = server.create(&ad()).await.location();
    let body = ad_with(json!({ "title": "Same body" }));
    for (method, path) in [("PUT", &one), ("PUT", &two), ("PATCH", &one), ("PATCH", &two)] {
        server.call(method, path).key("k").json(&body).send().await.is(200);
    }
    let batch = server.call("POST", BATCH).key("k").json(&json!([ad()])).send().await.is(200);
    assert_eq!(batch.json()["created"], 1);
    for path in [&one, &two] {
        server.call("DELETE", path).key("k").send().await.is(200);
    }
    assert_eq!(server.get(ADS).await.version(), 9);
}

async fn concurrent_duplicates_create_one_ad(server: Server) {
    let answers = all((0..16).map(|_| server.call("POST", ADS).key("k").json(&ad()).send())).await;
    for answer in &answers {
        alike(&answers[0].clone().is(201), answer);
    }
    assert_eq!(server.list("").await.1, 1);
}

async fn concurrent_rivals_for_a_key_create_one_ad(server: Server) {
    let rivals = (0..16).map(|n| {
        let body = ad_with(json!({ "title": format!("Rival {n}") }));
        server.call("POST", ADS).key("k").json(&body).send()
    });
    let mut statuses: Vec<_> = all(rivals).await.iter().map(|answer| answer.status).collect();
    statuses.sort_unstable();
    assert_eq!(statuses[..2], [201, 422]);
    assert_eq!(statuses[15], 422);
    assert_eq!(server.list("").await.1, 1);
}

async fn without_a_key_every_request_counts(server: Server) {
    let (one, two) = (server.create(&ad()).await, server.create(&ad()).await);
    assert_ne!(one.id(), two.id());
}

async fn malformed_key_is_refused(server: Server) {
    let path = server.create(&ad()).await.location();
    for wrong in ["", "two words", &"x".repeat(256)] {
        for (method, path, body) in [
            ("POST", ADS, ad()),
            ("POST", BATCH, json!([ad()])),
            ("POST", BATCH, json!([{}])),
            ("PUT", &path, ad()),
            ("PATCH", &path, json!({})),
            ("DELETE", &path, Value::Null),
        ] {
            let call = server.call(method, path).key(wrong);
            let call = if body.is_null() { call } else { call.json(&body) };
            call.send().await.names(&["header idempotency-key"]);
        }
    }
    let twice = server.call("POST", ADS).key("a").key("a").json(&ad());
    twice.send().await.names(&["header idempotency-key"]);
    let latin = server.call("POST", ADS).header_bytes("idempotency-key", b"caf\xe9").json(&ad());
    latin.send().await.names(&["header idempotency-key"]);
    server.call("POST", ADS).key(&"x".repeat(255)).json(&ad()).send().await.is(201);
    assert_eq!(server.list("").await.1, 2);
}

/// Whether they are untrue meanwhile is for the client to judge; it must know that they are old.
async fn replayed_refusals_say_so(server: Server) {
    let mine = ad_with(json!({ "id": Uuid::new_v4().to_string() }));
    let path = server.create(&mine).await.location();
    let unknown = format!("{ADS}/{}", Uuid::new_v4());
    let calls = || {
        [
            (409, server.call("POST", ADS).key("k").json(&mine)),
            (404, server.call("PUT", &unknown).key("k").json(&ad())),
            (404, server.call("PATCH", &unknown).key("k").json(&json!({}))),
            (404, server.call("DELETE", &unknown).key("k")),
            (412, server.call("PUT", &path).key("k").header("if-match", "\"9\"").json(&ad())),
            (412, server.call("DELETE", &path).key("k").header("if-none-match", "*")),
            (412, server.call("DELETE", &unknown).key("l").header("if-match", "*")),
        ]
    };
    for replayed in [None, Some("true"), Some("true")] {
        for (status, call) in calls() {
            let answer = call.send().await.is(status);
            assert_eq!(answer.header("idempotency-replayed"), replayed, "{answer:?}");
        }
    }
}

async fn another_precondition_is_another_request(server: Server) {
    let path = server.create(&ad()).await.location();
    server.call("PATCH", &path).json(&json!({ "title": "Changed" })).send().await.is(200);
    for (key, method, body) in [
        ("p", "PUT", Some(ad())),
        ("q", "PATCH", Some(json!({ "title": "Too late" }))),
        ("d", "DELETE", None),
    ] {
        let send = async |fields: &[(&str, &str)]| {
            let mut call = server.call(method, &path).key(key);
            for (name, value) in fields {
                call = call.header(name, value);
            }
            if let Some(body) = &body { call.json(body) } else { call }.send().await
        };
        let stale = &[("if-match", "\"1\"")];
        send(stale).await.problem(412, "version-mismatch");
        for other in [
            &[("if-match", "\"2\"")][..],
            &[("if-match", "*")],
            &[("if-none-match", "\"1\"")],
            &[("if-match", "\"1\""), ("if-none-match", "\"9\"")],
            &[],
        ] {
            send(other).await.problem(422, "idempotency-key-reused");
        }
        let again = send(stale).await;
        again.problem(412, "version-mismatch");
        assert_eq!(again.header("idempotency-replayed"), Some("true"));
        // The same versions in another order are the same condition.
        let key = format!("{key}-listed");
        let listed = async |tags: &str| {
            let call = server.call(method, &path).key(&key).header("if-match", tags);
            if let Some(body) = &body { call.json(body) } else { call }.send().await
        };
        listed("\"7\", \"9\"").await.problem(412, "version-mismatch");
        listed("\"9\",\"7\",\"x\"").await.problem(412, "version-mismatch");
    }
    assert_eq!(server.get(ADS).await.version(), 2, "something was written");
}

async fn spelling_of_an_id_is_no_part_of_a_request(server: Server) {
    let id = "0190a6c2-0000-7000-8000-00000000000a";
    let upper = id.to_uppercase();
    let creation = |id: &str| server.call("POST", ADS).key("k").json(&ad_with(json!({ "id": id })));
    let first = creation(id).send().await.is(201);
    alike(&first, &creation(&upper).send().await);
    let (path, spelt) = (format!("{ADS}/{id}"), format!("{ADS}/{upper}"));
    let escaped = path.replace("0190", "%30190");
    for (one, other) in [(&path, &spelt), (&spelt, &path), (&path, &escaped), (&spelt, &escaped)] {
        let key = format!("{one} {other}").replace([' ', '/', '%'], ".");
        let put = |path: &str| server.call("PUT", path).key(&key).json(&ad()).send();
        let first = put(one).await.is(200);
        let again = put(other).await;
        alike(&first, &again);
        assert_eq!(again.header("idempotency-replayed"), Some("true"));
    }
    assert_eq!(server.get(ADS).await.version(), 5);
}

/// White space, the order of fields, and three ways to leave a condition open.
async fn same_ad_written_otherwise_is_the_same_request(server: Server) {
    let first = server.call("POST", ADS).key("k").json(&ad()).send().await.is(201);
    let open = ad_with(json!({ "age_start": null, "country": [], "gender": null }));
    let spaced = format!("\u{feff} {} ", ad());
    for body in [open.to_string(), spaced] {
        alike(&first, &server.call("POST", ADS).key("k").text(body).send().await);
    }
    for other in [
        json!({ "title": "Other sale" }),
        json!({ "country": ["TW"] }),
        json!({ "id": first.id() }),
    ] {
        let other = server.call("POST", ADS).key("k").json(&ad_with(other)).send().await;
        other.problem(422, "idempotency-key-reused");
    }
    let batch = |items: Value| server.call("POST", BATCH).key("k").json(&items).send();
    let broken = json!({ "title": "x" });
    let first = batch(json!([ad(), broken])).await.is(200);
    alike(&first, &batch(json!([ad_with(json!({ "platform": [] })), broken])).await);
    for other in [json!([broken, ad()]), json!([ad()]), json!([ad(), { "title": 7 }])] {
        batch(other).await.problem(422, "idempotency-key-reused");
    }
    assert_eq!(server.list("").await.1, 2);
}
