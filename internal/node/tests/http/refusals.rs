//! Bad input that is well-formed HTTP: each is refused with a problem that names every place that is wrong,
//! and nothing is written.

use serde_json::{Value, json};

use crate::both;
use crate::server::{ADS, BATCH, Server, ad, ad_with};

both!(
    wrong_parameters_are_named,
    routes_without_parameters_take_none,
    wrong_fields_are_named,
    required_fields_are_named,
    everything_wrong_is_named_at_once,
    wrong_times_are_named,
    wrong_windows_and_ages_are_named,
    control_characters_are_refused,
    a_body_that_is_not_json_is_refused,
    a_body_that_is_no_object_is_refused,
    deep_nesting_is_refused,
    fields_given_twice_are_refused,
    a_body_without_the_right_type_is_refused,
    a_long_body_is_refused,
    many_unknown_fields_are_answered_briefly,
    names_are_escaped_in_pointers,
);

async fn wrong_parameters_are_named(server: Server) {
    for (query, named) in [
        ("age=0", &["age"][..]),
        ("age=101", &["age"]),
        ("age=-1", &["age"]),
        ("age=x", &["age"]),
        ("age=24.0", &["age"]),
        ("age=%2B24", &["age"]),
        ("age=024", &["age"]),
        ("age=", &["age"]),
        ("age", &["age"]),
        ("age=%20", &["age"]),
        ("age=%FF", &["age"]),
        ("age=24&age=24", &["age"]),
        ("age=256", &["age"]),
        ("limit=0", &["limit"]),
        ("limit=101", &["limit"]),
        ("limit=-1", &["limit"]),
        ("limit=", &["limit"]),
        ("limit=99999999999999999999999", &["limit"]),
        ("offset=-1", &["offset"]),
        ("offset=x", &["offset"]),
        ("offset=", &["offset"]),
        ("offset=10000001", &["offset"]),
        ("offset=18446744073709551616", &["offset"]),
        ("country=tw", &["country"]),
        ("country=Tw", &["country"]),
        ("country=TWN", &["country"]),
        ("country=XX", &["country"]),
        ("country=", &["country"]),
        ("country=TW&country=JP", &["country"]),
        ("country=TW,JP", &["country"]),
        ("gender=f", &["gender"]),
        ("gender=X", &["gender"]),
        ("gender=", &["gender"]),
        ("platform=IOS", &["platform"]),
        ("platform=windows", &["platform"]),
        ("platform=", &["platform"]),
        ("colour=red", &["colour"]),
        ("Age=24", &["Age"]),
        ("=24", &[""]),
        (
            "age=0&limit=0&offset=-1&country=tw&gender=x&platform=x&z=1",
            &["age", "country", "gender", "limit", "offset", "platform", "z"],
        ),
    ] {
        let places: Vec<_> = named.iter().map(|name| format!("parameter {name}")).collect();
        let places: Vec<_> = places.iter().map(String::as_str).collect();
        server.get(&format!("{ADS}?{query}")).await.names(&places);
    }
}

async fn routes_without_parameters_take_none(server: Server) {
    let path = server.create(&ad()).await.location();
    server.get(&format!("{path}?age=24")).await.names(&["parameter age"]);
    for (method, path, body) in [
        ("POST", ADS, ad()),
        ("POST", BATCH, json!([ad()])),
        ("PUT", &path, ad()),
        ("PATCH", &path, json!({})),
        ("DELETE", &path, Value::Null),
    ] {
        let call = server.call(method, &format!("{path}?x=1"));
        let call = if body.is_null() { call } else { call.json(&body) };
        call.send().await.names(&["parameter x"]);
    }
    assert_eq!(server.get(ADS).await.version(), 1);
}

