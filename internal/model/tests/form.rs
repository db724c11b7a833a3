//! What clients may send: every rule of an ad's fields, at its boundaries, and that all that is wrong is
//! said at once.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use placard_model::{Country, Fields, Gender, Platform, Spec, Violation};
use serde_json::{Value, json};

fn valid() -> Value {
    json!({
        "title": "Five+", "content": "c",
        "start_at": "2026-01-01T00:00:00Z", "end_at": "2026-01-02T00:00:00Z",
        "age_start": 1, "age_end": 100,
        "gender": ["F"], "country": ["TW", "JP"], "platform": ["ios"],
    })
}

fn with(changes: Value) -> Value {
    let mut ad = valid();
    for (name, value) in changes.as_object().unwrap() {
        ad[name] = value.clone();
    }
    ad
}

fn spec(ad: &Value) -> Result<Spec, Vec<Violation>> {
    let fields = Fields::from_json(ad.to_string().as_bytes());
    fields.and_then(Fields::into_spec).map(|(spec, _)| spec)
}

/// The places that are wrong, in order.
fn broken(ad: &Value) -> Vec<String> {
    let violations = spec(ad).expect_err(&format!("{ad} was accepted"));
    violations.iter().map(|violation| violation.to_string()).collect()
}

#[test]
fn a_full_ad_is_read() {
    let spec = spec(&valid()).unwrap();
    let targeting = spec.targeting;
    assert_eq!(targeting.age.map(|range| (range.start, range.end)), Some((1, 100)));
    assert!(targeting.gender.iter().eq([Gender::Female]));
    assert!(targeting.platform.iter().eq([Platform::Ios]));
    assert!(targeting.country.iter().map(Country::code).eq(["JP", "TW"]));
}

#[test]
fn absent_null_and_empty_leave_a_dimension_open() {
    let absent = json!({
        "title": "Five+", "content": "c",
        "start_at": "2026-01-01T00:00:00Z", "end_at": "2026-01-02T00:00:00Z",
    });
    let null = with(json!({
        "age_start": null, "age_end": null, "gender": null, "country": null, "platform": null,
    }));
    let empty = with(json!({
        "age_start": null, "age_end": null, "gender": [], "country": [], "platform": [],
    }));
    assert_eq!(spec(&absent), spec(&null));
    assert_eq!(spec(&absent), spec(&empty));
    assert_eq!(spec(&absent).unwrap().targeting, Default::default());
}

#[test]
fn lengths_are_counted_in_characters() {
    for (title, fits) in [(4, false), (5, true), (100, true), (101, false)] {
        let ad = with(json!({ "title": "台".repeat(title) }));
        assert_eq!(spec(&ad).is_ok(), fits, "a title of {title}");
    }
    for (content, fits) in [(0, false), (1, true), (10_000, true), (10_001, false)] {
        let ad = with(json!({ "content": "🦀".repeat(content) }));
        assert_eq!(spec(&ad).is_ok(), fits, "a content of {content}");
    }
}

