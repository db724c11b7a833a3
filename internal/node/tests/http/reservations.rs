//! Reservations: made once, never above the capacity, and changed or closed by their ids alone.

use serde_json::{Value, json};
use uuid::Uuid;

use crate::both;
use crate::pools::{POOLS, RESERVATIONS, create, pool, pool_with, reserve};
use crate::server::{Answer, Server, all};

both!(
    reservation_is_made_changed_and_closed,
    want_of_capacity_says_how_much_there_is,
    same_reservation_is_made_once,
    release_may_overtake_its_reservation,
    release_of_used_units_is_repeated,
    refusal_for_want_of_capacity_is_not_kept,
    broken_rules_of_a_reservation_are_all_named,
    units_are_never_reserved_twice,
    pool_that_has_ended_gives_nothing,
    reservations_answer_at_a_version,
);

async fn change(server: &Server, path: &str, patch: Value) -> Answer {
    server.call("PATCH", path).json(&patch).send().await
}

/// The units of a pool by name.
async fn units(server: &Server, pool: &str, names: [&str; 3]) -> [u64; 3] {
    let shown = server.get(&format!("{POOLS}/{pool}")).await.is(200).json();
    names.map(|name| shown[name].as_u64().expect("a number"))
}

const RESERVED: [&str; 3] = ["reserved", "used", "available"];

async fn reservation_is_made_changed_and_closed(server: Server) {
    let pool = create(&server, &pool()).await.id();
    let wanted = json!({ "pool": pool, "amount": 4, "expires_in": 600 });
    let made = server.post(RESERVATIONS, &wanted).await.is(201);
    let (path, id) = (made.location(), made.id());
    assert_eq!(path, format!("{RESERVATIONS}/{id}"));
    assert_eq!((&made.json()["pool"], &made.json()["amount"]), (&json!(pool), &json!(4)));
    let shown = server.get(&path).await.is(200).json();
    assert_eq!(shown["status"], "held");
    assert!(shown["expires_at"].is_string(), "{shown}");
    assert_eq!(units(&server, &pool, RESERVED).await, [4, 0, 6]);
    // What was read may be sent back, with one field changed.
    let mut sent = shown.clone();
    sent["amount"] = json!(3);
    change(&server, &path, sent).await.is(200);
    change(&server, &path, json!({ "amount": 7 })).await.is(200);
    assert_eq!(units(&server, &pool, RESERVED).await, [7, 0, 3]);
    let renewed = change(&server, &path, json!({ "expires_in": 3_600 })).await.is(200).json();
    assert!(renewed["expires_at"].as_str() > shown["expires_at"].as_str(), "{renewed}");
    let confirmed = change(&server, &path, json!({ "expires_at": null })).await.is(200).json();
    assert_eq!(confirmed["expires_at"], Value::Null);
    assert_eq!(server.get(&path).await.json()["status"], "confirmed");
    let stale = server.call("DELETE", &path).header("if-match", "\"2\"").send().await;
    stale.problem(412, "version-mismatch");
    let closed = server.call("DELETE", &format!("{path}?used=5")).send().await.is(200).json();
    assert_eq!(closed["id"], json!(id));
    assert_eq!(units(&server, &pool, RESERVED).await, [0, 5, 5]);
    server.get(&path).await.problem(404, "reservation-not-found");
    change(&server, &path, json!({ "amount": 1 })).await.problem(409, "reservation-closed");
}

async fn want_of_capacity_says_how_much_there_is(server: Server) {
    let pool = create(&server, &pool()).await.id();
    let held = reserve(&server, &pool, 7).await.location();
    let refused = server.post(RESERVATIONS, &json!({ "pool": pool, "amount": 4 })).await;
    assert_eq!(refused.problem(409, "capacity-exhausted")["available"], 3);
    assert_eq!(refused.version(), 2);
    let refused = change(&server, &held, json!({ "amount": 11 })).await;
    assert_eq!(refused.problem(409, "capacity-exhausted")["available"], 3);
    let unknown = json!({ "pool": Uuid::new_v4().to_string(), "amount": 1 });
    server.post(RESERVATIONS, &unknown).await.problem(404, "pool-not-found");
    assert_eq!(units(&server, &pool, RESERVED).await, [7, 0, 3]);
}

async fn same_reservation_is_made_once(server: Server) {
    let pool = create(&server, &pool()).await.id();
    let id = Uuid::new_v4().to_string();
    let wanted = json!({ "pool": pool, "amount": 4, "id": id });
    let first = server.post(RESERVATIONS, &wanted).await.is(201);
    let again = server.post(RESERVATIONS, &wanted).await.is(200);
    assert_eq!((again.json(), again.header("location")), (first.json(), None));
    let other = json!({ "pool": pool, "amount": 5, "id": id });
    server.post(RESERVATIONS, &other).await.problem(409, "reservation-exists");
    assert_eq!(units(&server, &pool, RESERVED).await, [4, 0, 6]);
}

async fn release_may_overtake_its_reservation(server: Server) {
    let pool = create(&server, &pool()).await.id();
    let id = Uuid::new_v4().to_string();
    let path = format!("{RESERVATIONS}/{id}");
    for _ in 0..2 {
        let released = server.call("DELETE", &path).send().await.is(200).json();
        assert_eq!(released, json!({ "id": id, "version": 2 }));
    }
    let late = json!({ "pool": pool, "amount": 4, "id": id });
    server.post(RESERVATIONS, &late).await.problem(409, "reservation-closed");
    assert_eq!(units(&server, &pool, RESERVED).await, [0, 0, 10]);
    // Without a reservation nothing can have been used.
    let unknown = format!("{RESERVATIONS}/{}?used=1", Uuid::new_v4());
    server.call("DELETE", &unknown).send().await.problem(404, "reservation-not-found");
}

