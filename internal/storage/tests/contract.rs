//! Every adapter passes the suite of its port, and so do the models that the simulations use.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use placard_model::Timestamp;
use placard_storage::directory::DirectoryError;
use placard_storage::in_process::InProcess;
use placard_storage::sqlite::{OpenError, SqliteJournal};
use placard_testkit::contract;
use placard_testkit::models::{ModelJournal, ModelStream};

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
