//! Expiry while something is held: a worker that is killed while it has a task, and an ad that is updated while its
//! deletion is decided. The tests make PostgreSQL itself wait, so that the tested operation is certainly under way.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use placard_testkit::wait::until;
use reqwest::{Method, StatusCode};
use serde_json::json;
use sqlx::{Connection, PgConnection};
use uuid::Uuid;

use crate::cluster::{ADS, Replica, Servers};
use crate::expiry::{
    ads_left, all_equal, create, deletions, each_expired_once, id, metric, second_in, total,
};

/// The advisory lock for which a trigger makes statements wait.
const HELD: i64 = 0x4845_4c44;

async fn connect(servers: &Servers) -> PgConnection {
    PgConnection::connect(&servers.postgres.url()).await.expect("PostgreSQL answers")
}

/// The state of the one task there is, and the worker that has it.
async fn task(connection: &mut PgConnection) -> Option<(String, Option<String>)> {
    // The tables come a moment after the first replica.
    let task = sqlx::query_as("SELECT status, lock_by FROM apalis.jobs");
    task.fetch_optional(connection).await.ok().flatten()
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_workers_task_is_done_by_another() {
    const MANY: usize = 600;
    let servers = Servers::start().await;
    let mut replicas = Vec::from(servers.replicas::<3>().await);
    let stays = id(&replicas[0].create(ADS, "It stays").await);
    let ids = create(&replicas[0], MANY, &second_in(Duration::from_secs(5))).await;
    let mut watching = connect(&servers).await;
    until("the task", async || task(&mut watching).await).await;
    // From here on no replica can commit: the worker that has the task keeps it for as long as it waits for a write.
    let mut holding = connect(&servers).await;
    sqlx::raw_sql("BEGIN; SELECT FROM head FOR UPDATE")
        .execute(&mut holding)
        .await
        .expect("a lock");
    let worker = until("a worker with the task", async || {
        let (status, worker) = task(&mut watching).await?;
        assert_ne!(status, "Done", "it was done though nobody could");
        worker.filter(|_| status == "Running")
    })
    .await;
    let mut names = Vec::new();
    for replica in &replicas {
        let page = replica.cluster().await;
        names.push(page["replica"].as_str().expect("a replica has an id").to_owned());
    }
    let of = |worker: &str| names.iter().position(|name| worker.starts_with(name.as_str()));
    let holder = of(&worker).unwrap_or_else(|| panic!("{worker} is of none of {names:?}"));
    replicas.remove(holder).process.kill().await;
    // It can no longer give it back: it has died with it, and has deleted nothing.
    assert_eq!(task(&mut watching).await, Some(("Running".to_owned(), Some(worker))));
    assert_eq!(deletions(&servers).await, BTreeMap::new());
    sqlx::raw_sql("ROLLBACK").execute(&mut holding).await.expect("no lock");

    ads_left(&servers, 1).await;
    each_expired_once(&servers, &ids).await;
    all_equal(&servers, &replicas).await;
    for replica in &replicas {
        let page = replica.json(ADS).await;
        assert_eq!((&page["total"], id(&page["ads"][0])), (&json!(1), stays));
    }
    let heir = until("the task to be done", async || {
        let (status, worker) = task(&mut watching).await?;
        worker.filter(|_| status == "Done")
    })
    .await;
    assert!(of(&heir).is_some_and(|heir| heir != holder), "{heir} has done it");
    each_expired_once(&servers, &ids).await;
}

/// Rows of the ads that are updated, or deleted, wait behind a lock; the head's lock is held meanwhile.
async fn hold(connection: &mut PgConnection, change: &str) {
    let (new, event) = if change == "UPDATE" { ("NEW", "updated") } else { ("OLD", "deleted") };
    let sql = format!(
        "CREATE FUNCTION hold() RETURNS trigger LANGUAGE plpgsql AS $$
             BEGIN PERFORM pg_advisory_xact_lock_shared({HELD}); RETURN {new}; END $$;
         CREATE TRIGGER held_when_{event} BEFORE {change} ON ads FOR EACH ROW EXECUTE FUNCTION hold();
         SELECT pg_advisory_lock({HELD})"
    );
    sqlx::raw_sql(sqlx::AssertSqlSafe(sql)).execute(connection).await.expect("a trigger");
}

async fn let_go(connection: &mut PgConnection) {
    let unlock = sqlx::query("SELECT pg_advisory_unlock($1)").bind(HELD);
    unlock.execute(connection).await.expect("no lock");
}

/// Waits until this number of transactions that write a plan wait for a lock.
async fn writes_waiting(connection: &mut PgConnection, many: i64) {
    until("a write that waits", async || {
        let waiting: i64 = sqlx::query_scalar(
            "SELECT count(*) FROM pg_stat_activity
              WHERE wait_event_type = 'Lock' AND (query LIKE '%WITH moved%' OR query LIKE '%FOR UPDATE%')",
        )
        .fetch_one(&mut *connection)
        .await
        .expect("sessions can be counted");
        (waiting >= many).then_some(())
    })
    .await;
}

async fn patch(replica: &Replica, ad: Uuid, end_at: &str) -> StatusCode {
    let body = json!({ "end_at": end_at });
    replica.send(Method::PATCH, &format!("{ADS}/{ad}"), Some(&body), None).await.status()
}

/// Two replicas, an ad that ends soon, and when.
async fn ending(servers: &Servers) -> ([Replica; 2], Uuid, SystemTime) {
    let replicas = servers.replicas::<2>().await;
    let ahead = Duration::from_secs(4);
    let end = second_in(ahead);
    let ids = create(&replicas[0], 1, &end).await;
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("it is past 1970");
    let end = SystemTime::UNIX_EPOCH + Duration::from_secs((since + ahead).as_secs());
    (replicas, ids[0], end)
}

#[tokio::test(flavor = "multi_thread")]
async fn update_while_deletion_is_decided_saves_the_ad() {
    let servers = Servers::start().await;
    let ([updates, deletes], ad, end) = ending(&servers).await;
    let mut test = connect(&servers).await;
    hold(&mut test, "UPDATE").await;
    // No earlier: PostgreSQL gives up a statement that waits for four seconds.
    let soon = end - Duration::from_millis(1_200);
    until("the ad's last second", async || (SystemTime::now() >= soon).then_some(())).await;
    let extended = async {
        let status = patch(&updates, ad, "2099-01-01T00:00:00Z").await;
        assert_eq!(status, StatusCode::OK);
    };
    let decided = async {
        // The update is written, and waits to be committed.
        writes_waiting(&mut test, 1).await;
        // The replica with the update takes no task now, so that the other one reads the ad as it was, decides that it
        // goes, and waits for its turn to write that down.
        updates.process.pause();
        assert!(SystemTime::now() < end, "the ad has ended before the test was ready for it");
        writes_waiting(&mut test, 2).await;
        let_go(&mut test).await;
        updates.process.resume();
    };
    tokio::join!(extended, decided);
    // Every replica has searched again since, and has found no ended ad.
    let replicas = [updates, deletes];
    for replica in &replicas {
        let looks = metric(replica, "placard_expiry_looks_total").await;
        until("a look at what has ended", async || {
            (metric(replica, "placard_expiry_looks_total").await >= looks + 2).then_some(())
        })
        .await;
        total(replica, 1).await;
    }
    assert_eq!(deletions(&servers).await, BTreeMap::new());
    all_equal(&servers, &replicas).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn update_while_deletion_is_written_finds_no_ad() {
    let servers = Servers::start().await;
    let ([updates, deletes], ad, _) = ending(&servers).await;
    let mut test = connect(&servers).await;
    hold(&mut test, "DELETE").await;
    // It takes no task; the deletion is the other one's.
    updates.process.pause();
    writes_waiting(&mut test, 1).await;
    updates.process.resume();
    let extended = async {
        let status = patch(&updates, ad, "2099-01-01T00:00:00Z").await;
        assert_eq!(status, StatusCode::NOT_FOUND);
    };
    let decided = async {
        writes_waiting(&mut test, 2).await;
        let_go(&mut test).await;
    };
    tokio::join!(extended, decided);
    each_expired_once(&servers, &[ad]).await;
    let replicas = [updates, deletes];
    for replica in &replicas {
        total(replica, 0).await;
    }
    all_equal(&servers, &replicas).await;
}
