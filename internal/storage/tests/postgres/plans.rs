//! What a statement reads must not grow with what the journal holds, whatever PostgreSQL knew of the tables when it
//! planned the statement: it keeps its plan for as long as the connection lasts.

use std::sync::Arc;
use std::time::Duration;

use placard_model::capacity::Command;
use placard_model::entry::CAPACITY_LEVEL;
use placard_replica::ports::Journal;
use placard_replica::system_now;
use placard_scheduler::ports::Expirations;
use placard_testkit::capacity::{batch, id, reserve, spec};
use placard_testkit::requests::{create, delete, keyed, request};
use placard_testkit::servers::postgres::PostgresServer;
use placard_testkit::wait::until;

use crate::{commit, open, server};

/// A replica that had connected when there were few answers read all of them, by their age, at every commit: with
/// 25,000 of them a commit took 30 ms, until PostgreSQL analysed the table by itself.
#[tokio::test]
async fn kept_answers_are_looked_up_by_their_key() {
    let server = server().await;
    let mut journal = open(&server.url()).await;
    for id in 1..=200_u8 {
        if id % 20 == 0 {
            journal = open(&server.url()).await;
        }
        let commands = vec![create(id.into(), "a title"), delete(u128::from(id) - 1)];
        commit(&journal, vec![keyed(request(id.into(), commands), id, 0)]).await;
    }
    // A connection reports its counts when it ends, at the latest.
    drop(journal);
    let scans = |index| scans(&server, index);
    until("what was counted", async || (scans("idempotency_pkey") >= 200).then_some(())).await;
    assert_eq!(scans("idempotency_by_time"), 0);
}

/// A replica that had connected when there was nothing to lapse.
#[tokio::test]
async fn what_is_due_is_looked_up_by_its_time() {
    let server = server().await;
    let journal = open(&server.url()).await;
    let give = async |request: u128, commands| {
        let batch = batch(request, commands, system_now(), CAPACITY_LEVEL);
        journal.commit(Arc::new(batch)).await.unwrap();
    };
    let hour = |holds: std::ops::Range<u128>| holds.map(|hold| reserve(hold, 1, 1, Some(3_600)));
    let create = Command::CreatePool { id: id(1), spec: spec(10_000) };
    give(1, [create].into_iter().chain(hour(100..101)).collect()).await;
    let mut found = 0;
    for nth in 1..=10 {
        found += journal.expired(9).await.unwrap().items().count();
        journal.upcoming(Duration::from_secs(7_200), 9).await.unwrap();
        give(1 + nth, hour(1_000 * nth..1_000 * nth + 100).collect()).await;
    }
    assert_eq!(found, 0);
    drop(journal);
    // Ten times two searches for what is due, of each kind, and at least two for when more will be.
    until("what was counted", async || (scans(&server, "records_by_due") >= 40).then_some(()))
        .await;
    let read =
        "SELECT idx_tup_read FROM pg_stat_user_indexes WHERE indexrelname = 'records_by_due'";
    let read: u64 = server.sql(read).unwrap().parse().unwrap();
    assert!(read <= 40, "{read} rows of 1,000 were read, in ten times four searches");
}

/// How often an index was searched.
fn scans(server: &PostgresServer, index: &str) -> u64 {
    let scans = "SELECT idx_scan FROM pg_stat_user_indexes WHERE indexrelname =";
    server.sql(&format!("{scans} '{index}'")).unwrap().parse().unwrap()
}
