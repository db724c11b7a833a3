//! Pools: what clients set of them, what they see of them, and how they find what is available.

use serde_json::{Value, json};
use uuid::Uuid;

use crate::both;
use crate::server::{Answer, Server, with};

both!(
    pool_is_created_shown_changed_and_deleted,
    broken_rules_of_a_pool_are_all_named,
    pools_are_found_by_targeting_status_and_room,
    preconditions_guard_pools,
    what_was_read_of_a_pool_can_be_sent_back,
    capacity_below_what_is_out_binds_what_comes,
    pool_in_use_is_not_deleted,
    pool_write_under_a_key_is_done_once,
);

pub(crate) const POOLS: &str = "/api/v1/pool";
pub(crate) const RESERVATIONS: &str = "/api/v1/reservation";

/// The least that a pool must have.
pub(crate) fn pool() -> Value {
    json!({ "name": "Saturday, 10 to 12", "capacity": 10 })
}

pub(crate) fn pool_with(fields: Value) -> Value {
    with(pool(), fields)
}

/// Creates a pool that must be accepted.
pub(crate) async fn create(server: &Server, pool: &Value) -> Answer {
    server.post(POOLS, pool).await.is(201)
}

/// Reserves units that there must be.
pub(crate) async fn reserve(server: &Server, pool: &str, amount: u64) -> Answer {
    server.post(RESERVATIONS, &json!({ "pool": pool, "amount": amount })).await.is(201)
}

async fn change(server: &Server, path: &str, patch: Value) -> Answer {
    server.call("PATCH", path).json(&patch).send().await
}

async fn pool_is_created_shown_changed_and_deleted(server: Server) {
    let created = create(&server, &pool()).await;
    let (path, id) = (created.location(), created.id());
    assert_eq!(path, format!("{POOLS}/{id}"));
    assert_eq!((created.version(), created.header("etag")), (1, Some("\"1\"")));
    let shown = server.get(&path).await.is(200).json();
    for (field, value) in [
        ("name", json!("Saturday, 10 to 12")),
        ("capacity", json!(10)),
        ("pacing", json!("asap")),
        ("paused", json!(false)),
        ("available", json!(10)),
        ("reserved", json!(0)),
        ("lapsed", json!(0)),
        ("status", json!("active")),
        ("start_at", Value::Null),
    ] {
        assert_eq!(shown[field], value, "{field}");
    }
    assert!(shown["as_of"].is_string(), "{shown}");
    let patch = json!({ "capacity": 20, "paused": true, "country": ["TW"] });
    let patched = change(&server, &path, patch).await.is(200);
    assert_eq!((patched.version(), patched.json()["available"].as_u64()), (2, Some(20)));
    assert_eq!(server.get(&path).await.json()["status"], "paused");
    let put = server.call("PUT", &path).json(&pool_with(json!({ "paused": true }))).send().await;
    assert_eq!(put.is(200).json()["country"], Value::Null);
    let gone = server.call("DELETE", &path).send().await.is(200);
    assert_eq!(gone.json(), json!({ "id": id, "version": 4 }));
    server.get(&path).await.problem(404, "pool-not-found");
    for (method, body) in [("PUT", pool()), ("PATCH", json!({})), ("DELETE", Value::Null)] {
        let again = server.call(method, &path).json(&body).send().await;
        again.problem(404, "pool-not-found");
    }
}