async fn wrong_fields_are_named(server: Server) {
    let path = server.create(&ad()).await.location();
    for (fields, named) in [
        (json!({ "title": 7 }), &["/title"][..]),
        (json!({ "title": ["Summer"] }), &["/title"]),
        (json!({ "title": "four" }), &["/title"]),
        (json!({ "title": "日本語犬" }), &["/title"]),
        (json!({ "title": "x".repeat(101) }), &["/title"]),
        (json!({ "title": "🚲".repeat(101) }), &["/title"]),
        (json!({ "content": "" }), &["/content"]),
        (json!({ "content": false }), &["/content"]),
        (json!({ "content": "x".repeat(10_001) }), &["/content"]),
        (json!({ "age_start": 0, "age_end": 9 }), &["/age_start"]),
        (json!({ "age_start": 1, "age_end": 101 }), &["/age_end"]),
        (json!({ "age_start": -1, "age_end": 9 }), &["/age_start"]),
        (json!({ "age_start": 1.5, "age_end": 9 }), &["/age_start"]),
        (json!({ "age_start": "18", "age_end": 24 }), &["/age_start"]),
        (json!({ "age_start": 1, "age_end": 1e300 }), &["/age_end"]),
        (json!({ "age_start": 1, "age_end": 257 }), &["/age_end"]),
        (json!({ "gender": "F" }), &["/gender"]),
        (json!({ "gender": ["f"] }), &["/gender/0"]),
        (json!({ "gender": ["F", "X", 1, null] }), &["/gender/1", "/gender/2", "/gender/3"]),
        (json!({ "country": ["TW", "tw"] }), &["/country/1"]),
        (json!({ "country": ["XX"] }), &["/country/0"]),
        (json!({ "country": ["TWN", ""] }), &["/country/0", "/country/1"]),
        (json!({ "country": "TW" }), &["/country"]),
        (json!({ "country": [["TW"]] }), &["/country/0"]),
        (json!({ "platform": ["iOS"] }), &["/platform/0"]),
        (json!({ "platform": { "ios": true } }), &["/platform"]),
        (json!({ "colour": "red" }), &["/colour"]),
        (json!({ "Title": "Summer sale" }), &["/Title"]),
        (json!({ "colour": null }), &["/colour"]),
        (json!({ "version": 9 }), &["/version"]),
        (json!({ "created_at": "2026-01-01T00:00:00Z" }), &["/created_at"]),
        (json!({ "status": "ended" }), &["/status"]),
    ] {
        let places: Vec<_> = named.iter().map(|name| format!("pointer {name}")).collect();
        let places: Vec<_> = places.iter().map(String::as_str).collect();
        server.post(ADS, &ad_with(fields.clone())).await.names(&places);
        server.call("PUT", &path).json(&ad_with(fields.clone())).send().await.names(&places);
        server.call("PATCH", &path).json(&fields).send().await.names(&places);
    }
    for id in [json!("x"), json!(7), json!("6f9619ff8b864d01b42d00c04fc964ff"), json!("")] {
        server.post(ADS, &ad_with(json!({ "id": id }))).await.names(&["pointer /id"]);
    }
    assert_eq!(server.get(ADS).await.version(), 1);
}

async fn required_fields_are_named(server: Server) {
    let path = server.create(&ad()).await.location();
    for name in ["title", "content", "start_at", "end_at"] {
        let place = format!("pointer /{name}");
        let mut without = ad();
        without[name] = Value::Null;
        server.post(ADS, &without).await.names(&[&place]);
        without.as_object_mut().expect("an object").remove(name);
        server.post(ADS, &without).await.names(&[&place]);
        server.call("PUT", &path).json(&without).send().await.names(&[&place]);
    }
    let all = ["pointer /content", "pointer /end_at", "pointer /start_at", "pointer /title"];
    server.post(ADS, &json!({})).await.names(&all);
}

async fn everything_wrong_is_named_at_once(server: Server) {
    let wrong = json!({
        "title": "x", "start_at": "soon", "end_at": 7, "age_start": 200, "gender": ["X"],
        "country": ["tw"], "platform": ["tv"], "colour": "red",
    });
    server.post(ADS, &wrong).await.names(&[
        "pointer /age_end",
        "pointer /age_start",
        "pointer /colour",
        "pointer /content",
        "pointer /country/0",
        "pointer /end_at",
        "pointer /gender/0",
        "pointer /platform/0",
        "pointer /start_at",
        "pointer /title",
    ]);
}

