//! What a statement reads must not grow with what the journal holds, whatever PostgreSQL knew of the tables when it
//! planned the statement: it keeps its plan for as long as the connection lasts.

use placard_testkit::requests::{create, delete, keyed, request};
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
    let scans = |index: &str| -> u64 {
        let scans = "SELECT idx_scan FROM pg_stat_user_indexes WHERE indexrelname =";
        server.sql(&format!("{scans} '{index}'")).unwrap().parse().unwrap()
    };
    until("what was counted", async || (scans("idempotency_pkey") >= 200).then_some(())).await;
    assert_eq!(scans("idempotency_by_time"), 0);
}