async fn release_of_used_units_is_repeated(server: Server) {
    let pool = create(&server, &pool()).await.id();
    let path = reserve(&server, &pool, 4).await.location();
    let release =
        async |used: u64| server.call("DELETE", &format!("{path}?used={used}")).send().await;
    release(5).await.names(&["parameter used"]);
    let body = server.call("DELETE", &path).json(&json!({ "used": 3 })).send().await;
    body.names(&["pointer "]);
    let first = release(3).await.is(200);
    assert_eq!(release(3).await.is(200).json(), first.json());
    release(2).await.problem(409, "reservation-closed");
    assert_eq!(units(&server, &pool, RESERVED).await, [0, 3, 7]);
}

async fn refusal_for_want_of_capacity_is_not_kept(server: Server) {
    let pool = create(&server, &pool()).await.id();
    let held = reserve(&server, &pool, 10).await.location();
    let wanted = json!({ "pool": pool, "amount": 1 });
    let ask = || server.call("POST", RESERVATIONS).key("a-seat").json(&wanted).send();
    ask().await.problem(409, "capacity-exhausted");
    server.call("DELETE", &held).send().await.is(200);
    let made = ask().await.is(201);
    let again = ask().await.is(201);
    assert_eq!((again.json(), again.header("idempotency-replayed")), (made.json(), Some("true")));
    assert_eq!(units(&server, &pool, RESERVED).await, [1, 0, 9]);
}

async fn broken_rules_of_a_reservation_are_all_named(server: Server) {
    let broken = json!({ "pool": "7", "amount": 0, "expires_in": 0, "status": "held", "x": 1 });
    server.post(RESERVATIONS, &broken).await.names(&[
        "pointer /amount",
        "pointer /expires_in",
        "pointer /pool",
        "pointer /status",
        "pointer /x",
    ]);
    server.post(RESERVATIONS, &json!({})).await.names(&["pointer /amount", "pointer /pool"]);
    let pool = create(&server, &pool()).await.id();
    let path = reserve(&server, &pool, 4).await.location();
    for (patch, place) in [
        (json!({ "amount": 0 }), "pointer /amount"),
        (json!({ "pool": Uuid::new_v4().to_string() }), "pointer /pool"),
        (json!({ "expires_at": "2099-01-01T00:00:00Z" }), "pointer /expires_at"),
        (json!({ "expires_at": null, "expires_in": 5 }), "pointer /expires_in"),
        (json!({ "version": 9 }), "pointer /version"),
    ] {
        change(&server, &path, patch).await.names(&[place]);
    }
    let used = server.call("DELETE", &format!("{path}?used=-1")).send().await;
    used.names(&["parameter used"]);
}

async fn units_are_never_reserved_twice(server: Server) {
    let pool = create(&server, &pool()).await.id();
    let wanted = json!({ "pool": pool, "amount": 1 });
    let answers = all((0..40).map(|_| server.post(RESERVATIONS, &wanted))).await;
    let made = answers.iter().filter(|answer| answer.status == 201).count();
    let refused = answers.iter().filter(|answer| answer.status == 409).count();
    assert_eq!((made, refused), (10, 30));
    assert_eq!(units(&server, &pool, RESERVED).await, [10, 0, 0]);
}

async fn pool_that_has_ended_gives_nothing(server: Server) {
    let end = server.clock().now().saturating_add_micros(1_500_000);
    let scheduled =
        create(&server, &pool_with(json!({ "start_at": "2090-01-01T00:00:00Z" }))).await;
    // A slot is booked before it begins.
    reserve(&server, &scheduled.id(), 1).await;
    let created = create(&server, &pool_with(json!({ "end_at": end.to_string() }))).await;
    let held = reserve(&server, &created.id(), 3).await.location();
    placard_testkit::wait::until("the end of the pool", async || {
        let shown = server.get(&created.location()).await.json();
        (shown["status"] == "ended").then_some(())
    })
    .await;
    let wanted = json!({ "pool": created.id(), "amount": 1 });
    placard_testkit::wait::until("the end of the pool by the journal's clock", async || {
        let answer = server.post(RESERVATIONS, &wanted).await;
        (answer.status == 409).then(|| answer.problem(409, "pool-ended"))
    })
    .await;
    change(&server, &held, json!({ "amount": 4 })).await.problem(409, "pool-ended");
    change(&server, &held, json!({ "amount": 2 })).await.is(200);
}

async fn reservations_answer_at_a_version(server: Server) {
    let pool = create(&server, &pool()).await.id();
    let made = reserve(&server, &pool, 1).await;
    let later = format!("{}?min_version={}", made.location(), made.version());
    assert_eq!(server.get(&later).await.is(200).version(), 2);
    let shown = server.get(&format!("{POOLS}/{pool}?min_version=2")).await.is(200);
    assert_eq!((shown.version(), &shown.json()["available"]), (2, &json!(9)));
    let wanted = json!({ "pool": pool, "amount": 1 });
    let all = server.post(&format!("{RESERVATIONS}?ack=all"), &wanted).await;
    let receipts = all.is(201).json()["receipts"].clone();
    assert_eq!(receipts["unconfirmed"], json!([]), "{receipts}");
}