async fn wrong_times_are_named(server: Server) {
    for wrong in [
        "",
        "tomorrow",
        "2090-01-02",
        "2090-01-02T15:04:05",
        "2090-01-02 15:04:05",
        "2090-01-02 15:04:05 CST",
        "2090-13-02T15:04:05Z",
        "2090-02-30T15:04:05Z",
        "2090-01-02T24:04:05Z",
        "2090-01-02T15:04:05.1234567890Z",
        "2090-01-02 15:04:05.1234567890 +0800 CST",
        "20900-01-02T15:04:05Z",
        "9999-12-31T23:59:59-01:00",
        " 2090-01-02T15:04:05Z",
        "3787398245",
    ] {
        let answer = server.post(ADS, &ad_with(json!({ "end_at": wrong }))).await;
        answer.names(&["pointer /end_at"]);
    }
    let number = server.post(ADS, &ad_with(json!({ "start_at": 1_577_836_800 }))).await;
    number.names(&["pointer /start_at"]);
}

async fn wrong_windows_and_ages_are_named(server: Server) {
    for (fields, place) in [
        (json!({ "start_at": "2099-01-01T00:00:00Z" }), "pointer /end_at"),
        (json!({ "start_at": "2099-01-01T00:00:00.000001Z" }), "pointer /end_at"),
        (json!({ "start_at": "2099-01-01T08:00:00+08:00" }), "pointer /end_at"),
        (json!({ "age_start": 25, "age_end": 24 }), "pointer /age_end"),
        (json!({ "age_start": 25 }), "pointer /age_end"),
        (json!({ "age_end": 25, "age_start": null }), "pointer /age_start"),
    ] {
        server.post(ADS, &ad_with(fields)).await.names(&[place]);
    }
    assert_eq!(server.list("").await.1, 0);
}

async fn control_characters_are_refused(server: Server) {
    for c in ['\u{0}', '\u{1}', '\u{8}', '\u{1b}', '\u{7f}', '\u{85}', '\u{9f}'] {
        let title = server.post(ADS, &ad_with(json!({ "title": format!("Summer{c} sale") }))).await;
        title.names(&["pointer /title"]);
        let content = server.post(ADS, &ad_with(json!({ "content": format!("All{c}") }))).await;
        content.names(&["pointer /content"]);
    }
    for c in ['\n', '\r', '\t'] {
        let title = server.post(ADS, &ad_with(json!({ "title": format!("Summer{c} sale") }))).await;
        title.names(&["pointer /title"]);
    }
    // Raw, they are not even JSON.
    let raw = ad().to_string().replace("Summer", "Sum\u{1}mer");
    server.call("POST", ADS).text(raw).send().await.names(&["pointer "]);
}

async fn a_body_that_is_not_json_is_refused(server: Server) {
    let invalid = |bytes: &[u8]| {
        let text = ad().to_string();
        let (before, after) = text.split_once("Summer").expect("the title is there");
        [before.as_bytes(), bytes, after.as_bytes()].concat()
    };
    for body in [
        b"".to_vec(),
        b"{".to_vec(),
        b"{}{}".to_vec(),
        b"{'title': 1}".to_vec(),
        b"title=Summer".to_vec(),
        b"\xef\xbb\xbf".to_vec(),
        b"\xef\xbb{}".to_vec(),
        b"\xff\xfe{\x00}\x00".to_vec(),
        b"{\"title\": NaN}".to_vec(),
        b"{\"age_end\": 1e999}".to_vec(),
        invalid(b"Summer\xff"),
        invalid(b"Summer\xc3\x28"),
        invalid(b"Summer\xed\xa0\x80"),
        invalid(b"Summer\\ud800"),
        invalid(b"Summer\\x"),
    ] {
        let call = server.call("POST", ADS).text(body.clone());
        call.send().await.names(&["pointer "]);
    }
    server.still_answers().await;
}

async fn a_body_that_is_no_object_is_refused(server: Server) {
    let path = server.create(&ad()).await.location();
    for body in
        [json!([]), json!([ad()]), json!(null), json!("x"), json!(7), json!(-7.5), json!(true)]
    {
        server.post(ADS, &body).await.names(&["pointer "]);
        server.call("PUT", &path).json(&body).send().await.names(&["pointer "]);
        server.call("PATCH", &path).json(&body).send().await.names(&["pointer "]);
    }
}

