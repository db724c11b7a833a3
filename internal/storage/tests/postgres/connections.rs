//! The number of connections that a journal takes, and what it does when there are too few.

use std::time::Duration;

use placard_model::entry::Position;
use placard_replica::ports::{Commits, Journal};
use placard_scheduler::ports::{Chores, Expirations};
use placard_storage::postgres::{OpenError, Options, PostgresJournal};
use placard_testkit::contract;
use placard_testkit::requests::{create, request};
use placard_testkit::servers::postgres::PostgresServer;
use placard_testkit::wait::until;
use sqlx::{Connection, PgConnection};

use crate::{commit, open, server, snapshot, try_commit};

const HOUR: Duration = Duration::from_secs(3600);

/// Creates a role that may have this many connections. Returns its URL.
fn limited(server: &PostgresServer, connections: u32) -> String {
    let role = format!("CREATE ROLE few LOGIN CONNECTION LIMIT {connections}");
    server.sql(&role).unwrap();
    server.sql("GRANT ALL ON SCHEMA public TO few").unwrap();
    server.url().replace("postgres@", "few@")
}

fn limit(server: &PostgresServer, connections: u32) {
    server.sql(&format!("ALTER ROLE few CONNECTION LIMIT {connections}")).unwrap();
}

fn taken(server: &PostgresServer) -> usize {
    let taken = "SELECT count(*) FROM pg_stat_activity WHERE usename = 'few'";
    server.sql(taken).unwrap().parse().unwrap()
}

async fn poll(journal: &PostgresJournal) {
    journal.poll(contract::heartbeat(1, Position::START), 0).await.unwrap();
}

/// It asked for a connection when it had something to commit, and could be ready without ever getting one.
#[tokio::test]
async fn journal_commits_when_others_took_all_connections() {
    let server = server().await;
    let url = limited(&server, 5);
    let journal = open(&url).await;
    poll(&journal).await;
    let mut others = Vec::new();
    while let Ok(other) = PgConnection::connect(&url).await {
        others.push(other);
    }
    for id in 1..=3 {
        commit(&journal, vec![request(id, vec![create(id, "committed")])]).await;
        poll(&journal).await;
    }
    assert_eq!(journal.commits(), Commits::Able);
    // One that cannot have a connection to commit with is not opened, and says why.
    let options = Options { run_migrations: false, ..Options::default() };
    let refused = PostgresJournal::connect(&url, options).await;
    let Err(OpenError::Connect(_, cause)) = refused else { panic!("{refused:?}") };
    let told = cause.to_string();
    assert!(told.contains("too many connections"), "{told}");
}

#[tokio::test]
async fn housekeeping_gives_back_the_connections_it_borrows() {
    let server = server().await;
    let journal = open(&limited(&server, 20)).await;
    poll(&journal).await;
    commit(&journal, vec![request(1, vec![create(1, "first")])]).await;
    for _ in 0..3 {
        assert!(journal.exclusively(async {}).await.unwrap());
        let (log, answers, tasks) = tokio::join!(
            journal.trim_log(HOUR),
            journal.forget_answers(),
            journal.forget_tasks(HOUR)
        );
        assert_eq!((log.unwrap(), answers.unwrap(), tasks.unwrap()), (0, 0, 0));
        let (one, another, ended) =
            tokio::join!(journal.log(0, 9), journal.log(0, 9), journal.expired(9));
        assert_eq!((one.unwrap().len(), another.unwrap().len()), (1, 1));
        assert!(ended.unwrap().ads.is_empty());
        snapshot(&journal).await;
    }
    // For commits, the head poll, and reading.
    until("what was borrowed to be given back", async || (taken(&server) <= 3).then_some(())).await;
}

/// Every five seconds each replica opened a connection for it.
#[tokio::test]
async fn trimming_the_stream_opens_no_connection() {
    let server = PostgresServer::start_with(&[("log_connections", "on")]).await.unwrap();
    let opened = || {
        let log = std::fs::read_to_string(server.data().with_file_name("server.log")).unwrap();
        log.lines().filter(|line| line.contains("connection authorized: user=few")).count()
    };
    let journal = open(&limited(&server, 20)).await;
    poll(&journal).await;
    let before = opened();
    assert!(before > 0);
    for _ in 0..10 {
        assert!(journal.exclusively(async {}).await.unwrap());
        assert!(journal.log(0, 9).await.unwrap().is_empty());
    }
    assert_eq!(opened(), before);
    // Its session may be silent for as long as before.
    let silence = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'";
    assert_eq!(server.sql(silence).unwrap(), "0");
}

/// A lost connection is opened again although no client writes, before anything else is done.
#[tokio::test]
async fn lost_commit_connection_is_noticed_and_taken_first() {
    let server = server().await;
    let journal = open(&limited(&server, 20)).await;
    poll(&journal).await;
    limit(&server, 0);
    server
        .sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'few'")
        .unwrap();
    let lost = async || (journal.commits() == Commits::NoLonger).then_some(());
    until("the loss to be noticed", lost).await;
    let refused = try_commit(&journal, vec![request(1, vec![create(1, "no")])], false).await;
    assert!(refused.is_err(), "{refused:?}");
    limit(&server, 1);
    until("a connection for commits", async || (journal.commits() == Commits::Able).then_some(()))
        .await;
    assert_eq!(taken(&server), 1);
    commit(&journal, vec![request(2, vec![create(2, "yes")])]).await;
    assert!(journal.poll(contract::heartbeat(1, Position::START), 0).await.is_err());
}

/// While commits have no connection, housekeeping does not take the one that is free.
#[tokio::test]
async fn housekeeping_takes_no_connection_before_commits() {
    let server = server().await;
    let url = limited(&server, 20);
    open(&url).await;
    limit(&server, 0);
    let journal = PostgresJournal::new(&url, Options::default()).unwrap();
    assert!(journal.poll(contract::heartbeat(1, Position::START), 0).await.is_err());
    let none = async || (journal.commits() == Commits::NotYet).then_some(());
    until("the lack to be noticed", none).await;
    limit(&server, 20);
    // Whether or not it has been taken by now: never before.
    let trimmed = journal.trim_log(HOUR).await;
    assert!(trimmed.is_err() || journal.commits() == Commits::Able, "{trimmed:?}");
    until("a connection for commits", async || (journal.commits() == Commits::Able).then_some(()))
        .await;
    journal.trim_log(HOUR).await.unwrap();
}
