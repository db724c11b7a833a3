//! A body's content coding, character set and first bytes; and texts that look empty or are not one line.

use serde_json::{Value, json};

use crate::both;
use crate::server::{ADS, BATCH, Server, ad, ad_with};

both!(
    encoded_bodies_are_415_with_accepted_encodings,
    json_in_another_charset_is_415,
    patch_of_another_type_is_415_with_accepted_types,
    byte_order_mark_before_json_is_skipped,
    texts_of_white_space_are_refused,
    line_separators_and_overrides_are_refused,
    empty_patch_keeps_the_version,
);

/// Every write that takes a body.
fn writes(path: &str) -> [(&'static str, String, Value); 4] {
    [
        ("POST", ADS.to_owned(), ad()),
        ("POST", BATCH.to_owned(), json!([ad()])),
        ("PUT", path.to_owned(), ad()),
        ("PATCH", path.to_owned(), json!({ "title": "Changed" })),
    ]
}

async fn encoded_bodies_are_415_with_accepted_encodings(server: Server) {
    let path = server.create(&ad()).await.location();
    for (method, path, body) in writes(&path) {
        for coding in ["gzip", "br", "deflate", "aws-chunked", "identity, gzip", "x y"] {
            let call = server.call(method, &path).header("content-encoding", coding);
            let answer = call.json(&body).send().await;
            answer.problem(415, "unsupported-media-type");
            assert_eq!(answer.header("accept-encoding"), Some("identity"), "{method} {coding}");
        }
    }
    assert_eq!(server.get(ADS).await.version(), 1, "something was written");
    for coding in ["identity", "Identity", ""] {
        let call = server.call("POST", ADS).header("content-encoding", coding);
        call.json(&ad()).send().await.is(201);
    }
}

async fn json_in_another_charset_is_415(server: Server) {
    let path = server.create(&ad()).await.location();
    for (method, path, body) in writes(&path) {
        for charset in ["utf-16", "iso-8859-1", "\"UTF-16\"", "", "us-ascii"] {
            let media = format!("application/json; q=1; Charset={charset}");
            let call = server.call(method, &path).header("content-type", &media);
            call.json(&body).send().await.problem(415, "unsupported-media-type");
        }
    }
    assert_eq!(server.get(ADS).await.version(), 1, "something was written");
    for charset in ["utf-8", "UTF-8", "\"utf-8\"", "utf8"] {
        let media = format!("application/json;charset={charset}");
        let call = server.call("POST", ADS).header("content-type", &media);
        call.json(&ad()).send().await.is(201);
    }
}

async fn patch_of_another_type_is_415_with_accepted_types(server: Server) {
    let path = server.create(&ad()).await.location();
    let call = server.call("PATCH", &path).header("content-type", "application/json-patch+json");
    let answer = call.json(&json!([])).send().await;
    answer.problem(415, "unsupported-media-type");
    assert_eq!(
        answer.header("accept-patch"),
        Some("application/merge-patch+json, application/json")
    );
    let put =
        server.call("PUT", &path).header("content-type", "text/plain").json(&ad()).send().await;
    put.problem(415, "unsupported-media-type");
    assert_eq!(put.header("accept-patch"), None);
}

async fn byte_order_mark_before_json_is_skipped(server: Server) {
    let path = server.create(&ad()).await.location();
    for (method, path, body) in writes(&path) {
        let marked = format!("\u{feff}{body}");
        let answer = server.call(method, &path).text(marked).send().await;
        assert!([200, 201].contains(&answer.status), "{method} {path}: {answer:?}");
        let twice = format!("\u{feff}\u{feff}{body}");
        server.call(method, &path).text(twice).send().await.names(&["pointer "]);
    }
}

async fn texts_of_white_space_are_refused(server: Server) {
    let path = server.create(&ad()).await.location();
    for blank in ["     ", "\u{a0}\u{2003}\u{3000}\u{2009}\u{205f}"] {
        for name in ["title", "content"] {
            let place = format!("pointer /{name}");
            let fields = json!({ name: blank });
            server.post(ADS, &ad_with(fields.clone())).await.names(&[&place]);
            server.call("PUT", &path).json(&ad_with(fields.clone())).send().await.names(&[&place]);
            server.call("PATCH", &path).json(&fields).send().await.names(&[&place]);
        }
    }
    server.post(ADS, &ad_with(json!({ "content": "\n\t\r\n" }))).await.names(&["pointer /content"]);
    server.create(&ad_with(json!({ "title": "  a  \u{3000}" }))).await;
}

async fn line_separators_and_overrides_are_refused(server: Server) {
    let path = server.create(&ad()).await.location();
    for c in ['\u{2028}', '\u{2029}', '\u{202a}', '\u{202e}', '\u{85}', '\u{b}'] {
        for name in ["title", "content"] {
            let place = format!("pointer /{name}");
            let fields = json!({ name: format!("Summer{c}sale") });
            server.post(ADS, &ad_with(fields.clone())).await.names(&[&place]);
            server.call("PUT", &path).json(&ad_with(fields.clone())).send().await.names(&[&place]);
            server.call("PATCH", &path).json(&fields).send().await.names(&[&place]);
        }
    }
    // Emoji and scripts are put together with such.
    server
        .create(&ad_with(json!({ "title": "\u{1f469}\u{200d}\u{1f680} \u{200f}\u{5d0}\u{5d1}" })))
        .await;
}

async fn empty_patch_keeps_the_version(server: Server) {
    let created = server.create(&ad()).await;
    server.create(&ad()).await;
    let path = created.location();
    for tag in [None, Some("\"1\""), Some("*")] {
        let call = server.call("PATCH", &path).json(&json!({}));
        let call = if let Some(tag) = tag { call.header("if-match", tag) } else { call };
        let same = call.send().await.is(200);
        assert_eq!(same.json(), created.json());
        assert_eq!(same.header("etag"), Some("\"1\""));
    }
    let other = server.call("PATCH", &path).header("if-match", "\"7\"").json(&json!({}));
    other.send().await.problem(412, "version-mismatch");
    let keyed = || server.call("PATCH", &path).key("k").json(&json!({})).send();
    assert_eq!(keyed().await.is(200).header("etag"), Some("\"1\""));
    assert_eq!(keyed().await.is(200).header("idempotency-replayed"), Some("true"));
    let all = server.call("PATCH", &format!("{path}?ack=all")).json(&json!({})).send().await;
    assert_eq!(all.is(200).json()["version"], 1);
    assert_eq!(server.get(ADS).await.version(), 2, "an empty patch was written");
}
