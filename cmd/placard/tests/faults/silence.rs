//! A replica that is held for seconds, and what takedowns may say of it meanwhile.

use std::time::Duration;

use reqwest::{Client, StatusCode};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::load::{Write, version};
use crate::world::World;

const LEASE_ENDS: &str = "placard_lease_ends_total";

/// Creates an ad, holds replica 2, takes the ad down by another with `ack=all`; what the takedown said, and what
/// replica 2 answers first when it goes on.
async fn takedown_while_one_is_held(
    world: &mut World,
    held: Duration,
) -> (StatusCode, Value, Option<StatusCode>) {
    let client = Client::builder().no_proxy().build().expect("a client can be made");
    let ads = format!("{}/api/v1/ad", world.places[0].url());
    let body = json!({
        "title": "to be taken down", "content": "content",
        "start_at": "2020-01-01T00:00:00Z", "end_at": "2099-01-01T00:00:00Z",
    });
    let created = client.post(format!("{ads}?ack=all")).json(&body).send().await;
    let created = created.expect("the replica answers");
    assert_eq!(created.status(), StatusCode::CREATED);
    let created: Value = created.json().await.expect("the answer is JSON");
    let id: Uuid = created["id"].as_str().and_then(|id| id.parse().ok()).expect("an id");
    let write = Write::Put(id, "to be taken down".to_owned());
    world.load.acknowledge(version(&created), write);
    let ends = world.counted_by(2, LEASE_ENDS).await;
    world.process(2).pause();
    tokio::time::sleep(held).await;
    let deleted = client.delete(format!("{ads}/{id}?ack=all")).send().await;
    let deleted = deleted.expect("the replica answers");
    let status = deleted.status();
    let receipts: Value = deleted.json().await.expect("the answer is JSON");
    world.load.acknowledge(version(&receipts), Write::Delete(id));
    // Asked while it is held: it answers as soon as it goes on, before its next head poll has come back.
    let path = format!("{}/api/v1/ad/{id}", world.places[2].url());
    let asking = tokio::spawn(async move { client.get(path).send().await });
    tokio::time::sleep(Duration::from_millis(200)).await;
    world.process(2).resume();
    world.recovers("a replica held beyond its lease").await;
    let first = asking.await.expect("asking does not panic").ok().map(|answer| answer.status());
    assert!(
        world.counted_by(2, LEASE_ENDS).await > ends,
        "its lease has ended, and is not counted"
    );
    (status, receipts["receipts"].clone(), first)
}

#[tokio::test(flavor = "multi_thread")]
async fn under_serve_a_silent_replica_is_unconfirmed() {
    let mut world = World::start("under_serve_a_silent_replica_is_unconfirmed").await;
    let held = Duration::from_secs(6);
    let (status, receipts, _) = takedown_while_one_is_held(&mut world, held).await;
    assert_eq!(status, StatusCode::ACCEPTED, "{receipts}");
    assert_eq!(receipts["confirmed"].as_array().map(Vec::len), Some(2), "{receipts}");
    assert_eq!(receipts["unconfirmed"].as_array().map(Vec::len), Some(1), "{receipts}");
    world.check().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn under_refuse_a_silent_replica_is_confirmed_and_shows_nobody_what_was_taken_down() {
    const TEST: &str =
        "under_refuse_a_silent_replica_is_confirmed_and_shows_nobody_what_was_taken_down";
    let options = ["--on-stale", "refuse", "--stale-max", "1000"];
    let mut world = World::prepared(TEST, &options).await;
    world.begin().await;
    // Lease and stale-max are over: the receipts count it.
    let held = Duration::from_secs(5);
    let (status, receipts, first) = takedown_while_one_is_held(&mut world, held).await;
    assert_eq!(status, StatusCode::OK, "{receipts}");
    assert_eq!(receipts["unconfirmed"].as_array().map(Vec::len), Some(0), "{receipts}");
    let first = first.expect("the replica answers when it goes on");
    let hidden = [StatusCode::SERVICE_UNAVAILABLE, StatusCode::NOT_FOUND];
    assert!(hidden.contains(&first), "it was confirmed, and answered {first}");
    world.check().await;
}

/// The head's lock is not held up by a replica that is held in the middle of whatever it does.
#[tokio::test(flavor = "multi_thread")]
async fn the_others_write_on_while_one_is_held() {
    let mut world = World::start("the_others_write_on_while_one_is_held").await;
    let mut longest = Duration::ZERO;
    for round in 0..12 {
        let nth = round % 3;
        world.load.take_answered_in();
        world.process(nth).pause();
        let held = if round == 0 { Duration::from_secs(10) } else { Duration::from_secs(1) };
        world.load.go_on_for(held).await;
        let answered_in = world.load.take_answered_in();
        world.process(nth).resume();
        let others = (0..3).filter(|other| *other != nth).map(|other| answered_in[other]);
        longest = others.fold(longest, Duration::max);
        world.recovers("a replica held").await;
    }
    eprintln!("longest write on the others while one is held, of 12 times: {longest:?}");
    world.check().await;
}
