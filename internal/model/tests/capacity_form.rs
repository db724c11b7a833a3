//! What clients may send of pools and reservations: every rule of a field, at its boundaries, and that all that is wrong is
//! said at once.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::time::Duration;

use placard_model::capacity::{
    Expires, Hold, Pacing, PoolSpec, ReservationChange, ReservationRequest,
};
use placard_model::{Fields, Gender, Said, Timestamp, Violation};
use serde_json::{Value, json};
use uuid::Uuid;

const ID: &str = "6f9619ff-8b86-4d01-b42d-00c04fc964ff";

fn fields(body: &Value) -> Result<Fields, Vec<Violation>> {
    Fields::from_json(body.to_string().as_bytes())
}

fn valid() -> Value {
    json!({
        "name": "n", "capacity": 100, "pacing": "even", "paused": true,
        "start_at": "2026-01-01T00:00:00Z", "end_at": "2026-01-02T00:00:00Z",
        "gender": ["F"], "country": ["TW"],
    })
}

fn with(changes: Value) -> Value {
    let mut body = valid();
    for (name, value) in changes.as_object().unwrap() {
        body[name] = value.clone();
    }
    body
}

fn spec(body: &Value) -> Result<PoolSpec, Vec<Violation>> {
    fields(body).and_then(Fields::into_pool_creation).map(|creation| creation.spec)
}

fn told<T>(read: Result<T, Vec<Violation>>) -> Vec<String> {
    let Err(violations) = read else { return vec!["accepted".to_owned()] };
    violations.iter().map(ToString::to_string).collect()
}

#[test]
fn a_full_pool_is_read() {
    let creation = fields(&with(json!({"id": ID}))).and_then(Fields::into_pool_creation).unwrap();
    assert_eq!(creation.id.map(|id| id.to_string()).as_deref(), Some(ID));
    let spec = creation.spec;
    assert_eq!((spec.name.as_str(), spec.capacity, spec.paused), ("n", 100, true));
    assert_eq!(spec.pacing, Pacing::Even);
    assert_eq!(spec.start_at, Timestamp::parse("2026-01-01T00:00:00Z").ok());
    assert_eq!(spec.end_at, Timestamp::parse("2026-01-02T00:00:00Z").ok());
    assert!(spec.targeting.gender.iter().eq([Gender::Female]));
}

#[test]
fn pool_needs_a_name_and_a_capacity_only() {
    let spec = spec(&json!({"name": "Slots", "capacity": 0})).unwrap();
    let open = (spec.start_at, spec.end_at, spec.pacing, spec.paused);
    assert_eq!(open, (None, None, Pacing::Asap, false));
    assert_eq!(spec.targeting, Default::default());
    let missing = told(self::spec(&json!({})));
    assert_eq!(missing, ["/capacity: is required", "/name: is required"]);
}

#[test]
fn each_rule_of_a_pool_names_its_field() {
    let capacity = "/capacity: must be a whole number from 0 to 1,000,000,000,000,000";
    for (changes, place) in [
        (json!({"name": ""}), "/name: must have 1 to 100 characters"),
        (json!({"name": "台".repeat(101)}), "/name: must have 1 to 100 characters"),
        (json!({"name": "a\tb"}), "/name: must not contain control characters"),
        (json!({"name": " "}), "/name: must not be white space alone"),
        (json!({"name": 5}), "/name: must be a string"),
        (json!({"capacity": -1}), capacity),
        (json!({"capacity": 1.5}), capacity),
        (json!({"capacity": "5"}), capacity),
        (json!({"capacity": 1_000_000_000_000_001_u64}), capacity),
        (json!({"capacity": null}), "/capacity: is required"),
        (json!({"pacing": "fast"}), "/pacing: must be asap or even"),
        (json!({"pacing": true}), "/pacing: must be asap or even"),
        (json!({"start_at": null}), "/pacing: can be even only with start_at and end_at"),
        (json!({"end_at": null}), "/pacing: can be even only with start_at and end_at"),
        (json!({"end_at": "2026-01-01T00:00:00Z"}), "/end_at: must be after start_at"),
        (json!({"paused": "true"}), "/paused: must be true or false"),
        (json!({"paused": 1}), "/paused: must be true or false"),
        (json!({"gender": ["X"]}), "/gender/0: must be M or F"),
        (json!({"title": "An ad's"}), "/title: is not a known field"),
        (json!({"amount": 1}), "/amount: is not a known field"),
        (json!({"colour": "red"}), "/colour: is not a known field"),
        (json!({"version": 1}), "/version: is read-only here"),
        (json!({"status": "active"}), "/status: is read-only here"),
        (json!({"available": 1}), "/available: is read-only here"),
    ] {
        assert_eq!(told(spec(&with(changes.clone()))), [place], "{changes}");
    }
    for capacity in [json!(0), json!(1e15), json!(1_000_000_000_000_000_u64)] {
        assert!(spec(&with(json!({"capacity": capacity}))).is_ok(), "{capacity}");
    }
    let torn = json!({"start_at": "soon"});
    let torn = told(spec(&with(torn)));
    assert!(matches!(&torn[..], [one] if one.starts_with("/start_at: ")), "{torn:?}");
    let many = told(spec(&json!({"name": " ", "pacing": 1, "gender": ["x"], "paused": 0})));
    assert_eq!(many.len(), 5, "{many:?}");
}