async fn deep_nesting_is_refused(server: Server) {
    const DEEP: usize = 10_000;
    let arrays = ["[".repeat(DEEP), "]".repeat(DEEP)].concat();
    let objects = ["{\"a\":".repeat(DEEP), "1".to_owned(), "}".repeat(DEEP)].concat();
    let open = "[".repeat(DEEP);
    let within = format!("{{\"title\":{arrays}}}");
    for body in [&arrays, &open] {
        server.call("POST", ADS).text(body.clone()).send().await.names(&["pointer "]);
    }
    // Where the depth is inside a field, that field is named beside those that are missing.
    let missing = ["pointer /content", "pointer /end_at", "pointer /start_at", "pointer /title"];
    let unknown = [&["pointer /a"], &missing[..]].concat();
    server.call("POST", ADS).text(objects.clone()).send().await.names(&unknown);
    server.call("POST", ADS).text(within.clone()).send().await.names(&missing);
    for body in [&objects, &open] {
        server.call("POST", BATCH).text(body.clone()).send().await.names(&["pointer "]);
    }
    for body in [arrays, format!("[{within}]")] {
        let batch = server.call("POST", BATCH).text(body).send().await.is(200);
        assert_eq!(batch.json()["failed"], 1);
    }
    server.still_answers().await;
}

async fn fields_given_twice_are_refused(server: Server) {
    let text = ad().to_string();
    let twice = format!("{{\"title\":\"Another\",{}", &text[1..]);
    server.call("POST", ADS).text(twice).send().await.names(&["pointer /title"]);
    let twice = format!("{{\"x\":1,\"x\":2,{}", &text[1..]);
    let answer = server.call("POST", ADS).text(twice).send().await;
    let problem = answer.problem(400, "invalid-request");
    let named = crate::server::named(&problem);
    assert!(!named.is_empty() && named.iter().all(|place| place == "pointer /x"), "{named:?}");
}

async fn a_body_without_the_right_type_is_refused(server: Server) {
    let path = server.create(&ad()).await.location();
    for (method, path, body) in [
        ("POST", ADS, ad()),
        ("POST", BATCH, json!([ad()])),
        ("PUT", &path, ad()),
        ("PATCH", &path, json!({})),
    ] {
        let untyped = server.call(method, path).untyped(body.to_string()).send().await;
        untyped.problem(415, "unsupported-media-type");
        for media in
            ["text/plain", "application/x-www-form-urlencoded", "application/jsonx", "json"]
        {
            let call = server.call(method, path).header("content-type", media);
            call.json(&body).send().await.problem(415, "unsupported-media-type");
        }
    }
    assert_eq!(server.get(ADS).await.version(), 1);
}

async fn a_long_body_is_refused(server: Server) {
    let path = server.create(&ad()).await.location();
    let long = ad_with(json!({ "content": "x".repeat(512 << 10) }));
    server.post(ADS, &long).await.problem(413, "body-too-large");
    server.call("PUT", &path).json(&long).send().await.problem(413, "body-too-large");
    server.call("PATCH", &path).json(&long).send().await.problem(413, "body-too-large");
    server.still_answers().await;
}

/// A few hundred kilobytes of rubbish are not answered with as much again.
async fn many_unknown_fields_are_answered_briefly(server: Server) {
    let fields: serde_json::Map<_, _> =
        (0..10_000).map(|n| (format!("f{n}"), Value::Null)).collect();
    let answer = server.post(ADS, &fields.clone().into()).await;
    answer.problem(400, "invalid-request");
    assert!(answer.body.len() < 64 << 10, "{} bytes", answer.body.len());
    let items: Vec<Value> = (0..20).map(|_| fields.clone().into()).collect();
    let answer = server.post(BATCH, &Value::from(items)).await.is(200);
    assert!(answer.body.len() < 512 << 10, "{} bytes", answer.body.len());
}

async fn names_are_escaped_in_pointers(server: Server) {
    let answer = server.post(ADS, &ad_with(json!({ "a/b~c": 1 }))).await;
    answer.names(&["pointer /a~1b~0c"]);
}
