//! Ads that end: no client gets one afterwards, and each is deleted by one entry, whichever replica's worker does it
//! and whatever happens to the tasks.

use std::collections::{BTreeMap, HashSet};
use std::time::{Duration, SystemTime};

use placard_model::entry::{Change, Entry, Reason};
use placard_testkit::wait::until;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use sqlx::{Connection, PgConnection};
use uuid::Uuid;

use crate::cluster::{ADS, Replica, Servers};

const BATCH: &str = "/api/v1/ad/batch";

/// Returns the whole second `ahead` from now, by this machine's clock, in the API's format.
pub(crate) fn second_in(ahead: Duration) -> String {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("it is past 1970");
    let micros = i64::try_from((now + ahead).as_secs() * 1_000_000).expect("a time in range");
    placard_model::Timestamp::from_micros(micros).expect("a time in range").to_string()
}

fn ending(end_at: &str) -> Value {
    json!({
        "title": "It ends soon", "content": "for everyone",
        "start_at": "2020-01-01T00:00:00Z", "end_at": end_at,
    })
}

/// Creates `many` ads that end at `end_at`, and returns their ids.
pub(crate) async fn create(replica: &Replica, many: usize, end_at: &str) -> Vec<Uuid> {
    let mut ids = Vec::new();
    while ids.len() < many {
        let batch = Value::from(vec![ending(end_at); 1_000.min(many - ids.len())]);
        let answer = replica.send(Method::POST, BATCH, Some(&batch), None).await;
        assert_eq!(answer.status(), StatusCode::OK);
        let body: Value = answer.json().await.expect("the answer is JSON");
        let items = body["items"].as_array().expect("a batch's answer has items");
        ids.extend(items.iter().map(id));
    }
    ids
}

pub(crate) fn id(ad: &Value) -> Uuid {
    ad["id"]
        .as_str()
        .and_then(|id| id.parse().ok())
        .unwrap_or_else(|| panic!("an ad has an id: {ad}"))
}

/// Returns how many entries have deleted each ad, and how many of them because it had ended.
pub(crate) async fn deletions(servers: &Servers) -> BTreeMap<Uuid, (u64, u64)> {
    let mut connection =
        PgConnection::connect(&servers.postgres.url()).await.expect("PostgreSQL answers");
    let log: Vec<Vec<u8>> = sqlx::query_scalar("SELECT bytes FROM log ORDER BY version")
        .fetch_all(&mut connection)
        .await
        .expect("the log can be read");
    let mut deletions = BTreeMap::new();
    for bytes in log {
        let entry = Entry::decode(&bytes.into()).expect("an entry can be decoded");
        if let Change::Delete(id) = entry.change {
            let (all, expired) = deletions.entry(id).or_default();
            *all += 1;
            *expired += u64::from(entry.reason == Reason::Expired);
        }
    }
    deletions
}

/// Waits until the journal holds this number of ads, ended or not.
pub(crate) async fn ads_left(servers: &Servers, many: i64) {
    let mut connection =
        PgConnection::connect(&servers.postgres.url()).await.expect("PostgreSQL answers");
    until("the ended ads to go", async || {
        let left: i64 = sqlx::query_scalar("SELECT count(*) FROM ads")
            .fetch_one(&mut connection)
            .await
            .expect("the ads can be counted");
        (left == many).then_some(())
    })
    .await;
}

/// Every one of these ads was deleted once, because it had ended, and nothing else was.
pub(crate) async fn each_expired_once(servers: &Servers, ids: &[Uuid]) {
    let expected: BTreeMap<_, _> = ids.iter().map(|id| (*id, (1, 1))).collect();
    let deletions = deletions(servers).await;
    assert!(deletions == expected, "{} deletions of {} ads", deletions.len(), expected.len());
}

/// All replicas are where the journal is, and equal.
pub(crate) async fn all_equal(servers: &Servers, replicas: &[Replica]) {
    let head = replicas[0].cluster().await["head"]["version"].as_u64().expect("there is a head");
    for replica in replicas {
        replica.reaches(head).await;
    }
    servers.verify(&replicas[0]).await;
}

/// Waits until the listing of a replica has that many matches.
pub(crate) async fn total(replica: &Replica, many: u64) {
    until("the listing's total", async || {
        let page = replica.json(&format!("{ADS}?limit=1")).await;
        (page["total"] == many).then_some(())
    })
    .await;
}

