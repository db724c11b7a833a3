//! Bodies held to the byte: what clients parse does not change by accident. With `UPDATE_GOLDEN=1` in the
//! environment the files are written instead of compared.

use std::path::Path;

use serde_json::{Value, json};

use crate::both;
use crate::server::{ADS, Answer, BATCH, Server, ad, ad_with};

both!(bodies_match_the_golden_files);

async fn bodies_match_the_golden_files(server: Server) {
    let id = |n: usize| format!("0190a6c2-0000-7000-8000-{n:012x}");
    let full = json!({
        "id": id(1),
        "title": "Räder für alle, \"neu\"",
        "content": "Zeile 1\nZeile 2 \\ \u{1f6b2} </script>",
        "start_at": "2026-01-02 15:04:05.25 +0800 CST",
        "end_at": "2099-01-02T15:04:05.123456Z",
        "age_start": 18,
        "age_end": 35,
        "gender": ["M", "F"],
        "country": ["TW", "JP", "TW"],
        "platform": ["web", "android"],
    });
    let created = server.create(&full).await;
    held("created_ad", &created);
    held("ad_by_id", &server.get(&created.location()).await.is(200));
    let batch = json!([
        ad_with(json!({ "id": id(2) })),
        { "title": "x", "country": ["tw"], "colour": "red" },
        ad_with(json!({ "id": id(1) })),
        ad_with(json!({ "id": id(3), "gender": ["F"] })),
    ]);
    held("batch", &server.post(BATCH, &batch).await.is(200));
    held("listing", &server.get(&format!("{ADS}?gender=F&limit=2")).await.is(200));
    let path = format!("{ADS}/{}", id(3));
    held("deleted_ad", &server.call("DELETE", &path).send().await.is(200));
    held(
        "problem_of_fields",
        &server.post(ADS, &json!({ "title": 7, "age_start": 0 })).await.is(400),
    );
    held("problem_of_parameters", &server.get(&format!("{ADS}?age=0&limit=101&x=1")).await.is(400));
    let unversioned = server.call("GET", ADS).header("placard-min-version", "x").send().await;
    held("problem_of_a_header", &unversioned.is(400));
    held("problem_not_found", &server.get(&path).await.is(404));
    let stale = server.call("PUT", &created.location()).header("if-match", "\"9\"").json(&ad());
    held("problem_version_mismatch", &stale.send().await.is(412));
}

/// Compares the body with the file of this name.
fn held(name: &str, answer: &Answer) {
    let file = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/golden")
        .join(name)
        .with_extension("json");
    let body = [fixed(answer).as_bytes(), b"\n"].concat();
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&file, &body).expect("the file can be written");
        return;
    }
    let golden = std::fs::read(&file).unwrap_or_else(|error| {
        panic!("{}: {error}; write it with UPDATE_GOLDEN=1", file.display())
    });
    let (body, golden) = (String::from_utf8_lossy(&body), String::from_utf8_lossy(&golden));
    assert_eq!(body, golden, "{name} has changed; if it should, UPDATE_GOLDEN=1 updates it");
}

/// The body's text, with the one thing that no client can choose replaced: when an ad was created.
fn fixed(answer: &Answer) -> String {
    let mut text = String::from_utf8(answer.body.to_vec()).expect("bodies are UTF-8");
    let body = answer.json();
    let listed = body["ads"].as_array().into_iter().flatten();
    for ad in listed.chain([&body]) {
        if let Value::String(stamp) = &ad["created_at"] {
            text = text.replace(stamp.as_str(), "2026-01-01T00:00:00.000001Z");
        }
    }
    text
}
