//! Instants as programs write them: in both forms, with up to nine digits of a second, and one of three characters before
//! the time.

use serde_json::json;

use crate::both;
use crate::server::{ADS, BATCH, Server, ad_with};

both!(
    times_are_read_in_both_forms,
    digits_beyond_the_microsecond_are_cut,
    only_three_characters_separate_date_and_time,
    stamps_are_compared_as_they_are_stored,
);

/// A repeat under a key is the same request if it comes to the same ad, on every route that takes stamps.
async fn stamps_are_compared_as_they_are_stored(server: Server) {
    let sent =
        |digits: &str| ad_with(json!({ "end_at": format!("2098-01-02T15:04:05.{digits}Z") }));
    let path = server.create(&sent("123456")).await.location();
    let patch = |digits: &str| json!({ "end_at": sent(digits)["end_at"] });
    for (method, path, bodies) in [
        ("POST", ADS, ["123456", "123456789", "1234560"].map(sent)),
        ("POST", BATCH, ["123456", "123456789", "1234560"].map(|digits| json!([sent(digits)]))),
        ("PUT", &path, ["123456", "123456789", "1234560"].map(sent)),
        ("PATCH", &path, ["123456", "123456789", "1234560"].map(patch)),
    ] {
        let before = server.get(ADS).await.version();
        for body in &bodies {
            let answer = server.call(method, path).key("k").json(body).send().await;
            assert!([200, 201].contains(&answer.status), "{method} {path} {body}: {answer:?}");
        }
        assert_eq!(server.get(ADS).await.version(), before + 1, "{method} {path}");
    }
}

/// Checks that each end is shown in its expected form.
async fn are_read(server: &Server, ends: &[(&str, &str)]) {
    for (written, shown) in ends {
        let created = server.create(&ad_with(json!({ "end_at": written }))).await;
        assert_eq!(created.json()["end_at"], *shown, "{written}");
    }
}

async fn times_are_read_in_both_forms(server: Server) {
    let ends = [
        ("2090-01-02T15:04:05Z", "2090-01-02T15:04:05Z"),
        ("2090-01-02T15:04:05+08:00", "2090-01-02T07:04:05Z"),
        ("2090-01-02T15:04:05.000001-03:30", "2090-01-02T18:34:05.000001Z"),
        ("2090-01-02 15:04:05 +0800 CST", "2090-01-02T07:04:05Z"),
        ("2090-01-02 15:04:05 +0800", "2090-01-02T07:04:05Z"),
        ("2090-01-02 15:04:05.25 -0500 EST", "2090-01-02T20:04:05.25Z"),
        ("2090-01-02 15:04:05 +0000 UTC", "2090-01-02T15:04:05Z"),
    ];
    are_read(&server, &ends).await;
}

async fn digits_beyond_the_microsecond_are_cut(server: Server) {
    let ends = [
        ("2098-01-02T15:04:05.1234567Z", "2098-01-02T15:04:05.123456Z"),
        ("2098-01-02T15:04:05.123456999Z", "2098-01-02T15:04:05.123456Z"),
        ("2098-01-02T23:04:05.999999999+08:00", "2098-01-02T15:04:05.999999Z"),
        ("2098-01-02 23:04:05.123456789 +0800 CST", "2098-01-02T15:04:05.123456Z"),
        ("9999-12-31T23:59:59.999999999Z", "9999-12-31T23:59:59.999999Z"),
    ];
    are_read(&server, &ends).await;
    for (written, shown) in [
        ("1969-12-31T23:59:59.9999999Z", "1969-12-31T23:59:59.999999Z"),
        ("1900-01-01 00:00:00.000000001 +0000 UTC", "1900-01-01T00:00:00Z"),
    ] {
        let created = server.create(&ad_with(json!({ "start_at": written }))).await;
        assert_eq!(created.json()["start_at"], shown, "{written}");
    }
    for written in ["2098-01-02T15:04:05.1234567890Z", "2098-01-02 15:04:05.0000000000 +0800 CST"] {
        let refused = server.post(ADS, &ad_with(json!({ "end_at": written }))).await;
        refused.names(&["pointer /end_at"]);
    }
}

async fn only_three_characters_separate_date_and_time(server: Server) {
    for separator in ['T', 't', ' '] {
        for rest in
            ["15:04:05Z", "23:04:05+08:00", "15:04:05z", "23:04:05 +0800 CST", "15:04:05.0 +0000"]
        {
            let written = format!("2098-01-02{separator}{rest}");
            let created = server.create(&ad_with(json!({ "end_at": written }))).await;
            assert_eq!(created.json()["end_at"], "2098-01-02T15:04:05Z", "{written}");
        }
    }
    for separator in ['_', '-', 'x', '\u{0}', '\t', '\n', '.', 'Z', '\u{a0}', '/'] {
        for rest in ["15:04:05Z", "15:04:05 +0800 CST"] {
            let written = format!("2098-01-02{separator}{rest}");
            let refused = server.post(ADS, &ad_with(json!({ "end_at": written }))).await;
            refused.names(&["pointer /end_at"]);
        }
    }
    for written in ["2098-01-0215:04:05Z", "2098-01-02  15:04:05Z", "2098-01-02T 15:04:05Z"] {
        let refused = server.post(ADS, &ad_with(json!({ "end_at": written }))).await;
        refused.names(&["pointer /end_at"]);
    }
}
