//! Every journal keeps the contract of records, and a checkpoint has them.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::sync::Arc;
use std::time::Duration;

use placard_model::capacity::{self, Balance, Pool};
use placard_model::command::Command;
use placard_model::entry::{Chain, Digest, Position};
use placard_model::records::EncodedRecord;
use placard_model::{Delivery, Encoded, Spec, Timestamp};
use placard_replica::Batch;
use placard_replica::ports::{Checkpoints, Journal, Unavailable};
use placard_storage::checkpoint::CheckpointFile;
use placard_storage::postgres::{Options, PostgresJournal};
use placard_storage::sqlite::SqliteJournal;
use placard_testkit::capacity::spec;
use placard_testkit::contract;
use placard_testkit::models::ModelJournal;
use placard_testkit::proxy::{Flow, Proxy, Way};
use placard_testkit::requests;
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

/// A batch that deletes an ad with a pool, on a connection that has seen no pool, and then one with records.
#[tokio::test(flavor = "multi_thread")]
async fn postgresql_from_afar_prepares_each_statement_once() {
    let server = PostgresServer::start().await.unwrap();
    let proxy = Proxy::start(server.port()).await.unwrap();
    for way in [Way::Requests, Way::Answers] {
        proxy.set(way, Flow::Delay(Duration::from_millis(5)));
    }
    let near = PostgresJournal::connect(&server.url(), Options::default()).await.unwrap();
    let far = server.url_through(proxy.port());
    let far = PostgresJournal::connect(&far, Options::default()).await.unwrap();
    let id = Uuid::from_u128;
    let of_pools = |command| Command::Capacity { command: Box::new(command), own_clock: None };
    let delivery = Delivery { pool: Some(id(1)), ..Delivery::default() };
    let ad = Spec { delivery, ..requests::spec("an ad of a pool") };
    let made = vec![
        of_pools(capacity::Command::CreatePool { id: id(1), spec: spec(5) }),
        Command::Create { id: id(2), spec: ad },
    ];
    let commit = async |journal: &PostgresJournal, nth, repeated, commands| {
        let request = Arc::new(requests::request(nth, commands));
        let batch = Batch { repeated, ..contract::batch(vec![request]) };
        let plan = journal.commit(Arc::new(batch)).await.unwrap();
        plan.log.len()
    };
    assert_eq!(commit(&near, 1, false, made).await, 2);
    // What was tried before is committed under the lock, with values written out.
    assert_eq!(commit(&far, 2, true, vec![requests::delete(2)]).await, 1);
    let reserve =
        capacity::Command::Reserve { hold: id(3), pool: id(1), amount: 1, expires_in: None };
    assert_eq!(commit(&far, 3, true, vec![of_pools(reserve)]).await, 1);
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
