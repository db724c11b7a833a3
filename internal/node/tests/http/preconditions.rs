//! Preconditions of RFC 9110, section 13: each that a client sends is evaluated, or refused, on every route.

use placard_model::Timestamp;
use placard_testkit::wire::Wire;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::both;
use crate::document::takes;
use crate::server::{ADS, Answer, BATCH, Call, Server, ad, ad_with};

both!(
    if_none_match_guards_writes,
    if_match_on_an_unknown_id_is_412,
    reads_answer_304_to_a_matching_tag,
    reads_evaluate_if_match,
    matching_tag_of_a_changed_status_is_answered_whole,
    preconditions_that_are_not_evaluated_are_refused,
);

const UNEVALUATED: [(&str, &str); 3] = [
    ("if-modified-since", "Sat, 29 Oct 2094 19:43:31 GMT"),
    ("if-unmodified-since", "Sat, 29 Oct 1994 19:43:31 GMT"),
    ("if-range", "\"1\""),
];

/// Every write to one ad.
fn writes<'a>(server: &'a Server, path: &str) -> [Call<'a>; 3] {
    [
        server.call("PUT", path).json(&ad_with(json!({ "title": "Put it" }))),
        server.call("PATCH", path).json(&json!({ "title": "Patched" })),
        server.call("DELETE", path),
    ]
}

fn failed(answer: &Answer) {
    answer.problem(412, "version-mismatch");
}

async fn if_none_match_guards_writes(server: Server) {
    let path = server.create(&ad()).await.location();
    for tag in ["*", "\"1\"", "W/\"1\"", "\"7\", \"1\"", " * "] {
        for call in writes(&server, &path) {
            failed(&call.header("if-none-match", tag).send().await);
        }
        assert_eq!(server.get(&path).await.json()["title"], "Summer sale", "{tag}");
        assert_eq!(server.get(ADS).await.version(), 1, "{tag}");
    }
    for wrong in ["1", "\"1", "*, \"1\"", "\"1\" \"2\"", ""] {
        for call in writes(&server, &path) {
            call.header("if-none-match", wrong).send().await.names(&["header if-none-match"]);
        }
    }
    let unknown = format!("{ADS}/{}", Uuid::new_v4());
    for call in writes(&server, &unknown) {
        call.header("if-none-match", "*").send().await.problem(404, "ad-not-found");
    }
    let [put, ..] = writes(&server, &path);
    failed(&put.header("if-match", "\"1\"").header("if-none-match", "\"1\"").send().await);
    let [put, ..] = writes(&server, &path);
    put.header("if-match", "\"1\"").header("if-none-match", "\"9\"").send().await.is(200);
    let [.., delete] = writes(&server, &path);
    delete.header("if-none-match", "\"1\"").send().await.is(200);
}

async fn if_match_on_an_unknown_id_is_412(server: Server) {
    let gone = server.create(&ad()).await.location();
    server.call("DELETE", &gone).send().await.is(200);
    for path in [gone, format!("{ADS}/{}", Uuid::new_v4())] {
        for tag in ["*", "\"1\""] {
            for call in writes(&server, &path) {
                failed(&call.header("if-match", tag).send().await);
            }
            failed(&server.call("GET", &path).header("if-match", tag).send().await);
            server.call("HEAD", &path).header("if-match", tag).send().await.is(412);
        }
        server.get(&path).await.problem(404, "ad-not-found");
    }
}

async fn reads_answer_304_to_a_matching_tag(server: Server) {
    let created = server.create(&ad()).await;
    server.create(&ad()).await;
    let path = created.location();
    for method in ["GET", "HEAD"] {
        for tag in ["\"1\"", "W/\"1\"", "\"x\", \"1\"", "*"] {
            let same = server.call(method, &path).header("if-none-match", tag).send().await.is(304);
            // Others' tags are taken, and mean nothing.
            assert!(tag.contains('x') || takes("If-None-Match", tag), "{tag}");
            assert!(same.body.is_empty(), "{method} {tag}");
            assert_eq!(same.header("etag"), Some("\"1\""));
            assert_eq!(same.header("content-type"), None);
            assert_eq!(same.version(), 2);
        }
        for tag in ["\"2\"", "\"x\"", "\"\""] {
            server.call(method, &path).header("if-none-match", tag).send().await.is(200);
        }
    }
    server.call("PATCH", &path).json(&json!({ "title": "Changed" })).send().await.is(200);
    let changed = server.call("GET", &path).header("if-none-match", "\"1\"").send().await.is(200);
    assert_eq!(changed.header("etag"), Some("\"3\""));
    let unknown = format!("{ADS}/{}", Uuid::new_v4());
    let missing = server.call("GET", &unknown).header("if-none-match", "*").send().await;
    missing.problem(404, "ad-not-found");
    let wrong = server.call("GET", &path).header("if-none-match", "1").send().await;
    wrong.names(&["header if-none-match"]);
}

async fn reads_evaluate_if_match(server: Server) {
    let path = server.create(&ad()).await.location();
    for tag in ["\"7\"", "W/\"1\"", "\"x\""] {
        failed(&server.call("GET", &path).header("if-match", tag).send().await);
        server.call("HEAD", &path).header("if-match", tag).send().await.is(412);
    }
    for tag in ["\"1\"", "*", "\"7\", \"1\""] {
        server.call("GET", &path).header("if-match", tag).send().await.is(200);
        assert!(takes("If-Match", tag), "{tag}");
        let both = server.call("GET", &path).header("if-match", tag).header("if-none-match", tag);
        both.send().await.is(304);
    }
    let both =
        server.call("GET", &path).header("if-match", "\"7\"").header("if-none-match", "\"1\"");
    let refused = both.send().await;
    failed(&refused);
    let detail = refused.json()["detail"].to_string();
    assert!(detail.contains("than If-Match names"), "{detail}");
    let wrong = server.call("GET", &path).header("if-match", "1").send().await;
    wrong.names(&["header if-match"]);
}

