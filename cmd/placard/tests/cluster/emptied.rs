//! An empty journal in place of one that was not empty: a database that was lost and created again, or another one in
//! its place.

use std::path::Path;

use placard_testkit::process::Ended;
use placard_testkit::wait::until;
use reqwest::{Method, StatusCode};
use serde_json::Value;

use crate::cluster::{ADS, PLACARD, Replica, Servers, ad, name};

const DATABASE: &str = "adverts";

fn database(servers: &Servers) -> String {
    servers.postgres.url().replace("/postgres?", &format!("/{DATABASE}?"))
}

/// Makes the database, again if it is there.
fn make(servers: &Servers) {
    for sql in [
        format!("DROP DATABASE IF EXISTS {DATABASE} WITH (FORCE)"),
        format!("CREATE DATABASE {DATABASE}"),
    ] {
        servers.postgres.sql(&sql).expect("PostgreSQL does it");
    }
}

async fn start(servers: &Servers, arguments: &[&str]) -> Replica {
    servers.replica_at(PLACARD, &database(servers), arguments).await
}

/// A start that fails, with one line that says why and what to do.
async fn refused(servers: &Servers, arguments: &[&str], why: &str) {
    let started = servers.replica_starting(PLACARD, &database(servers), arguments);
    let Ended { status, err, .. } = started.ended().await;
    let errors: Vec<_> = err.iter().filter(|line| line.starts_with("error:")).collect();
    assert_eq!((status.code(), errors.len()), (Some(1), 1), "{err:#?}");
    for says in [why, "is empty", "--new-journal"] {
        assert!(errors[0].contains(says), "{says}: {}", errors[0]);
    }
}

/// Kills a replica once its checkpoint and Redis know of an entry.
async fn known(servers: &Servers, replica: Replica, directory: &Path) {
    replica.create(ADS, "Known").await;
    until("a checkpoint", async || directory.join("checkpoint").exists().then_some(())).await;
    let redis = redis_keys(servers);
    until("Redis to be told", async || redis().await.contains("{placard}:journal:").then_some(()))
        .await;
    replica.process.kill().await;
}

async fn total(replica: &Replica) -> Value {
    replica.json(ADS).await["total"].clone()
}

/// It restored from the empty journal, and answered that there are no ads.
#[tokio::test(flavor = "multi_thread")]
async fn running_replica_keeps_ads_when_journal_is_emptied() {
    let servers = Servers::start().await;
    make(&servers);
    let replica = start(&servers, &[]).await;
    replica.create(ADS, "Kept here").await;
    make(&servers);
    let noticed = async || {
        until("the emptied journal to be noticed", async || {
            (replica.json("/readyz").await["status"] == "empty journal").then_some(())
        })
        .await;
    };
    // It was called stale until it had tables.
    noticed().await;
    // The tables are there, as when another replica was the first.
    let migrate = ["migrate", "--postgres-url", &database(&servers)];
    let migrated = placard_testkit::process::Process::start(PLACARD, &migrate, &[]).ended().await;
    assert!(migrated.status.success(), "{migrated:#?}");
    noticed().await;
    assert_eq!(total(&replica).await, 1);
    let refusal = replica.send(Method::POST, ADS, Some(&ad("Not written")), None).await;
    assert_eq!(refusal.status(), 503);
    assert!(
        replica
            .process
            .err()
            .iter()
            .any(|line| line.contains("ERROR") && line.contains("--new-journal"))
    );
    // One that knows nothing by itself asks the register.
    refused(&servers, &[], "the replica ").await;
    let new = start(&servers, &["--new-journal"]).await;
    assert_eq!(total(&new).await, 0);
    assert_eq!(total(&replica).await, 1);
    new.create(ADS, "Of a new journal").await;
    until("the new journal to be followed", async || {
        let ads = replica.json(ADS).await;
        (ads["ads"][0]["title"] == "Of a new journal").then_some(())
    })
    .await;
    assert_eq!(total(&replica).await, 1);
}

/// The checkpoint is enough, and so is Redis; after `--new-journal` neither refuses again.
#[tokio::test(flavor = "multi_thread")]
async fn a_start_on_an_emptied_journal_is_refused_once() {
    let servers = Servers::start().await;
    let directory = tempfile::tempdir().expect("a directory can be made");
    let checkpoint = ["--data-dir", name(directory.path()), "--checkpoint-every", "1"];
    make(&servers);
    known(&servers, start(&servers, &checkpoint).await, directory.path()).await;
    make(&servers);
    refused(&servers, &checkpoint, "the checkpoint").await;
    refused(&servers, &[], "Redis").await;
    for arguments in [[&checkpoint[..], &["--new-journal"]].concat(), checkpoint.to_vec(), vec![]] {
        let replica = start(&servers, &arguments).await;
        assert_eq!(total(&replica).await, 0);
        replica.process.kill().await;
    }
    assert!(directory.path().join("checkpoint.old").exists(), "it may be all that is left");
}

