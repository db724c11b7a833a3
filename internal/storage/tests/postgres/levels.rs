//! A journal that holds what only a newer build reads.

use placard_replica::ports::{CommitError, Journal};
use placard_storage::postgres::{OpenError, Options, PostgresJournal};
use placard_testkit::requests::{create, delete, request};
use tokio::sync::mpsc;

use crate::{commit, open, sendable, server, try_commit};

/// Whichever way a commit goes: blindly behind one's own, by what was read, and under the lock.
#[tokio::test]
async fn a_journal_that_needs_a_newer_build_is_left_alone() {
    let server = server().await;
    let journal = open(&server.url()).await;
    commit(&journal, vec![request(1, vec![create(1, "for every build")])]).await;
    server.sql("UPDATE journal SET level = 99").unwrap();
    let attempts = [(create(2, "blindly"), false), (delete(1), false), (create(3, "again"), true)];
    for (id, (command, repeated)) in (2..).zip(attempts) {
        let refused = try_commit(&journal, vec![request(id, vec![command])], repeated).await;
        assert!(matches!(refused, Err(CommitError::NotCommitted(_))), "{id}: {refused:?}");
    }
    assert_eq!(journal.log(0, 10).await.unwrap().len(), 1);
    let (sender, mut chunks) = mpsc::channel(1);
    assert!(sendable(journal.snapshot(sender)).await.is_err());
    assert_eq!(chunks.recv().await, None);
    let opened = sendable(PostgresJournal::connect(&server.url(), Options::default())).await;
    assert!(matches!(opened, Err(OpenError::TooNew(_, 99))), "{opened:?}");
    server.sql("UPDATE journal SET level = 1").unwrap();
    commit(&journal, vec![request(9, vec![delete(1)])]).await;
}
