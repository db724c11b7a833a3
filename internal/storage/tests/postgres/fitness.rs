//! Which servers may hold a journal, and how its tables come to be.

use placard_model::entry::Position;
use placard_replica::ports::{Audit, Journal};
use placard_storage::postgres::{OpenError, Options, PostgresJournal, Unfit, migrate};
use placard_testkit::contract;
use placard_testkit::requests::{create, request};
use placard_testkit::servers::postgres::PostgresServer;

use crate::{commit, is_whole, open, server};

async fn unfit(url: &str, accept_unsafe_durability: bool) -> Option<Unfit> {
    let options = Options { accept_unsafe_durability, ..Options::default() };
    match PostgresJournal::connect(url, options).await {
        Ok(_) => None,
        Err(OpenError::Unfit(_, unfit)) => Some(unfit),
        Err(other) => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn non_durable_server_is_refused_unless_accepted() {
    let mut server = server().await;
    for (name, expected) in [("fsync", Unfit::Fsync), ("full_page_writes", Unfit::FullPageWrites)] {
        server.restart_with(&[(name, "off")]).await.unwrap();
        let message = expected.to_string();
        assert!(message.starts_with(&format!("{name} = off: ")) && !message.contains('\n'));
        assert_eq!(unfit(&server.url(), false).await, Some(expected));
        assert_eq!(unfit(&server.url(), true).await, None);
        server.restart_with(&[(name, "on")]).await.unwrap();
    }
    server.restart_with(&[("default_transaction_read_only", "on")]).await.unwrap();
    assert_eq!(unfit(&server.url(), true).await, Some(Unfit::ReadOnly));
    server.restart_with(&[("default_transaction_read_only", "off")]).await.unwrap();
    assert_eq!(unfit(&server.url(), false).await, None);
}

#[tokio::test]
async fn a_standby_is_refused() {
    let mut server = server().await;
    migrate(&server.url()).await.unwrap();
    server.stop().await.unwrap();
    std::fs::write(server.data().join("standby.signal"), "").unwrap();
    server.restart().await.unwrap();
    assert_eq!(unfit(&server.url(), true).await, Some(Unfit::Standby));
}

#[tokio::test]
async fn a_database_of_another_encoding_is_refused() {
    let server = server().await;
    server.sql("CREATE DATABASE old ENCODING 'LATIN1' TEMPLATE template0").unwrap();
    let url = server.url().replace("/postgres?", "/old?");
    assert_eq!(unfit(&url, true).await, Some(Unfit::Encoding("LATIN1".to_owned())));
}

/// Without a wait for the disk, what was acknowledged in the last seconds would be gone after the kill.
#[tokio::test]
async fn commits_wait_for_disk_despite_server_settings() {
    let settings = [("synchronous_commit", "off"), ("wal_writer_delay", "10s")];
    let mut server = PostgresServer::start_with(&settings).await.unwrap();
    let journal = open(&server.url()).await;
    for id in 1..=20 {
        commit(&journal, vec![request(id, vec![create(id, "on the disk")])]).await;
    }
    server.kill().await;
    server.restart().await.unwrap();
    assert_eq!(is_whole(&open(&server.url()).await).await.version, 20);
}

/// After a crash the others must find the last row of a replica that refuses reads: by an older row it would count as
/// silent while it answers.
#[tokio::test]
async fn refusing_replicas_row_survives_a_crash() {
    let settings = [("synchronous_commit", "off"), ("wal_writer_delay", "10s")];
    let mut server = PostgresServer::start_with(&settings).await.unwrap();
    let journal = open(&server.url()).await;
    assert!(contract::heartbeat(1, Position::START).identity.refuses_after.is_some());
    for _ in 0..5 {
        let seen = journal.poll(contract::heartbeat(1, Position::START), 0).await.unwrap();
        server.kill().await;
        server.restart().await.unwrap();
        let found =
            open(&server.url()).await.poll(contract::heartbeat(2, Position::START), 0).await;
        assert_eq!(found.unwrap().members[0].lease_until, seen.members[0].lease_until);
    }
}

/// Does what `pg_restore --clean` does with a dump from before the last migration: what that migration has made stays,
/// unless it is a part of what the dump replaces.
async fn restore_older(server: &PostgresServer) {
    server
        .sql(
            "ALTER TABLE replicas DROP COLUMN marks_leaving;
             DELETE FROM _sqlx_migrations WHERE version >= 3",
        )
        .unwrap();
}

#[tokio::test]
async fn tables_of_an_older_build_are_refused_by_name() {
    let server = server().await;
    migrate(&server.url()).await.unwrap();
    let without = Options { run_migrations: false, ..Options::default() };
    PostgresJournal::connect(&server.url(), without).await.unwrap();
    restore_older(&server).await;
    let older = PostgresJournal::connect(&server.url(), without).await.unwrap_err();
    assert!(matches!(older, OpenError::Older(_)), "{older:?}");
    assert!(older.to_string().contains("placard migrate"), "{older}");
    // A program that only reads the journal can open it.
    let reads = Options { accept_older_tables: true, ..without };
    let journal = PostgresJournal::connect(&server.url(), reads).await.unwrap();
    assert_eq!(journal.audit().await.unwrap().head(), Position::START);
}

#[tokio::test]
async fn older_dump_is_migrated_where_it_is_restored() {
    let server = server().await;
    let journal = open(&server.url()).await;
    restore_older(&server).await;
    assert!(journal.poll(contract::heartbeat(1, Position::START), 0).await.is_err());
    migrate(&server.url()).await.unwrap();
    // A replica that polls meanwhile goes on.
    journal.poll(contract::heartbeat(1, Position::START), 0).await.unwrap();
    let opened = open(&server.url()).await;
    opened.poll(contract::heartbeat(2, Position::START), 0).await.unwrap();
}

#[tokio::test]
async fn migrations_run_twice_at_once_and_beside_newer_ones() {
    let server = server().await;
    let without = Options { run_migrations: false, ..Options::default() };
    let missing = PostgresJournal::connect(&server.url(), without).await;
    assert!(matches!(missing, Err(OpenError::Missing(_))), "{missing:?}");
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..4 {
        let url = server.url();
        tasks.spawn(async move { migrate(&url).await });
    }
    tasks.join_all().await.into_iter().for_each(|migrated| drop(migrated.unwrap()));
    migrate(&server.url()).await.unwrap();
    let newer =
        "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time)
                 VALUES (9999, 'of a newer build', true, '', 0)";
    server.sql(newer).unwrap();
    migrate(&server.url()).await.unwrap();
    let journal = PostgresJournal::connect(&server.url(), without).await.unwrap();
    commit(&journal, vec![request(1, vec![create(1, "first")])]).await;
    is_whole(&journal).await;
}

/// Options that PostgreSQL does not list among its settings, or lists for every client, were called dropped by a pooler.
#[tokio::test]
async fn options_of_every_kind_reach_the_server() {
    let server = server().await;
    server.sql("CREATE ROLE owner; GRANT ALL ON SCHEMA public TO owner").unwrap();
    for options in [
        "options[role]=owner",
        "options[my.own]=1",
        "options[TimeZone]=UTC",
        "options=-c%20DateStyle=ISO",
        "options=--my.own=1",
        "options=%20",
    ] {
        open(&format!("{}&{options}", server.url())).await;
    }
    assert_eq!(
        server.sql("SELECT tableowner FROM pg_tables WHERE tablename = 'head'").unwrap(),
        "owner"
    );
}

#[tokio::test]
async fn password_is_never_shown() {
    let url = "postgres://somebody:pass1234@127.0.0.1:1/journal";
    let refused = PostgresJournal::connect(url, Options::default()).await.unwrap_err();
    assert_eq!(refused.to_string(), "cannot connect to PostgreSQL at 127.0.0.1:1/journal");
    let journal = PostgresJournal::new(url, Options::default()).unwrap();
    let wrong = PostgresJournal::new("postgres://a:pass1234@[", Options::default()).unwrap_err();
    let told = format!("{refused:?} {journal:?} {wrong:?} {wrong}");
    assert!(!told.contains("pass1234"), "{told}");
}