/// A second start would have found a journal in tables that the first one had created.
#[tokio::test(flavor = "multi_thread")]
async fn a_refused_start_makes_no_tables() {
    let servers = Servers::start().await;
    let directory = tempfile::tempdir().expect("a directory can be made");
    let checkpoint = ["--data-dir", name(directory.path()), "--checkpoint-every", "1"];
    known(&servers, servers.replica(&checkpoint).await, directory.path()).await;
    sql(&servers, "DROP SCHEMA public CASCADE; CREATE SCHEMA public");
    for (arguments, known) in [(&checkpoint[..], "the checkpoint"), (&[], "Redis")] {
        let started = servers.replica_starting(PLACARD, &servers.postgres.url(), arguments);
        let Ended { status, err, .. } = started.ended().await;
        assert_eq!(status.code(), Some(1), "{err:#?}");
        let says = |line: &String| line.starts_with("error:") && line.contains(known);
        assert!(err.iter().any(says), "{known}: {err:#?}");
        let tables = "SELECT count(*) FROM pg_tables WHERE schemaname = 'public'";
        assert_eq!(sql(&servers, tables), "0", "{known}");
    }
    let new = servers.replica(&["--new-journal"]).await;
    new.create(ADS, "Of a new journal").await;
}

/// They lack the table that says which journal it is, and were taken for none.
#[tokio::test(flavor = "multi_thread")]
async fn older_tables_are_migrated_not_taken_for_empty() {
    let servers = Servers::start().await;
    let directory = tempfile::tempdir().expect("a directory can be made");
    let checkpoint = ["--data-dir", name(directory.path()), "--checkpoint-every", "1"];
    known(&servers, servers.replica(&checkpoint).await, directory.path()).await;
    sql(
        &servers,
        "DROP TABLE journal, departures;
         ALTER TABLE replicas DROP COLUMN marks_leaving;
         DELETE FROM _sqlx_migrations WHERE version >= 3",
    );
    let upgraded = servers.replica(&checkpoint).await;
    assert_eq!(total(&upgraded).await, 1);
    upgraded.create(ADS, "Written after the upgrade").await;
}

/// Redis remembered the first for the place of both.
#[tokio::test(flavor = "multi_thread")]
async fn clusters_in_two_schemas_of_a_database_begin() {
    let servers = Servers::start().await;
    let first = servers.replica(&[]).await;
    first.create(ADS, "Of the first").await;
    let redis = redis_keys(&servers);
    let journals = async || redis().await.matches("{placard}:journal:").count();
    until("Redis to be told", async || (journals().await == 1).then_some(())).await;
    sql(&servers, "CREATE SCHEMA other");
    let second = servers.replica_at(PLACARD, &in_schema(&servers, "other"), &[]).await;
    assert_eq!(total(&second).await, 0);
    second.create(ADS, "Of the second").await;
    until("Redis to be told of both", async || (journals().await == 2).then_some(())).await;
    assert_eq!((total(&first).await, total(&second).await), (1.into(), 1.into()));
}

/// Tables that were dropped and made again, in one moment; no replica can ask for the head, and each can commit. They
/// wrote the first version of a new journal then, and all the others followed.
#[tokio::test(flavor = "multi_thread")]
async fn tables_made_again_take_nothing_before_a_head_poll() {
    let servers = Servers::start().await;
    let replicas = servers.replicas::<2>().await;
    replicas[0].create(ADS, "Kept here").await;
    for replica in &replicas {
        replica.reaches(1).await;
    }
    sql(&servers, "CREATE SCHEMA fresh");
    let migrate = ["migrate", "--postgres-url", &in_schema(&servers, "fresh")];
    let migrated = placard_testkit::process::Process::start(PLACARD, &migrate, &[]).ended().await;
    assert!(migrated.status.success(), "{migrated:#?}");
    sql(
        &servers,
        "CREATE FUNCTION fresh.refuse() RETURNS trigger LANGUAGE plpgsql
             AS 'BEGIN RAISE EXCEPTION ''no head poll''; END';
         CREATE TRIGGER refuse BEFORE INSERT ON fresh.replicas EXECUTE FUNCTION fresh.refuse()",
    );
    // Head polls and this may wait for each other; then PostgreSQL ends one of them.
    let swap = "BEGIN; DROP SCHEMA public CASCADE; ALTER SCHEMA fresh RENAME TO public; COMMIT";
    until("the tables to be others", async || servers.postgres.sql(swap).ok()).await;
    let write = async |replica: &Replica| {
        replica.send(Method::POST, ADS, Some(&ad("Not written")), None).await.status()
    };
    let [first, second] = &replicas;
    let (one, other) = tokio::join!(write(first), write(second));
    // The last try may have been under way when the time was up.
    for status in [one, other] {
        assert!(status.is_server_error(), "{status}");
    }
    assert_eq!(sql(&servers, "SELECT version FROM head"), "0");
    sql(&servers, "DROP TRIGGER refuse ON replicas");
    for replica in &replicas {
        until("the emptied journal to be noticed", async || {
            (replica.json("/readyz").await["status"] == "empty journal").then_some(())
        })
        .await;
        assert_eq!(total(replica).await, 1);
    }
    assert_eq!(write(first).await, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(sql(&servers, "SELECT version FROM head"), "0");
}

/// Returns what `psql` prints.
fn sql(servers: &Servers, sql: &str) -> String {
    servers.postgres.sql(sql).expect("PostgreSQL does it")
}

/// A URL whose connections look for tables in one schema.
fn in_schema(servers: &Servers, schema: &str) -> String {
    format!("{}&options=-csearch_path%3D{schema}", servers.postgres.url())
}

/// The names of all keys.
fn redis_keys(servers: &Servers) -> impl AsyncFn() -> String {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let port = servers.redis.port();
    async move || {
        let redis = tokio::net::TcpStream::connect(("127.0.0.1", port)).await;
        let mut redis = redis.expect("Redis takes connections");
        redis.write_all(b"KEYS *\r\n").await.expect("Redis listens");
        redis.shutdown().await.expect("Redis listens");
        let mut keys = String::new();
        redis.read_to_string(&mut keys).await.expect("Redis answers");
        keys
    }
}
