//! An old and a new build in one cluster: the new one holds its format back until the old one is gone, and the old one
//! reads nothing that it does not understand.

use std::path::Path;
use std::process::Command;

use placard_testkit::process::{Ended, Process};
use placard_testkit::wait::until;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use sqlx::{Connection, PgConnection};
use uuid::Uuid;

use crate::cluster::{ADS, PLACARD, Replica, Servers, ad, name};
use crate::lapsing::{POOLS, RESERVATIONS, read};

/// Why today's build does not read what the next one has written.
const NEWER: &str = "needs format level 3, and this build reads 2";
/// The program of the next format level, beside the one under test.
const NEXT: &str = "next-format-level";
/// The program of the first format level.
const FIRST: &str = "first-format-level";

/// Builds the program of another format level beside the one under test, and says where it is. `cargo test` has
/// built it, unless it was asked for some tests only; then only this is left to build.
async fn other_build(example: &'static str) -> String {
    let built = tokio::task::spawn_blocking(move || build(example)).await;
    built.expect("the build does not panic")
}

fn build(example: &str) -> String {
    let directory = Path::new(PLACARD).parent().expect("a program is in a directory");
    let mut build = Command::new(env!("CARGO"));
    // Builds with the whole workspace's features, with which the tests have built the crates already.
    build.args(["build", "--quiet", "--locked", "--workspace", "--example", example]);
    // Cargo has set them for the tests, by .cargo/config.toml, and would build the C libraries again where it finds them set.
    for name in ["CFLAGS", "MAKEFLAGS", "LIBSQLITE3_FLAGS"] {
        build.env_remove(name);
    }
    if directory.ends_with("release") {
        build.arg("--release");
    }
    build.arg("--target-dir").arg(directory.parent().expect("a profile is in a target directory"));
    build.current_dir(env!("CARGO_MANIFEST_DIR"));
    assert!(build.status().expect("cargo can be started").success(), "the other build fails");
    let program = directory.join("examples").join(example);
    program.to_str().expect("the directory's name is text").to_owned()
}

/// An object with other fields.
fn with(mut object: Value, fields: Value) -> Value {
    let fields = fields.as_object().expect("an object").clone();
    object.as_object_mut().expect("an object").extend(fields);
    object
}

/// The level of each entry of the log.
async fn levels(servers: &Servers) -> Vec<i32> {
    let url = servers.postgres.url();
    let mut connection = PgConnection::connect(&url).await.expect("PostgreSQL answers");
    sqlx::query_scalar("SELECT get_byte(bytes, 0) FROM log ORDER BY version")
        .fetch_all(&mut connection)
        .await
        .expect("the log can be read")
}