/// An ad has none of a pool's own fields.
#[test]
fn fields_of_pools_are_unknown_in_ads() {
    let ad = json!({
        "title": "Five+", "content": "c", "capacity": 5,
        "start_at": "2026-01-01T00:00:00Z", "end_at": "2026-01-02T00:00:00Z",
    });
    let refused = fields(&ad).and_then(Fields::into_creation);
    assert_eq!(told(refused), ["/capacity: is not a known field"]);
}

/// A client that sends back what it has read may have read other balances than there are now.
#[test]
fn balances_that_are_sent_back_are_passed_over() {
    let read = with(json!({
        "id": ID, "version": 7, "created_at": "2026-01-01T00:00:00Z", "status": "exhausted",
        "reserved": 1, "allotted": 2, "used": 3, "lost": 4, "available": 90, "lapsed": 0,
        "as_of": "2026-01-01T00:00:00Z",
    }));
    let (spec, said) = fields(&read).and_then(Fields::into_pool_spec).unwrap();
    assert_eq!(spec, self::spec(&valid()).unwrap());
    let id = Uuid::parse_str(ID).ok();
    let created_at = Timestamp::parse("2026-01-01T00:00:00Z").ok();
    assert_eq!(said, Said { id, version: Some(7), created_at, status: None });
}

