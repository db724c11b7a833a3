//! Reservations that lapse: each is closed once, soon after its end, and by no clock that is wrong. What has lapsed is available
//! at once, whatever the scheduler does.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use placard_model::Timestamp;
use placard_model::capacity::CloseReason;
use placard_model::entry::{Change, Entry};
use placard_testkit::wait::until;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use sqlx::{Connection, PgConnection};
use uuid::Uuid;

use crate::cluster::{Replica, Servers};
use crate::expiry::{all_equal, id, metric};

pub(crate) const POOLS: &str = "/api/v1/pool";
pub(crate) const RESERVATIONS: &str = "/api/v1/reservation";
const HOUR: i64 = 3_600;

/// Creates a pool of this capacity, and returns its id.
pub(crate) async fn pool(replica: &Replica, capacity: u64) -> Uuid {
    let body = json!({ "name": "Slots", "capacity": capacity });
    let answer = replica.send(Method::POST, POOLS, Some(&body), None).await;
    let (status, pool) = read(answer).await;
    assert_eq!(status, StatusCode::CREATED, "{pool}");
    id(&pool)
}

/// Asks for one unit of a pool, for a number of seconds.
async fn reserve(replica: &Replica, pool: Uuid, seconds: u64) -> (StatusCode, Value) {
    let body = json!({ "pool": pool.to_string(), "amount": 1, "expires_in": seconds });
    read(replica.send(Method::POST, RESERVATIONS, Some(&body), None).await).await
}

async fn reserved(replica: &Replica, pool: Uuid, seconds: u64) -> Value {
    let (status, reservation) = reserve(replica, pool, seconds).await;
    assert_eq!(status, StatusCode::CREATED, "{reservation}");
    reservation
}

pub(crate) async fn read(answer: reqwest::Response) -> (StatusCode, Value) {
    (answer.status(), answer.json().await.expect("the answer is JSON"))
}

/// When a reservation lapses.
fn end(reservation: &Value) -> SystemTime {
    let end = reservation["expires_at"].as_str().and_then(|end| Timestamp::parse(end).ok());
    let end = end.unwrap_or_else(|| panic!("an end: {reservation}"));
    SystemTime::UNIX_EPOCH + Duration::from_micros(end.micros().try_into().expect("after 1970"))
}

/// How each reservation was closed, and in which entry.
async fn closings(servers: &Servers) -> BTreeMap<Uuid, Vec<(i64, CloseReason)>> {
    let mut connection =
        PgConnection::connect(&servers.postgres.url()).await.expect("PostgreSQL answers");
    let log: Vec<(i64, Vec<u8>)> = sqlx::query_as("SELECT version, bytes FROM log")
        .fetch_all(&mut connection)
        .await
        .expect("the log can be read");
    let mut closings: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for (version, bytes) in log {
        let entry = Entry::decode(&bytes.into()).expect("an entry can be decoded");
        let Change::Move(moves) = entry.change else { continue };
        for closed in moves.closed {
            closings.entry(closed.hold).or_default().push((version, closed.reason));
        }
    }
    closings
}

/// Waits until each replica has looked at what has ended that many times more.
async fn looks(replicas: &[Replica], more: u64) {
    const LOOKS: &str = "placard_expiry_looks_total";
    let mut before = Vec::new();
    for replica in replicas {
        before.push(metric(replica, LOOKS).await);
    }
    for (replica, before) in replicas.iter().zip(before) {
        until("looks at what has ended", async || {
            (metric(replica, LOOKS).await >= before + more).then_some(())
        })
        .await;
    }
}

