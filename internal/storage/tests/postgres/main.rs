//! The PostgreSQL journal on private servers: the contract, several committers, faults on the wire, what a
//! server must be, and upkeep.

#![allow(clippy::disallowed_methods, reason = "tests use clocks, chance and tasks as they like")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod blind;
mod committers;
mod connections;
mod distance;
mod faults;
mod fitness;
mod hosts;
mod levels;
mod plans;
mod pooler;
mod rights;
mod standby;
mod streams;
mod tls;
mod upkeep;

use std::sync::Arc;

use placard_model::command::Request;
use placard_model::entry::{Chain, Digest, Position, Record};
use placard_model::{Encoded, Version};
use placard_replica::ports::{CommitError, Journal};
use placard_replica::{Batch, Plan};
use placard_storage::postgres::{self, Options, PostgresJournal};
use placard_tasks::Wording;
use placard_testkit::contract;
use placard_testkit::servers::postgres::PostgresServer;
use tokio::sync::mpsc;

async fn server() -> PostgresServer {
    PostgresServer::start().await.unwrap()
}

/// Returns the number of connections that journals have to the server.
fn connections(server: &PostgresServer) -> u32 {
    let all = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'placard'";
    server.sql(all).unwrap().parse().unwrap()
}

/// How the queue of tasks tells what fails.
fn wording() -> Wording {
    Wording::new(postgres::told)
}

/// Asserts that a task may await this future.
fn sendable<F: Future + Send>(future: F) -> F {
    future
}

async fn open(url: &str) -> PostgresJournal {
    sendable(PostgresJournal::connect(url, Options::default())).await.unwrap()
}

async fn try_commit(
    journal: &PostgresJournal,
    requests: Vec<Request>,
    repeated: bool,
) -> Result<Plan, CommitError> {
    let batch = contract::batch(requests.into_iter().map(Arc::new).collect());
    journal.commit(Arc::new(Batch { repeated, ..batch })).await
}

async fn commit(journal: &PostgresJournal, requests: Vec<Request>) -> Plan {
    try_commit(journal, requests, false).await.unwrap()
}

/// Commits until there is a definite answer, as a committer does.
async fn commit_at_last(journal: &PostgresJournal, requests: Vec<Request>) -> Plan {
    let mut repeated = false;
    loop {
        match try_commit(journal, requests.clone(), repeated).await {
            Ok(plan) => return plan,
            Err(CommitError::Refused(error)) => panic!("{error:?}"),
            Err(CommitError::Unknown(_)) => repeated = true,
            Err(CommitError::NotCommitted(_)) => {}
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
}

async fn collect(mut chunks: mpsc::Receiver<Vec<Encoded>>) -> Vec<Encoded> {
    let mut ads = Vec::new();
    while let Some(chunk) = chunks.recv().await {
        ads.extend(chunk);
    }
    ads
}

async fn snapshot(journal: &PostgresJournal) -> (Position, Vec<Encoded>) {
    let (sender, chunks) = mpsc::channel(2);
    let (position, ads) = tokio::join!(journal.snapshot(sender), collect(chunks));
    (position.unwrap(), ads)
}

fn digest(ads: &[Encoded]) -> Digest {
    ads.iter().map(Digest::of_any).fold(Digest::default(), Digest::plus)
}

/// Checks that records follow a position without a hole; returns where they lead.
fn follow(records: &[Record], after: Version, chain: Chain) -> (Version, Chain) {
    records.iter().fold((after, chain), |(version, chain), record| {
        assert_eq!(record.version, version + 1, "a hole");
        assert_eq!(record.chain, chain.next(record.version, &record.bytes));
        (record.version, record.chain)
    })
}

/// The head, the log and the ads are of one piece.
async fn is_whole(journal: &PostgresJournal) -> Position {
    let (position, ads) = snapshot(journal).await;
    let mut at = (0, Chain::GENESIS);
    while at.0 < position.version {
        let page = journal.log(at.0, 1_000_000).await.unwrap();
        assert!(!page.is_empty(), "nothing after {}", at.0);
        at = follow(&page, at.0, at.1);
    }
    assert_eq!(at, (position.version, position.chain));
    assert_eq!(digest(&ads), position.digest);
    position
}

#[tokio::test]
async fn postgres_keeps_the_journals_contract() {
    let server = server().await;
    let reopen = async |journal: PostgresJournal| {
        drop(journal);
        open(&server.url()).await
    };
    contract::journal(open(&server.url()).await, reopen).await;
}

#[tokio::test]
async fn postgres_keeps_the_audits_contract() {
    let server = server().await;
    // An audit borrows its journal.
    let audited: &'static PostgresJournal = Box::leak(Box::new(open(&server.url()).await));
    let begin = async |_: &PostgresJournal| audited.audit().await.unwrap();
    contract::audit(open(&server.url()).await, begin).await;
}

#[tokio::test]
async fn postgres_keeps_the_expirations_contract() {
    let server = server().await;
    let date = async |_: &PostgresJournal, seconds: i64| {
        let due = format!("UPDATE records SET due = now() + interval '{seconds} s' WHERE kind = 3");
        server.sql(&due).unwrap();
    };
    contract::expirations(open(&server.url()).await, date).await;
}

#[tokio::test]
async fn postgres_keeps_the_chores_contract() {
    let server = server().await;
    let age = async |_: &PostgresJournal, version: u64, key: u8| {
        let older = "at = at - interval";
        server
            .sql(&format!(
                "UPDATE log SET {older} '2 hours' WHERE version <> {version};
                 UPDATE idempotency SET {older} '2 days'
                  WHERE scope <> decode(repeat('{key:02x}', 32), 'hex')"
            ))
            .unwrap();
    };
    contract::chores(open(&server.url()).await, age).await;
}

#[tokio::test]
async fn postgres_keeps_the_shared_journals_contract() {
    let server = server().await;
    contract::shared_journal(open(&server.url()).await).await;
}