#[test]
fn each_rule_names_its_field() {
    for (changes, place) in [
        (json!({"title": 5}), "/title: must be a string"),
        (json!({"title": null}), "/title: is required"),
        (json!({"title": "tab\there"}), "/title: must not contain control characters"),
        (
            json!({"content": "nul\u{0}"}),
            "/content: must not contain control characters other than line ends and tabs",
        ),
        (json!({"start_at": 0}), "/start_at: must be a string"),
        (json!({"end_at": "2026-01-01T00:00:00Z"}), "/end_at: must be after start_at"),
        (
            json!({"end_at": "2026-01-02T00:00:00.1234567890Z"}),
            "/end_at: must not be finer than a nanosecond (9 digits of a second)",
        ),
        (json!({"age_start": 0}), "/age_start: must be a whole number from 1 to 100"),
        (json!({"age_end": 101}), "/age_end: must be a whole number from 1 to 100"),
        (json!({"age_end": 300}), "/age_end: must be a whole number from 1 to 100"),
        (json!({"age_start": -1}), "/age_start: must be a whole number from 1 to 100"),
        (json!({"age_start": 1.5}), "/age_start: must be a whole number from 1 to 100"),
        (json!({"age_start": "18"}), "/age_start: must be a whole number from 1 to 100"),
        (json!({"age_start": null}), "/age_start: is required together with age_end"),
        (json!({"age_end": null}), "/age_end: is required together with age_start"),
        (json!({"age_start": 30, "age_end": 29}), "/age_end: must not be below age_start"),
        (json!({"gender": "F"}), "/gender: must be an array of strings"),
        (json!({"gender": ["F", "f"]}), "/gender/1: must be M or F"),
        (json!({"country": ["tw"]}), "/country/0: must be an ISO 3166-1 alpha-2 code in capitals"),
        (json!({"platform": [1]}), "/platform/0: must be android, ios or web"),
        // Only a query can be without a value.
        (json!({"age_start": "unknown"}), "/age_start: must be a whole number from 1 to 100"),
        (json!({"gender": ["unknown"]}), "/gender/0: must be M or F"),
        (
            json!({"country": ["unknown"]}),
            "/country/0: must be an ISO 3166-1 alpha-2 code in capitals",
        ),
        (json!({"platform": ["unknown"]}), "/platform/0: must be android, ios or web"),
        (json!({"colour": "red"}), "/colour: is not a known field"),
        (json!({"title": "      "}), "/title: must not be white space alone"),
        (json!({"content": "\n\u{3000}"}), "/content: must not be white space alone"),
        (json!({"title": "Five\u{2028}+"}), "/title: must not contain control characters"),
        (
            json!({"content": "a\u{2029}b"}),
            "/content: must not contain control characters other than line ends and tabs",
        ),
        (json!({"version": "3"}), "/version: must be a whole number"),
        (json!({"status": "gone"}), "/status: must be scheduled, active, paused or ended"),
    ] {
        assert_eq!(broken(&with(changes.clone())), [place], "{changes}");
    }
}

#[test]
fn all_violations_are_reported_at_once() {
    let places = broken(&json!({"title": "x", "age_start": 200, "gender": ["x"], "a/b~c": 1}));
    assert_eq!(
        places,
        [
            "/age_end: is required together with age_start",
            "/age_start: must be a whole number from 1 to 100",
            "/a~1b~0c: is not a known field",
            "/content: is required",
            "/end_at: is required",
            "/gender/0: must be M or F",
            "/start_at: is required",
            "/title: must have 5 to 100 characters",
        ]
    );
}

#[test]
fn body_that_is_not_a_json_object_is_refused() {
    let deep = "[".repeat(10_000);
    for body in ["", "{", "nul", "{}{}", "\u{feff}\u{feff}{}", deep.as_str()] {
        let violations = Fields::from_json(body.as_bytes()).unwrap_err();
        assert!(violations[0].to_string().starts_with("body: is not acceptable JSON"), "{body:.9}");
    }
    assert!(Fields::from_json(b"{\"title\":\"\xff\"}").is_err());
    for body in ["[]", "1", "-1", "1.5", "true", "null", "\"text\""] {
        let refused = Fields::from_json(body.as_bytes()).and_then(Fields::into_spec);
        let wrong = Violation::pointer("", "must be a JSON object");
        assert_eq!(refused.map(drop), Err(vec![wrong]), "{body}");
    }
}

#[test]
fn a_field_given_twice_is_refused() {
    let twice = valid().to_string().replacen('{', "{\"title\":\"Another\",", 1);
    let refused = Fields::from_json(twice.as_bytes()).and_then(Fields::into_spec);
    let twice = Violation::field("title", "is given more than once");
    assert_eq!(refused.map(drop), Err(vec![twice]));
}

