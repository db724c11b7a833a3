//! Every journal keeps the contract of records. This is a process of the next build: today's writes none.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::sync::Once;
use std::time::Duration;

use placard_model::Timestamp;
use placard_model::entry::be_the_next_build;
use placard_storage::postgres::{Options, PostgresJournal};
use placard_storage::sqlite::SqliteJournal;
use placard_testkit::contract;
use placard_testkit::models::ModelJournal;
use placard_testkit::proxy::{Flow, Proxy, Way};
use placard_testkit::servers::postgres::PostgresServer;

fn as_the_next_build() {
    static ONCE: Once = Once::new();
    ONCE.call_once(be_the_next_build);
}

#[tokio::test(flavor = "multi_thread")]
async fn sqlite_keeps_the_contract_of_records() {
    as_the_next_build();
    let directory = tempfile::tempdir().unwrap();
    let open = || SqliteJournal::open(directory.path()).unwrap();
    let reopen = async |journal: SqliteJournal| {
        drop(journal);
        open()
    };
    contract::records(open(), reopen).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn postgresql_keeps_the_contract_of_records() {
    as_the_next_build();
    let server = PostgresServer::start().await.unwrap();
    let url = server.url();
    let open = async || PostgresJournal::connect(&url, Options::default()).await.unwrap();
    let reopen = async |journal: PostgresJournal| {
        drop(journal);
        open().await
    };
    contract::records(open().await, reopen).await;
}

/// So far away that values are written out.
#[tokio::test(flavor = "multi_thread")]
async fn postgresql_from_afar_keeps_the_contract_of_records() {
    as_the_next_build();
    let server = PostgresServer::start().await.unwrap();
    let proxy = Proxy::start(server.port()).await.unwrap();
    for way in [Way::Requests, Way::Answers] {
        proxy.set(way, Flow::Delay(Duration::from_millis(5)));
    }
    let url = server.url_through(proxy.port());
    let open = async || PostgresJournal::connect(&url, Options::default()).await.unwrap();
    let reopen = async |journal: PostgresJournal| {
        drop(journal);
        open().await
    };
    contract::records(open().await, reopen).await;
}

#[tokio::test]
async fn the_model_keeps_the_contract_of_records() {
    as_the_next_build();
    let now = Timestamp::parse("2026-01-01T00:00:00Z").unwrap();
    contract::records(ModelJournal::new(now), async |journal| journal).await;
}
