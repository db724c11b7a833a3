//! Every adapter passes the suite of its port, and so do the models that the simulations use.

#![allow(clippy::disallowed_methods, reason = "tests use clocks as they like")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::sync::Arc;
use std::time::Duration;

use placard_model::Timestamp;
use placard_model::command::Command;
use placard_model::entry::Position;
use placard_model::records::Kind;
use placard_replica::ports::{CommitError, Journal};
use placard_replica::system_now;
use placard_scheduler::ports::Expirations;
use placard_storage::checkpoint::CheckpointFile;
use placard_storage::directory::DirectoryError;
use placard_storage::in_process::InProcess;
use placard_storage::sqlite::{OpenError, SqliteAudit, SqliteJournal};
use placard_testkit::contract;
use placard_testkit::models::{ModelJournal, ModelStream};
use placard_testkit::requests::{create, keyed, request};
use tokio::task::JoinSet;

#[tokio::test(flavor = "multi_thread")]
async fn sqlite_keeps_the_journals_contract() {
    let directory = tempfile::tempdir().unwrap();
    let open = || SqliteJournal::open(directory.path()).unwrap();
    let reopen = async |journal: SqliteJournal| {
        let second = SqliteJournal::open(directory.path());
        assert!(
            matches!(second, Err(OpenError::Directory(DirectoryError::InUse(_)))),
            "two hold one directory"
        );
        drop(journal);
        open()
    };
    contract::journal(open(), reopen).await;
}