#[test]
fn a_list_is_bounded_and_its_items_are_judged_apart() {
    let many = |items: usize| format!("[{}]", vec!["{}"; items].join(","));
    assert_eq!(Fields::many_from_json(many(3).as_bytes(), 3).unwrap().len(), 3);
    for body in
        [many(0), many(4), many(100_000), "{}".to_owned(), "[{}] x".to_owned(), "[{},".to_owned()]
    {
        assert!(Fields::many_from_json(body.as_bytes(), 3).is_err(), "{body:.20}");
    }
    let mixed = Fields::many_from_json(format!("[{}, 7, {{}}]", valid()).as_bytes(), 3).unwrap();
    let fits: Vec<_> = mixed.into_iter().map(|fields| fields.into_creation().is_ok()).collect();
    assert_eq!(fits, [true, false, false]);
}

#[test]
fn ids_are_hyphenated_uuids() {
    let id = "6F9619FF-8B86-4D01-B42D-00C04FC964FF";
    let ad = with(json!({ "id": id }));
    let creation = Fields::from_json(ad.to_string().as_bytes()).and_then(Fields::into_creation);
    assert_eq!(creation.unwrap().id.unwrap().to_string(), id.to_lowercase());
    for id in
        ["", "6f9619ff8b864d01b42d00c04fc964ff", "{6f9619ff-8b86-4d01-b42d-00c04fc964ff}", "7"]
    {
        let ad = with(json!({ "id": id }));
        let refused = Fields::from_json(ad.to_string().as_bytes()).and_then(Fields::into_creation);
        assert!(refused.is_err(), "{id}");
    }
}

#[test]
fn a_patch_replaces_opens_and_keeps() {
    let current = spec(&valid()).unwrap();
    let patched = |patch: Value| {
        let fields = Fields::from_json(patch.to_string().as_bytes());
        fields.and_then(Fields::into_patch)?.0.merged(&current)
    };
    assert_eq!(patched(json!({})), Ok(current.clone()));
    let opened = patched(json!({"country": null, "age_start": null, "age_end": null})).unwrap();
    assert_eq!(opened.targeting.age, None);
    assert!(opened.targeting.country.is_empty());
    assert_eq!(opened.targeting.gender, current.targeting.gender);
    let renamed = patched(json!({"title": "Another title"})).unwrap();
    assert_eq!(renamed, Spec { title: "Another title".to_owned(), ..current.clone() });
    for (patch, place) in [
        (json!({"title": null}), "/title: is required"),
        (json!({"age_end": null}), "/age_end: is required together with age_start"),
        (json!({"start_at": "2026-01-03T00:00:00Z"}), "/end_at: must be after start_at"),
        (json!({"gender": ["X"]}), "/gender/0: must be M or F"),
        (json!({"id": "x"}), "/id: must be a UUID like 6f9619ff-8b86-4d01-b42d-00c04fc964ff"),
    ] {
        let violations = patched(patch.clone()).expect_err(&format!("{patch} was accepted"));
        assert_eq!(violations[0].to_string(), place, "{patch}");
        assert_eq!(violations.len(), 1, "{patch}");
    }
}

/// A patch, and a creation, are the same however they are written.
#[test]
fn meaning_is_independent_of_spelling() {
    let patch = |text: &str| {
        let (patch, said) =
            Fields::from_json(text.as_bytes()).and_then(Fields::into_patch).unwrap();
        (patch.to_json(), said.to_json())
    };
    let one = r#"{"end_at":"2026-01-02T00:00:00.1234567Z","country":["TW","JP","TW"],"age_start":18.0,"gender":null}"#;
    let other = r#" {"gender":[], "age_start":18, "country":["JP","TW"], "end_at":"2026-01-02 08:00:00.123456 +0800"}"#;
    assert_eq!(patch(one), patch(other));
    for different in [r#"{"country":null}"#, r#"{"country":["TW"]}"#, r#"{"gender":[]}"#, "{}"] {
        assert_ne!(patch(one), patch(different), "{different}");
    }
    assert_ne!(patch(r#"{"version":1}"#), patch("{}"));
}