#[test]
fn a_pools_patch_replaces_opens_and_keeps() {
    let current = spec(&valid()).unwrap();
    let patched = |patch: Value| {
        let patch = fields(&patch).and_then(Fields::into_pool_patch)?.0;
        patch.merged(&current)
    };
    assert_eq!(patched(json!({})), Ok(current.clone()));
    let smaller = patched(json!({"capacity": 5, "paused": false, "name": "m"})).unwrap();
    let expected = PoolSpec { capacity: 5, paused: false, name: "m".to_owned(), ..current.clone() };
    assert_eq!(smaller, expected);
    // A null is what a pool that was created without the field has.
    let open = patched(json!({"pacing": null, "paused": null, "end_at": null, "country": null}));
    let open = open.unwrap();
    assert_eq!((open.pacing, open.paused, open.end_at), (Pacing::Asap, false, None));
    assert!(open.targeting.country.is_empty() && !open.targeting.gender.is_empty());
    for (patch, place) in [
        (json!({"capacity": null}), "/capacity: is required"),
        (json!({"start_at": null}), "/pacing: can be even only with start_at and end_at"),
        (json!({"start_at": "2026-01-03T00:00:00Z"}), "/end_at: must be after start_at"),
        (json!({"name": ""}), "/name: must have 1 to 100 characters"),
        (json!({"version": "x"}), "/version: must be a whole number"),
    ] {
        assert_eq!(told(patched(patch.clone())), [place], "{patch}");
    }
    let meaning = |text: &str| {
        let fields = Fields::from_json(text.as_bytes());
        fields.and_then(Fields::into_pool_patch).unwrap().0.to_json()
    };
    let one = meaning(r#"{"capacity":5.0,"end_at":"2026-01-02T00:00:00Z","pacing":null}"#);
    let other = meaning(r#" {"end_at":"2026-01-02 08:00:00 +0800", "pacing":null,"capacity":5}"#);
    assert_eq!(one, other);
    assert_ne!(one, meaning(r#"{"capacity":5}"#));
}

#[test]
fn a_reservation_is_read_and_its_rules_named() {
    let read = |body: Value| fields(&body).and_then(Fields::into_reservation);
    let pool = Uuid::parse_str(ID).unwrap();
    let asked = ReservationRequest { id: None, pool, amount: 5, expires_in: None };
    assert_eq!(read(json!({"pool": ID, "amount": 5})), Ok(asked.clone()));
    let for_a_while = json!({"pool": ID, "amount": 5, "id": ID, "expires_in": 900});
    let expires_in = Some(Duration::from_secs(900));
    assert_eq!(read(for_a_while), Ok(ReservationRequest { id: Some(pool), expires_in, ..asked }));
    let amount = "/amount: must be a whole number from 1 to 1,000,000,000,000,000";
    let seconds = "/expires_in: must be a whole number of seconds from 1 to 31622400";
    for (body, places) in [
        (json!({}), &["/amount: is required", "/pool: is required"][..]),
        (
            json!({"pool": "x", "amount": 0}),
            &[amount, "/pool: must be a UUID like 6f9619ff-8b86-4d01-b42d-00c04fc964ff"],
        ),
        (json!({"pool": ID, "amount": 1.5}), &[amount]),
        (json!({"pool": ID, "amount": 1, "expires_in": 0}), &[seconds]),
        (json!({"pool": ID, "amount": 1, "expires_in": 31_622_401}), &[seconds]),
        (
            json!({"pool": ID, "amount": 1, "expires_at": "2026-01-01T00:00:00Z"}),
            &["/expires_at: is not a known field"],
        ),
        (json!({"pool": ID, "amount": 1, "used": 1}), &["/used: is not a known field"]),
    ] {
        assert_eq!(told(read(body.clone())), places, "{body}");
    }
}

#[test]
fn a_reservation_is_shrunk_confirmed_or_renewed() {
    let read = |body: Value| fields(&body).and_then(Fields::into_reservation_change);
    let change = |body: Value| {
        let ReservationChange { amount, expires, .. } = read(body).unwrap();
        (amount, expires)
    };
    assert_eq!(change(json!({})), (None, None));
    assert_eq!(change(json!({"amount": 3})), (Some(3), None));
    assert_eq!(change(json!({"expires_at": null})), (None, Some(Expires::Never)));
    let renewed = Expires::In(Duration::from_secs(60));
    assert_eq!(change(json!({"expires_in": 60})), (None, Some(renewed)));
    let read_before = json!({"expires_in": 60, "expires_at": "2026-01-01T00:00:00Z"});
    assert_eq!(change(read_before), (None, Some(renewed)));
    let both = json!({"expires_at": null, "expires_in": 60});
    let place = "/expires_in: must not be given with expires_at: null, which confirms";
    assert_eq!(told(read(both)), [place]);
}

#[test]
fn untrue_fields_of_a_reservation_are_named() {
    let at = |text| Timestamp::parse(text).unwrap();
    let hold = Hold {
        id: Uuid::from_u128(5),
        version: 8,
        created_at: at("2026-01-01T00:00:00Z"),
        pool: Uuid::from_u128(1),
        amount: 5,
        owner: None,
        expires_at: Some(at("2026-01-01T00:15:00Z")),
    };
    let told = |body: Value| -> Vec<String> {
        let change = fields(&body).and_then(Fields::into_reservation_change).unwrap();
        change.said.violations(&hold).iter().map(ToString::to_string).collect()
    };
    let (id, pool) = (hold.id.to_string(), hold.pool.to_string());
    let true_of_it = json!({
        "id": id, "version": 8, "created_at": "2026-01-01T00:00:00Z", "pool": pool,
        "expires_at": "2026-01-01T00:15:00Z", "amount": 5,
    });
    assert_eq!(told(true_of_it), [""; 0]);
    assert_eq!(told(json!({"expires_at": null})), [""; 0]);
    let false_of_it = json!({
        "id": pool, "version": 7, "created_at": "2026-01-01T00:00:01Z", "pool": id,
        "expires_at": "2026-01-01T00:20:00Z",
    });
    assert_eq!(
        told(false_of_it),
        [
            "/created_at: is read-only, and is 2026-01-01T00:00:00Z".to_owned(),
            format!("/id: is read-only, and is {id}"),
            "/version: is read-only, and is 8".to_owned(),
            format!("/pool: is read-only, and is {pool}"),
            "/expires_at: can be set to null only; expires_in sets it to a time from now on"
                .to_owned(),
        ]
    );
}