async fn broken_rules_of_a_pool_are_all_named(server: Server) {
    let broken = json!({
        "name": "", "capacity": -1, "start_at": "2030-01-02T00:00:00Z", "end_at": "2030-01-01T00:00:00Z",
        "pacing": "fast", "paused": 1, "used": 3, "colour": "red",
    });
    server.post(POOLS, &broken).await.names(&[
        "pointer /capacity",
        "pointer /colour",
        "pointer /end_at",
        "pointer /name",
        "pointer /pacing",
        "pointer /paused",
        "pointer /used",
    ]);
    server.post(POOLS, &json!({})).await.names(&["pointer /capacity", "pointer /name"]);
    let past = pool_with(json!({ "end_at": "2020-01-01T00:00:00Z" }));
    server.post(POOLS, &past).await.names(&["pointer /end_at"]);
    let open = pool_with(json!({ "pacing": "even" }));
    server.post(POOLS, &open).await.names(&["pointer /pacing"]);
    let largest = pool_with(json!({ "capacity": 1_000_000_000_000_000_u64 }));
    create(&server, &largest).await;
    let larger = pool_with(json!({ "capacity": 1_000_000_000_000_001_u64 }));
    server.post(POOLS, &larger).await.names(&["pointer /capacity"]);
    for query in ["available=0", "available=x", "status=full", "status=", "limit=101", "x=1"] {
        let answer = server.get(&format!("{POOLS}?{query}")).await;
        let name = query.split_once('=').map_or(query, |(name, _)| name);
        answer.names(&[&format!("parameter {name}")]);
    }
    server.get(&format!("{POOLS}/7")).await.names(&["parameter id"]);
    let large = format!("{{\"name\":\"{}\"}}", "x".repeat(64 << 10));
    server.call("POST", POOLS).text(large).send().await.problem(413, "body-too-large");
}

/// The names of a page's pools, in order, and its total.
async fn found(server: &Server, query: &str) -> (Vec<String>, u64) {
    let page = server.get(&format!("{POOLS}?{query}")).await.is(200).json();
    let pools = page["pools"].as_array().expect("an array").iter();
    let names = pools.map(|pool| pool["name"].as_str().expect("a name").to_owned());
    (names.collect(), page["total"].as_u64().expect("a number"))
}

async fn pools_are_found_by_targeting_status_and_room(server: Server) {
    assert_eq!(found(&server, "").await, (vec![], 0));
    let later = json!({ "start_at": "2090-01-01T00:00:00Z" });
    let pools = [
        ("anyone", json!({})),
        ("taiwan", json!({ "country": ["TW"], "capacity": 3 })),
        ("later", later),
        ("paused", json!({ "paused": true })),
        ("none", json!({ "capacity": 0 })),
    ];
    for (nth, (name, fields)) in (1..).zip(pools) {
        let id = Uuid::from_u128(nth).to_string();
        create(&server, &with(pool_with(json!({ "name": name, "id": id })), fields)).await;
    }
    for (query, names) in [
        ("", &["anyone", "taiwan", "later", "paused", "none"][..]),
        ("country=JP", &["anyone", "later", "paused", "none"]),
        ("country=unknown&status=active", &["anyone"]),
        ("status=active", &["anyone", "taiwan"]),
        ("status=scheduled", &["later"]),
        ("status=paused", &["paused"]),
        ("status=exhausted", &["none"]),
        ("status=ended", &[]),
        ("available=1", &["anyone", "taiwan", "later", "paused"]),
        ("available=4&status=active", &["anyone"]),
        ("available=1&country=TW&status=active", &["anyone", "taiwan"]),
    ] {
        let (listed, total) = found(&server, query).await;
        assert_eq!(
            (&listed[..], total),
            (names_of(names).as_slice(), names.len() as u64),
            "{query}"
        );
    }
    assert_eq!(found(&server, "offset=1&limit=2").await, (names_of(&["taiwan", "later"]), 5));
    assert_eq!(found(&server, "offset=9").await, (vec![], 5));
}

