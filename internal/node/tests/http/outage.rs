//! A journal that takes no writes for a while: reads go on, every writer gets an answer that it can rely on, and an
//! unknown outcome is found out by asking again.

use std::time::Duration;

use placard_testkit::wait::until;
use rusqlite::Connection;

use crate::server::{ADS, Server, ad, all};

const WRITERS: usize = 12;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_locked_journal_stops_writes_only_and_loses_none() {
    let server = Server::with_write_deadline(Duration::from_millis(300)).await;
    server.create(&ad()).await;
    let other = Connection::open(server.directory().join("journal.sqlite")).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();

    let write = |n: usize| server.call("POST", ADS).key(&format!("k-{n}")).json(&ad()).send();
    // The first is tried by a transaction, which waits for the lock; the others wait for the first.
    let answers = all((0..WRITERS).map(write)).await;
    let mut unknown = Vec::new();
    for (n, answer) in answers.iter().enumerate() {
        if answer.status == 504 {
            answer.problem(504, "outcome-unknown");
            unknown.push(n);
        } else {
            answer.problem(503, "journal-unavailable");
            assert!(answer.header("retry-after").is_some(), "{answer:?}");
        }
    }
    assert!(!unknown.is_empty(), "no write was tried");
    assert_eq!(server.list("").await.1, 1);
    assert_eq!(server.get("/readyz").await.status, 200);

    other.execute_batch("ROLLBACK").unwrap();
    for n in &unknown {
        until("a definite answer", async || (write(*n).await.status == 201).then_some(())).await;
    }
    let written = 1 + unknown.len() as u64;
    assert_eq!(server.list("").await.1, written, "what was unavailable was not written");
    let version = until("the journal", async || {
        let answer = server.post(ADS, &ad()).await;
        (answer.status == 201).then(|| answer.version())
    })
    .await;
    assert_eq!(version, written + 1);
}