/// A tag is the ad's version, but the body has its status too: a client that has seen it scheduled must get the ad
/// again when it is active.
async fn matching_tag_of_a_changed_status_is_answered_whole(server: Server) {
    // On a slow machine it takes longer until it is seen.
    let mut ahead = 500_000;
    let (path, mut known) = loop {
        let since = std::time::SystemTime::UNIX_EPOCH.elapsed().expect("it is after 1970");
        let now = i64::try_from(since.as_micros()).expect("it is before the year 292277");
        let start = Timestamp::EPOCH.saturating_add_micros(now + ahead).to_string();
        let path = server.create(&ad_with(json!({ "start_at": start }))).await.location();
        let known = server.get(&path).await.is(200);
        if known.json()["status"] == "scheduled" {
            break (path, known);
        }
        ahead *= 4;
        assert!(ahead < 20_000_000, "{}", known.json());
    };
    placard_testkit::wait::until("the ad's start, told to who has its tag", async || {
        let tag = known.header("etag").expect("a tag").to_owned();
        let answer = server.call("GET", &path).header("if-none-match", &tag).send().await;
        if answer.status == 200 {
            known = answer;
        }
        (known.json()["status"] == "active").then_some(())
    })
    .await;
    // Two answers that differ had the same tag, and no tag was known from then on.
    let tag = known.header("etag").expect("a tag").to_owned();
    assert_eq!(tag, "\"1-active\"");
    assert!(takes("If-None-Match", &tag) && takes("If-Match", &tag));
    let same = server.call("GET", &path).header("if-none-match", &tag).send().await.is(304);
    assert_eq!(same.header("etag"), Some(tag.as_str()));
    for other in ["\"1\"", "\"1-scheduled\"", "\"1-gzip\"", "\"2-active\""] {
        server.call("GET", &path).header("if-none-match", other).send().await.is(200);
    }
    let patch = |tag: &str| {
        let call = server.call("PATCH", &path).json(&json!({ "title": "Changed" }));
        call.header("if-match", tag)
    };
    failed(&patch("\"1-gzip\"").send().await);
    patch(&tag).send().await.is(200);
}

async fn preconditions_that_are_not_evaluated_are_refused(server: Server) {
    let path = server.create(&ad()).await.location();
    for (name, value) in UNEVALUATED {
        for method in ["GET", "HEAD"] {
            server.call(method, &path).header(name, value).send().await.is(400);
        }
        let place = format!("header {name}");
        for call in writes(&server, &path) {
            call.header(name, value).send().await.names(&[&place]);
        }
    }
    // An answer without a tag has no tag that could match.
    let all = [
        ("if-match", "\"1\""),
        ("if-match", "*"),
        ("if-none-match", "*"),
        ("if-none-match", "\"1\""),
    ];
    for (name, value) in all.into_iter().chain(UNEVALUATED) {
        let place = format!("header {name}");
        let without = ["/livez", "/readyz", "/readyz/404", "/metrics", "/openapi.json"];
        for path in [ADS, "/api/v1/cluster"].into_iter().chain(without) {
            let get = server.call("GET", path).header(name, value).send().await;
            get.names(&[&place]);
            server.call("HEAD", path).header(name, value).send().await.is(400);
        }
        server.call("GET", "/docs/").header(name, value).send().await.is(400);
        for (path, body) in
            [(ADS, ad()), (BATCH, json!([ad()])), ("/api/v1/admin/expiry/release", Value::Null)]
        {
            let call = server.call("POST", path).header(name, value);
            let call = if body.is_null() { call } else { call.json(&body) };
            call.send().await.names(&[&place]);
        }
    }
    assert_eq!(server.get(ADS).await.version(), 1, "something was written");
}

/// A length of 0 would be what a `GET` without preconditions has (RFC 9110, section 8.6).
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bodiless_answers_have_no_or_the_right_length() {
    let server = Server::over_socket().await;
    let path = server.create(&ad()).await.location();
    let length = server.get(&path).await.body.len().to_string();
    let mut wire = Wire::open(server.address()).await;
    for (method, fields, status, said) in [
        ("HEAD", "", 200, Some(length.as_str())),
        ("HEAD", "if-none-match: \"1\"\r\n", 304, None),
        ("GET", "if-none-match: \"1\"\r\n", 304, None),
        ("HEAD", "if-none-match: *\r\n", 304, None),
    ] {
        wire.send(format!("{method} {path} HTTP/1.1\r\nhost: x\r\n{fields}\r\n")).await;
        let answer = wire.answer_to_head().await.expect("an answer");
        assert_eq!((answer.status, answer.field("content-length")), (status, said), "{fields}");
        assert_eq!(answer.field("transfer-encoding"), None);
    }
    let mut head = Wire::open(server.address()).await;
    head.send("HEAD /nowhere HTTP/1.1\r\nhost: x\r\n\r\n").await;
    let answer = head.answer_to_head().await.expect("an answer");
    let length = server.get("/nowhere").await.body.len().to_string();
    assert_eq!((answer.status, answer.field("content-length")), (404, Some(length.as_str())));
}