/// Writes were acknowledged that were gone when the server stopped.
#[tokio::test(flavor = "multi_thread")]
async fn a_sqlite_file_that_was_deleted_takes_no_writes() {
    let directory = tempfile::tempdir().unwrap();
    let journal = SqliteJournal::open(directory.path()).unwrap();
    let commit = async |id: u128| {
        let requests = vec![Arc::new(request(id, vec![create(id, "An ad")]))];
        journal.commit(Arc::new(contract::batch(requests))).await
    };
    let poll = async || journal.poll(contract::heartbeat(1, Position::START), 0).await;
    assert_eq!(commit(1).await.unwrap().head.version, 1);
    let [file, aside] = ["journal.sqlite", "aside"].map(|name| directory.path().join(name));
    for replacement in [None, Some("another file")] {
        std::fs::rename(&file, &aside).unwrap();
        if let Some(text) = replacement {
            std::fs::write(&file, text).unwrap();
        }
        let refused = commit(2).await;
        assert!(matches!(refused, Err(CommitError::NotCommitted(_))), "{refused:?}");
        assert!(poll().await.is_err());
        std::fs::rename(&aside, &file).unwrap();
        assert_eq!(poll().await.unwrap().position.version, 1);
    }
    assert_eq!(commit(2).await.unwrap().head.version, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn sqlite_keeps_the_audits_contract() {
    let directory = tempfile::tempdir().unwrap();
    let begin = async |_: &SqliteJournal| SqliteAudit::begin(directory.path()).unwrap();
    contract::audit(SqliteJournal::open(directory.path()).unwrap(), begin).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sqlite_keeps_the_expirations_contract() {
    let directory = tempfile::tempdir().unwrap();
    let date = async |_: &SqliteJournal, seconds: i64| {
        let file = rusqlite::Connection::open(directory.path().join("journal.sqlite")).unwrap();
        let due = "UPDATE records SET due = (unixepoch() + ?1) * 1000000 WHERE kind = 3";
        assert_eq!(file.execute(due, [seconds]).unwrap(), 1);
    };
    contract::expirations(SqliteJournal::open(directory.path()).unwrap(), date).await;
}

/// Its clock goes.
#[tokio::test(flavor = "multi_thread")]
async fn the_model_keeps_the_expirations_contract() {
    let journal = ModelJournal::new(system_now());
    let (mut going, model) = (JoinSet::new(), journal.clone());
    going.spawn(async move {
        loop {
            model.state().now = system_now();
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    });
    let date = async |journal: &ModelJournal, seconds: i64| {
        let mut state = journal.state();
        let due = Some(state.now.saturating_add_micros(seconds * 1_000_000));
        let tombstones = state.records.values_mut().filter(|row| row.key.kind == Kind::Tombstone);
        tombstones.for_each(|row| row.due = due);
    };
    contract::expirations(journal, date).await;
}

/// An older build has made the file.
#[tokio::test(flavor = "multi_thread")]
async fn a_sqlite_file_without_records_expires_ads() {
    let directory = tempfile::tempdir().unwrap();
    let journal = SqliteJournal::open(directory.path()).unwrap();
    let mut create = request(1, vec![create(1, "An ad that ends")]);
    let [Command::Create { spec, .. }] = &mut create.commands[..] else { unreachable!() };
    spec.end_at = system_now().saturating_add_micros(60_000_000);
    journal.commit(Arc::new(contract::batch(vec![Arc::new(create)]))).await.unwrap();
    let file = rusqlite::Connection::open(directory.path().join("journal.sqlite")).unwrap();
    file.execute("DROP TABLE records", []).unwrap();
    assert_eq!(journal.expired(10).await.unwrap().items().count(), 0);
    assert_eq!(journal.upcoming(Duration::from_secs(120), 10).await.unwrap().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn sqlite_keeps_the_chores_contract() {
    let directory = tempfile::tempdir().unwrap();
    let age = async |_: &SqliteJournal, version: u64, key: u8| {
        let file = rusqlite::Connection::open(directory.path().join("journal.sqlite")).unwrap();
        let older = "UPDATE log SET at = at - 7200000000 WHERE version <> ?1";
        file.execute(older, [version]).unwrap();
        let older = "UPDATE idempotency SET at = at - 172800000000 WHERE scope <> ?1";
        file.execute(older, [[key; 32]]).unwrap();
    };
    contract::chores(SqliteJournal::open(directory.path()).unwrap(), age).await;
}

/// On one thread: if that collected the ads, nothing else would run.
#[tokio::test]
async fn file_keeps_the_checkpoints_contract() {
    let directory = tempfile::tempdir().unwrap();
    let open = || CheckpointFile::open(directory.path()).unwrap();
    let reopen = async |checkpoints: CheckpointFile| {
        drop(checkpoints);
        open()
    };
    contract::checkpoints(open(), reopen).await;
}

/// Not refused: it may be committed again once the journal is open.
#[tokio::test(flavor = "multi_thread")]
async fn a_commit_to_a_closed_journal_is_not_committed() {
    let directory = tempfile::tempdir().unwrap();
    let journal = SqliteJournal::open(directory.path()).unwrap();
    journal.close().await.unwrap();
    let requests = vec![Arc::new(keyed(request(1, vec![create(1, "A late ad")]), 1, 1))];
    let committed = journal.commit(Arc::new(contract::batch(requests))).await;
    assert!(matches!(committed, Err(CommitError::NotCommitted(_))), "{committed:?}");
}

#[tokio::test]
async fn the_model_keeps_the_journals_contract() {
    let now = Timestamp::parse("2026-01-01T00:00:00Z").unwrap();
    contract::journal(ModelJournal::new(now), async |journal| journal).await;
    contract::shared_journal(ModelJournal::new(now)).await;
}

#[tokio::test]
async fn in_process_keeps_the_streams_contract() {
    contract::stream(InProcess::default()).await;
}

#[tokio::test]
async fn the_model_keeps_the_streams_contract() {
    contract::stream(ModelStream::default()).await;
}

#[test]
fn a_file_that_is_no_journal_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(
        directory.path().join("journal.sqlite"),
        "no database, but longer than a header",
    )
    .unwrap();
    let opened = SqliteJournal::open(directory.path());
    assert!(matches!(opened, Err(OpenError::Journal(..))), "{opened:?}");
}

#[test]
fn sqlite_refuses_a_journal_that_needs_a_newer_build() {
    let directory = tempfile::tempdir().unwrap();
    drop(SqliteJournal::open(directory.path()).unwrap());
    let file = || rusqlite::Connection::open(directory.path().join("journal.sqlite")).unwrap();
    // What a newer build has only added is left alone.
    file().execute_batch("PRAGMA user_version = 99").unwrap();
    drop(SqliteJournal::open(directory.path()).unwrap());
    file().execute_batch("UPDATE journal SET level = 99").unwrap();
    let opened = SqliteJournal::open(directory.path());
    assert!(matches!(opened, Err(OpenError::TooNew(_, 99))), "{opened:?}");
}