/// Waits until `replica` knows of this number of replicas.
async fn knows(replica: &Replica, members: usize) {
    until("the register on the replica", async || {
        let page = replica.cluster().await;
        (page["members"].as_array().map(Vec::len) == Some(members)).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn new_build_writes_old_level_until_old_build_leaves() {
    let next = other_build(NEXT).await;
    let servers = Servers::start().await;
    let old = servers.replica(&[]).await;
    let new = servers.replica_of(&next, &[]).await;
    knows(&new, 2).await;
    new.create(ADS, "by the new build").await;
    old.create(ADS, "by the old build").await;
    for replica in [&old, &new] {
        replica.reaches(2).await;
        assert_eq!(replica.json(ADS).await["total"], 2);
    }
    assert_eq!(levels(&servers).await, [1, 1]);
    // The last old one leaves: the new level may be written.
    old.process.terminate();
    assert!(old.process.ended().await.status.success());
    knows(&new, 1).await;
    new.create(ADS, "by the new build, for new builds").await;
    assert_eq!(levels(&servers).await, [1, 1, 3]);
    servers.verify_by(&next, &new).await;
    assert_eq!(journal_level(&servers).await, 3);
    let old = servers.replica_starting(PLACARD, &servers.postgres.url(), &[]).ended().await;
    refuses(&old, NEWER);
    let url = servers.postgres.url();
    refuses(
        &Process::start(PLACARD, &["verify", "--postgres-url", &url], &[]).ended().await,
        NEWER,
    );
    // No replica of a lower level is on the register any more, so the new one goes on with its own level.
    new.create(ADS, "for new builds again").await;
    assert_eq!(levels(&servers).await, [1, 1, 3, 3]);
}

/// An old build showed such an ad to every visitor, since it skipped the conditions that it did not know.
#[tokio::test(flavor = "multi_thread")]
async fn an_old_build_refuses_a_checkpoint_of_a_newer_level() {
    let next = other_build(NEXT).await;
    let servers = Servers::start().await;
    let directory = tempfile::tempdir().expect("a directory can be made");
    let arguments = ["--data-dir", name(directory.path()), "--checkpoint-every", "1"];
    let checkpoint = directory.path().join("checkpoint");
    let begins = async |magic: &'static [u8]| {
        until("a checkpoint of this level", async || {
            let file = std::fs::read(&checkpoint).ok()?;
            file.starts_with(magic).then_some(())
        })
        .await;
    };
    // One of the first level is every build's.
    let old = servers.replica(&arguments).await;
    old.create(ADS, "for every build").await;
    begins(b"PLACARD1").await;
    old.process.terminate();
    assert!(old.process.ended().await.status.success());
    let new = servers.replica_of(&next, &arguments).await;
    new.reaches(1).await;
    new.create(ADS, "for new builds").await;
    begins(b"PLACARD3").await;
    new.process.terminate();
    assert!(new.process.ended().await.status.success());
    let away = "postgres://nobody@127.0.0.1:1/none";
    let new = servers.replica_at(&next, away, &arguments).await;
    until("the new build's ads", async || (new.json(ADS).await["total"] == 2).then_some(())).await;
    new.process.kill().await;
    // It never says where it listens, since it is never ready.
    let old = Replica::launch(PLACARD, (away, &servers.redis.url()), &arguments).await;
    until("why the old build does not read it", async || {
        old.process.err().iter().any(|line| line.contains("format level 3 is newer")).then_some(())
    })
    .await;
    assert_ne!(old.get("/readyz").await.status(), 200);
    assert_ne!(old.get(ADS).await.status(), 200);
}

/// An old build would take an ad with a pool for one that costs nothing, and shows a paused one.
#[tokio::test(flavor = "multi_thread")]
async fn pools_wait_until_every_build_knows_them() {
    let first = other_build(FIRST).await;
    let servers = Servers::start().await;
    let old = servers.replica_of(&first, &[]).await;
    let new = servers.replica(&[]).await;
    knows(&new, 2).await;
    let pool = json!({ "name": "Slots", "capacity": 5 });
    let reservation = json!({ "pool": Uuid::nil().to_string(), "amount": 1 });
    let paused = with(ad("It is paused"), json!({ "paused": true }));
    for (path, body) in [(POOLS, &pool), (RESERVATIONS, &reservation), (ADS, &paused)] {
        let answer = new.send(Method::POST, path, Some(body), None).await;
        assert!(answer.headers().contains_key("retry-after"), "{path}");
        let (status, problem) = read(answer).await;
        assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE, "{problem}");
        assert_eq!(problem["type"], "/problems/not-yet", "{path}");
    }
    // Nothing else changes, and nothing is lost.
    new.create(ADS, "by the new build").await;
    old.create(ADS, "by the old build").await;
    for replica in [&old, &new] {
        replica.reaches(2).await;
        assert_eq!(replica.json(ADS).await["total"], 2);
    }
    assert_eq!((levels(&servers).await, journal_level(&servers).await), (vec![1, 1], 1));
    old.process.terminate();
    assert!(old.process.ended().await.status.success());
    knows(&new, 1).await;
    new.create(ADS, "for builds of any level").await;
    let (status, made) = read(new.send(Method::POST, POOLS, Some(&pool), None).await).await;
    assert_eq!(status, StatusCode::CREATED, "{made}");
    let (status, made) = read(new.send(Method::POST, ADS, Some(&paused), None).await).await;
    assert_eq!(status, StatusCode::CREATED, "{made}");
    new.create(ADS, "for builds of any level, too").await;
    assert_eq!(levels(&servers).await, [1, 1, 1, 2, 2, 1]);
    assert_eq!(journal_level(&servers).await, 2);
    let old = servers.replica_starting(&first, &servers.postgres.url(), &[]).ended().await;
    refuses(&old, "needs format level 2, and this build reads 1");
    assert_eq!(new.json(ADS).await["total"], 4);
    servers.verify(&new).await;
}

/// The level that the journal says it needs.
async fn journal_level(servers: &Servers) -> i16 {
    let url = servers.postgres.url();
    let mut connection = PgConnection::connect(&url).await.expect("PostgreSQL answers");
    let level = sqlx::query_scalar("SELECT level FROM journal").fetch_one(&mut connection).await;
    level.expect("a journal has a level")
}

fn refuses(ended: &Ended, why: &str) {
    assert_eq!(ended.status.code(), Some(1), "{:?}", ended.err);
    let says = |line: &&String| line.contains(why);
    assert_eq!(ended.err.iter().filter(says).count(), 1, "{:?}", ended.err);
}