fn names_of(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

async fn preconditions_guard_pools(server: Server) {
    let path = create(&server, &pool()).await.location();
    let writes = |header: &'static str, tag: &'static str| {
        let (path, server) = (path.clone(), &server);
        async move {
            let calls = [
                server.call("PUT", &path).json(&pool()),
                server.call("PATCH", &path).json(&json!({ "capacity": 9 })),
                server.call("DELETE", &path),
            ];
            for call in calls {
                call.header(header, tag).send().await.problem(412, "version-mismatch");
            }
        }
    };
    writes("if-match", "\"7\"").await;
    writes("if-none-match", "*").await;
    let patch = server.call("PATCH", &path).header("if-match", "\"1\"");
    patch.json(&json!({ "capacity": 9 })).send().await.is(200);
    // Holds do not change the version, so that they break no precondition.
    let id = server.get(&path).await.id();
    reserve(&server, &id, 2).await;
    let patch = server.call("PATCH", &path).header("if-match", "\"2\"");
    patch.json(&json!({ "capacity": 8 })).send().await.is(200);
    for path in [&path, POOLS] {
        let read = server.call("GET", path).header("if-none-match", "\"1\"").send().await;
        read.names(&["header if-none-match"]);
    }
}

async fn what_was_read_of_a_pool_can_be_sent_back(server: Server) {
    let path =
        create(&server, &pool_with(json!({ "age_start": 20, "age_end": 30 }))).await.location();
    let mut read = server.get(&path).await.json();
    reserve(&server, read["id"].as_str().expect("an id"), 3).await;
    read["capacity"] = json!(12);
    let put = server.call("PUT", &path).json(&read).send().await.is(200).json();
    let left = ["capacity", "reserved", "available", "age_start"].map(|name| put[name].as_u64());
    assert_eq!(left, [12, 3, 9, 20].map(Some));
    for (field, untrue) in [("id", json!(Uuid::new_v4().to_string())), ("version", json!(1))] {
        let sent = with(put.clone(), json!({ field: untrue }));
        let put = server.call("PUT", &path).json(&sent).send().await;
        put.names(&[&format!("pointer /{field}")]);
    }
}

async fn capacity_below_what_is_out_binds_what_comes(server: Server) {
    let created = create(&server, &pool()).await;
    let (path, id) = (created.location(), created.id());
    let first = reserve(&server, &id, 6).await.location();
    let lowered = change(&server, &path, json!({ "capacity": 4 })).await.is(200).json();
    assert_eq!((&lowered["reserved"], &lowered["available"]), (&json!(6), &json!(0)));
    assert_eq!(server.get(&path).await.json()["status"], "exhausted");
    let wanted = json!({ "pool": id, "amount": 1 });
    let refused = server.post(RESERVATIONS, &wanted).await.problem(409, "capacity-exhausted");
    assert_eq!(refused["available"], 0);
    change(&server, &first, json!({ "amount": 3 })).await.is(200);
    assert_eq!(server.get(&path).await.json()["available"], 1);
    server.post(RESERVATIONS, &wanted).await.is(201);
    change(&server, &path, json!({ "paused": true, "capacity": 100 })).await.is(200);
    server.post(RESERVATIONS, &wanted).await.problem(409, "pool-paused");
    change(&server, &first, json!({ "amount": 4 })).await.problem(409, "pool-paused");
    change(&server, &first, json!({ "amount": 2 })).await.is(200);
}

async fn pool_in_use_is_not_deleted(server: Server) {
    let created = create(&server, &pool()).await;
    let (path, id) = (created.location(), created.id());
    let delete = async || server.call("DELETE", &path).send().await;
    delete().await.problem(409, "pool-not-paused");
    let reservation = reserve(&server, &id, 1).await.location();
    change(&server, &path, json!({ "paused": true })).await.is(200);
    delete().await.problem(409, "pool-held");
    server.call("DELETE", &format!("{reservation}?used=1")).send().await.is(200);
    delete().await.is(200);
}

async fn pool_write_under_a_key_is_done_once(server: Server) {
    let post = |body: Value| server.call("POST", POOLS).key("once").json(&body).send();
    let first = post(pool()).await.is(201);
    let again = post(json!({ "capacity": 10, "name": "Saturday, 10 to 12" })).await.is(201);
    assert_eq!((again.json(), again.location()), (first.json(), first.location()));
    assert_eq!(again.header("idempotency-replayed"), Some("true"));
    post(pool_with(json!({ "capacity": 11 }))).await.problem(422, "idempotency-key-reused");
    assert_eq!(found(&server, "").await.1, 1);
}