/// Sets PostgreSQL's clock an hour ahead until every replica has seen that, and has its brake on.
async fn jump(servers: &Servers, replicas: &[Replica]) {
    servers.postgres.set_clock(HOUR).expect("its clock can be set");
    for replica in replicas {
        until("the brake", async || {
            (metric(replica, "placard_expiry_braked").await == 1).then_some(())
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn three_replicas_close_each_lapsed_reservation_once() {
    const MANY: usize = 40;
    let servers = Servers::start().await;
    let replicas = servers.replicas::<3>().await;
    let pool = pool(&replicas[0], 100).await;
    let stays = id(&reserved(&replicas[0], pool, 600).await);
    let mut lapse = Vec::new();
    for nth in 0..MANY {
        lapse.push(id(&reserved(&replicas[nth % 3], pool, 3).await));
    }
    for replica in &replicas {
        until("they are closed", async || {
            let shown = replica.json(&format!("{POOLS}/{pool}")).await;
            let units = |name: &str| shown[name].as_u64().expect("a number");
            let of = ["reserved", "available", "lapsed"].map(units);
            // What has lapsed is among those.
            assert_eq!(of[0] + of[1], 100, "{shown}");
            (of == [1, 99, 0]).then_some(())
        })
        .await;
        let gone = replica.get(&format!("{RESERVATIONS}/{}", lapse[0])).await;
        assert_eq!(gone.status(), StatusCode::NOT_FOUND);
        let shown = replica.json(&format!("{RESERVATIONS}/{stays}")).await;
        assert_eq!(shown["status"], "held");
    }
    let closings = closings(&servers).await;
    let once = |id: &Uuid| matches!(closings[id][..], [(_, CloseReason::Expired)]);
    assert!(closings.len() == MANY && lapse.iter().all(once), "{closings:?}");
    all_equal(&servers, &replicas).await;
    let (mut lapsed, mut pushed) = (0, 0);
    for replica in &replicas {
        lapsed += metric(replica, "placard_reservations_lapsed_total").await;
        pushed += metric(replica, "placard_expiry_tasks_pushed_total").await;
    }
    assert_eq!(lapsed, MANY as u64);
    // No ad has ended.
    assert!(pushed > 0, "there was no task for the seconds in which they lapsed");
}

#[tokio::test(flavor = "multi_thread")]
async fn postgresqls_clock_ahead_closes_no_live_reservation() {
    let servers = Servers::start().await;
    servers.postgres.set_clock(0).expect("its clock can be set");
    let replicas = servers.replicas::<2>().await;
    let pool = pool(&replicas[0], 2).await;
    let live = [reserved(&replicas[0], pool, 600).await, reserved(&replicas[1], pool, 600).await];
    // Both have a clock of their own by now.
    looks(&replicas, 1).await;
    jump(&servers, &replicas).await;
    for replica in &replicas {
        let (status, refused) = reserve(replica, pool, 600).await;
        let told = (status, &refused["available"]);
        assert_eq!(told, (StatusCode::CONFLICT, &json!(0)), "{refused}");
    }
    looks(&replicas, 2).await;
    assert_eq!(closings(&servers).await, BTreeMap::new());
    servers.postgres.set_clock(0).expect("its clock can be set");
    // They see that the clock is back, and then an operator says that it is right.
    looks(&replicas, 1).await;
    for replica in &replicas {
        until("readers to follow back", async || {
            let mut held = 0;
            for reservation in &live {
                let shown = replica.json(&format!("{RESERVATIONS}/{}", id(reservation))).await;
                held += usize::from(shown["status"] == "held");
            }
            (held == 2).then_some(())
        })
        .await;
        let release = "/api/v1/admin/expiry/release";
        let (status, released) = read(replica.send(Method::POST, release, None, None).await).await;
        assert_eq!((status, &released["released"]), (StatusCode::OK, &json!(true)));
    }
    looks(&replicas, 2).await;
    assert_eq!(closings(&servers).await, BTreeMap::new());
    for replica in &replicas {
        assert_eq!(metric(replica, "placard_expiry_braked").await, 0);
    }
    // Each can be confirmed on the other one, and what lapses from now on is closed.
    let path = format!("{RESERVATIONS}/{}", id(&live[0]));
    let (confirm, renew) = (json!({ "expires_at": null }), json!({ "expires_in": 1 }));
    let confirmed = replicas[1].send(Method::PATCH, &path, Some(&confirm), None).await;
    assert_eq!(confirmed.status(), StatusCode::OK);
    let path = format!("{RESERVATIONS}/{}", id(&live[1]));
    let renewed = replicas[0].send(Method::PATCH, &path, Some(&renew), None).await;
    assert_eq!(renewed.status(), StatusCode::OK);
    until("it is closed", async || {
        (closings(&servers).await.keys().eq([&id(&live[1])])).then_some(())
    })
    .await;
    all_equal(&servers, &replicas).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn lapsed_unit_is_reserved_at_once_with_the_brake_on() {
    let servers = Servers::start().await;
    servers.postgres.set_clock(0).expect("its clock can be set");
    let replicas = servers.replicas::<2>().await;
    let pool = pool(&replicas[0], 1).await;
    looks(&replicas, 1).await;
    jump(&servers, &replicas).await;
    servers.postgres.set_clock(0).expect("its clock can be set");
    let mut held = reserved(&replicas[0], pool, 2).await;
    for nth in 1..=3 {
        let replica = &replicas[nth % 2];
        until("its end", async || (SystemTime::now() > end(&held)).then_some(())).await;
        // The first request after it gets the unit, in the entry that closes the other.
        let next = reserved(replica, pool, 2).await;
        let closed = closings(&servers).await;
        let version = next["version"].as_i64().expect("a version");
        assert_eq!(closed[&id(&held)], [(version, CloseReason::Expired)]);
        held = next;
    }
    for replica in &replicas {
        assert_eq!(metric(replica, "placard_expiry_braked").await, 1);
        assert_eq!(metric(replica, "placard_reservations_lapsed_total").await, 0);
    }
    all_equal(&servers, &replicas).await;
}
