//! Reservations that are changed and closed on other replicas than they were made on.

use reqwest::{Method, StatusCode};
use serde_json::json;
use uuid::Uuid;

use crate::cluster::Servers;
use crate::lapsing::{POOLS, RESERVATIONS, pool, read};

#[tokio::test(flavor = "multi_thread")]
async fn reservation_is_changed_and_closed_on_any_replica() {
    let servers = Servers::start().await;
    let [first, second, third] = servers.replicas::<3>().await;
    let pool = pool(&first, 10).await;
    let body = json!({ "pool": pool.to_string(), "amount": 4, "expires_in": 600 });
    let (status, made) =
        read(first.send(Method::POST, RESERVATIONS, Some(&body), None).await).await;
    assert_eq!(status, StatusCode::CREATED, "{made}");
    let path = format!("{RESERVATIONS}/{}", made["id"].as_str().expect("an id"));
    let confirm = json!({ "amount": 3, "expires_at": null });
    let answer = second.send(Method::PATCH, &path, Some(&confirm), None).await;
    let (status, confirmed) = read(answer).await;
    assert_eq!((status, &confirmed["amount"]), (StatusCode::OK, &json!(3)), "{confirmed}");
    let close = format!("{path}?used=2&ack=all");
    let (status, closed) = read(third.send(Method::DELETE, &close, None, None).await).await;
    assert_eq!(status, StatusCode::OK, "{closed}");
    // Every replica has it now.
    for replica in [&first, &second, &third] {
        let shown = replica.json(&format!("{POOLS}/{pool}")).await;
        let units = ["reserved", "used", "available"].map(|name| shown[name].as_u64());
        assert_eq!(units, [0, 2, 8].map(Some), "{shown}");
        assert_eq!(replica.get(&path).await.status(), StatusCode::NOT_FOUND);
    }
    servers.verify(&first).await;
}

/// A client gives a request up that is still under way, and releases what it may have made.
#[tokio::test(flavor = "multi_thread")]
async fn release_that_overtakes_its_reservation_wins() {
    let servers = Servers::start().await;
    let [first, second, third] = servers.replicas::<3>().await;
    let pool = pool(&first, 1).await;
    let id = Uuid::new_v4();
    let path = format!("{RESERVATIONS}/{id}");
    let answer = second.send(Method::DELETE, &path, None, None).await;
    assert_eq!(answer.status(), StatusCode::OK);
    let body = json!({ "pool": pool.to_string(), "amount": 1, "id": id.to_string() });
    for late in [&first, &third] {
        let answer = late.send(Method::POST, RESERVATIONS, Some(&body), None).await;
        let (status, problem) = read(answer).await;
        assert_eq!(status, StatusCode::CONFLICT, "{problem}");
        assert_eq!(problem["type"], "/problems/reservation-closed");
    }
    let body = json!({ "pool": pool.to_string(), "amount": 1 });
    let answer = third.send(Method::POST, RESERVATIONS, Some(&body), None).await;
    assert_eq!(answer.status(), StatusCode::CREATED, "the unit is free");
}