pub(crate) async fn metric(replica: &Replica, name: &str) -> u64 {
    let text = replica.get("/metrics").await.text().await.expect("the answer is text");
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.and_then(|value| value.parse().ok()).unwrap_or_else(|| panic!("no {name} in {text}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn three_racing_replicas_delete_each_ended_ad_once() {
    const MANY: usize = 20_000;
    let servers = Servers::start().await;
    let replicas = servers.replicas::<3>().await;
    let stays = replicas[0].create(ADS, "It stays").await;
    // Time enough for all of them to be created, and for a task to be planned.
    let ids = create(&replicas[1], MANY, &second_in(Duration::from_secs(10))).await;
    for replica in &replicas {
        total(replica, 1).await;
    }
    ads_left(&servers, 1).await;
    each_expired_once(&servers, &ids).await;
    all_equal(&servers, &replicas).await;
    let page = replicas[2].json(ADS).await;
    assert_eq!(id(&page["ads"][0]), id(&stays));
    let (mut deleted, mut done) = (0, 0);
    for replica in &replicas {
        deleted += metric(replica, "placard_expired_total").await;
        done += metric(replica, "placard_expiry_tasks_done_total").await;
    }
    assert_eq!(deleted, MANY as u64);
    assert!(done > 0, "no worker has had a task");
    assert_eq!(replicas[0].cluster().await["expiry"]["state"], "running");
}

#[tokio::test(flavor = "multi_thread")]
async fn sweep_recovers_from_lost_tasks_and_emptied_redis() {
    let mut servers = Servers::start().await;
    let replicas = servers.replicas::<2>().await;
    let ids = create(&replicas[0], 300, &second_in(Duration::from_secs(4))).await;
    let mut connection =
        PgConnection::connect(&servers.postgres.url()).await.expect("PostgreSQL answers");
    // As soon as there is a task it is gone again.
    until("a task", async || {
        let gone = sqlx::query("DELETE FROM apalis.jobs").execute(&mut connection).await;
        // The tables come a moment after the first replica.
        (gone.is_ok_and(|gone| gone.rows_affected() > 0)).then_some(())
    })
    .await;
    servers.redis.restart_empty().await.expect("Redis starts");
    ads_left(&servers, 0).await;
    each_expired_once(&servers, &ids).await;
    all_equal(&servers, &replicas).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn expiry_follows_a_changed_end_time() {
    let servers = Servers::start().await;
    let replicas = servers.replicas::<2>().await;
    let soon = second_in(Duration::from_secs(4));
    let ids = create(&replicas[0], 3, &soon).await;
    let later = create(&replicas[0], 1, "2099-01-01T00:00:00Z").await;
    let patch = async |id: Uuid, body: &Value| {
        let path = format!("{ADS}/{id}");
        let answer = replicas[1].send(Method::PATCH, &path, Some(body), None).await;
        assert_eq!(answer.status(), StatusCode::OK);
    };
    // One stays after all, one changes and ends as it was to, one ends that was to last; one is deleted by hand.
    patch(ids[0], &json!({"end_at": "2099-01-01T00:00:00Z"})).await;
    patch(ids[1], &json!({"title": "It still ends soon"})).await;
    patch(later[0], &json!({"end_at": soon})).await;
    let path = format!("{ADS}/{}", ids[2]);
    let deleted = replicas[1].send(Method::DELETE, &path, None, None).await;
    assert!(deleted.status().is_success());
    ads_left(&servers, 1).await;
    let expected = BTreeMap::from([(ids[1], (1, 1)), (ids[2], (1, 0)), (later[0], (1, 1))]);
    assert_eq!(deletions(&servers).await, expected);
    for replica in &replicas {
        total(replica, 1).await;
    }
    all_equal(&servers, &replicas).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ended_ad_is_not_served_before_it_can_be_deleted() {
    let servers = Servers::start().await;
    let [replica] = servers.replicas::<1>().await;
    let ids: HashSet<_> =
        create(&replica, 1, &second_in(Duration::from_secs(2))).await.into_iter().collect();
    assert_eq!(replica.json(ADS).await["total"], 1);
    // With no worker and no journal to delete it in.
    let mut servers = servers;
    servers.postgres.stop().await.expect("PostgreSQL stops");
    total(&replica, 0).await;
    servers.postgres.restart().await.expect("PostgreSQL starts");
    ads_left(&servers, 0).await;
    each_expired_once(&servers, &ids.into_iter().collect::<Vec<_>>()).await;
}
