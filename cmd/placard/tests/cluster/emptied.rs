//! A journal that is empty where there was one that was not: a database that was lost and made again, or another in its place.

use placard_testkit::process::Ended;
use placard_testkit::wait::until;
use reqwest::Method;
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

async fn total(replica: &Replica) -> Value {
    replica.json(ADS).await["total"].clone()
}

/// It restored from the empty journal, and answered that there are no ads.
#[tokio::test(flavor = "multi_thread")]
async fn a_running_replica_keeps_what_it_has_when_its_journal_is_emptied() {
    let servers = Servers::start().await;
    make(&servers);
    let replica = start(&servers, &[]).await;
    replica.create(ADS, "Kept here").await;
    make(&servers);
    // The tables are there, as when another replica was the first.
    let migrate = ["migrate", "--postgres-url", &database(&servers)];
    let migrated = placard_testkit::process::Process::start(PLACARD, &migrate, &[]).ended().await;
    assert!(migrated.status.success(), "{migrated:#?}");
    until("the emptied journal to be noticed", async || {
        (replica.json("/readyz").await["status"] == "empty journal").then_some(())
    })
    .await;
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
    let replica = start(&servers, &checkpoint).await;
    replica.create(ADS, "Known").await;
    until("a checkpoint", async || directory.path().join("checkpoint").exists().then_some(()))
        .await;
    let redis = redis_keys(&servers);
    until("Redis to be told", async || redis().await.contains("{placard}:journal:").then_some(()))
        .await;
    replica.process.kill().await;
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
