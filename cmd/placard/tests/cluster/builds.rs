//! An old and a new build in one cluster: the new one holds its format back until the old one is gone, and the old one
//! reads nothing that it does not understand.

use std::path::Path;
use std::process::Command;

use placard_testkit::process::{Ended, Process};
use placard_testkit::wait::until;
use sqlx::{Connection, PgConnection};

use crate::cluster::{ADS, PLACARD, Replica, Servers, name};

/// Builds the program with the next format level beside the one under test, and says where it is. `cargo test` has
/// built it, unless it was asked for some tests only; then only this is left to build.
fn next_build() -> String {
    let directory = Path::new(PLACARD).parent().expect("a program is in a directory");
    let mut build = Command::new(env!("CARGO"));
    // Builds with the whole workspace's features, with which the tests have built the crates already.
    build.args(["build", "--quiet", "--locked", "--workspace", "--example", "next-format-level"]);
    // Cargo has set them for the tests, by .cargo/config.toml, and would build the C libraries again where it finds them set.
    for name in ["CFLAGS", "MAKEFLAGS", "LIBSQLITE3_FLAGS"] {
        build.env_remove(name);
    }
    if directory.ends_with("release") {
        build.arg("--release");
    }
    build.arg("--target-dir").arg(directory.parent().expect("a profile is in a target directory"));
    build.current_dir(env!("CARGO_MANIFEST_DIR"));
    assert!(build.status().expect("cargo can be started").success(), "the next build fails");
    let program = directory.join("examples/next-format-level");
    program.to_str().expect("the directory's name is text").to_owned()
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
    let next = tokio::task::spawn_blocking(next_build).await.expect("the build does not panic");
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
    refuses(&old);
    let url = servers.postgres.url();
    refuses(&Process::start(PLACARD, &["verify", "--postgres-url", &url], &[]).ended().await);
    // No replica of a lower level is on the register any more, so the new one goes on with its own level.
    new.create(ADS, "for new builds again").await;
    assert_eq!(levels(&servers).await, [1, 1, 3, 3]);
}

/// An old build showed such an ad to every visitor, since it skipped the conditions that it did not know.
#[tokio::test(flavor = "multi_thread")]
async fn an_old_build_refuses_a_checkpoint_of_a_newer_level() {
    let next = tokio::task::spawn_blocking(next_build).await.expect("the build does not panic");
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

/// The level that the journal says it needs.
async fn journal_level(servers: &Servers) -> i16 {
    let url = servers.postgres.url();
    let mut connection = PgConnection::connect(&url).await.expect("PostgreSQL answers");
    let level = sqlx::query_scalar("SELECT level FROM journal").fetch_one(&mut connection).await;
    level.expect("a journal has a level")
}

fn refuses(ended: &Ended) {
    assert_eq!(ended.status.code(), Some(1), "{:?}", ended.err);
    let says = |line: &&String| line.contains("needs format level 3, and this build reads 2");
    assert_eq!(ended.err.iter().filter(says).count(), 1, "{:?}", ended.err);
}
