//! Both stores of tasks pass the suite of their port.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use placard_storage::postgres::{self, Options, PostgresJournal};
use placard_tasks::{PostgresTasks, SqliteTasks, Wording};
use placard_testkit::contract;
use placard_testkit::servers::postgres::PostgresServer;

#[tokio::test(flavor = "multi_thread")]
async fn sqlite_keeps_the_tasks_contract() {
    let directory = tempfile::tempdir().unwrap();
    let store = SqliteTasks::in_directory(directory.path());
    contract::tasks(async || store.clone()).await;
    assert!(SqliteTasks::file(directory.path()).exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn postgres_keeps_the_tasks_contract() {
    let server = PostgresServer::start().await.unwrap();
    let handle = async || {
        let journal = PostgresJournal::connect(&server.url(), Options::default()).await.unwrap();
        let wording = Wording::new(postgres::told);
        PostgresTasks { pool: journal.tasks_pool(), migrate: true, wording }
    };
    contract::tasks(handle).await;
}
