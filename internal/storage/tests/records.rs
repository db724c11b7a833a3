//! Every journal keeps the contract of records, and a checkpoint has them.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::time::Duration;

use placard_model::capacity::{Balance, Pool};
use placard_model::entry::{Chain, Digest, Position};
use placard_model::records::EncodedRecord;
use placard_model::{Encoded, Timestamp};
use placard_replica::ports::{Checkpoints, Unavailable};
use placard_storage::checkpoint::CheckpointFile;
use placard_storage::postgres::{Options, PostgresJournal};
use placard_storage::sqlite::SqliteJournal;
use placard_testkit::capacity::spec;
use placard_testkit::contract;
use placard_testkit::models::ModelJournal;
use placard_testkit::proxy::{Flow, Proxy, Way};
use placard_testkit::servers::postgres::PostgresServer;
use tokio::sync::mpsc;
use uuid::Uuid;

#[tokio::test(flavor = "multi_thread")]
async fn sqlite_keeps_the_contract_of_records() {
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
    let now = Timestamp::parse("2026-01-01T00:00:00Z").unwrap();
    contract::records(ModelJournal::new(now), async |journal| journal).await;
}

/// More than one chunk of them, behind the ads; and whatever is cut off is noticed.
#[tokio::test]
async fn checkpoint_has_the_records_or_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let file = CheckpointFile::open(directory.path()).unwrap();
    let pool = |id| Pool {
        id: Uuid::from_u128(id),
        version: 1,
        created_at: Timestamp::EPOCH,
        spec: spec(5),
        balance: Balance::default(),
    };
    let of = |count| (0..count).map(|id| Encoded::from(EncodedRecord::of_pool(&pool(id))));
    for (count, cuts) in [(20_000, false), (3, true)] {
        let all: Vec<_> = of(count).collect();
        let digest = all.iter().map(Digest::of_any).fold(Digest::default(), Digest::plus);
        let position = Position { version: 77, chain: Chain([9; 32]), digest };
        let saved = all.clone();
        file.save(position, || saved).await.unwrap();
        assert_eq!(load(&file).await.unwrap(), (Some(position), all));
        let path = directory.path().join("checkpoint");
        let whole = std::fs::read(&path).unwrap();
        for cut in (0..whole.len()).filter(|_| cuts) {
            std::fs::write(&path, &whole[..cut]).unwrap();
            assert!(load(&file).await.is_err(), "cut at {cut}");
        }
    }
}

async fn load(file: &CheckpointFile) -> Result<(Option<Position>, Vec<Encoded>), Unavailable> {
    let (chunks, mut arriving) = mpsc::channel(1);
    let collect = async {
        let mut all = Vec::new();
        while let Some(chunk) = arriving.recv().await {
            all.extend(chunk);
        }
        all
    };
    let (position, all) = tokio::join!(file.load(chunks), collect);
    Ok((position?, all))
}
