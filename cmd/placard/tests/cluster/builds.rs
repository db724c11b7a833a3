//! An old and a new build in one cluster: the new one holds its format back until the old one is gone.

use std::path::Path;
use std::process::Command;

use placard_testkit::wait::until;
use sqlx::{Connection, PgConnection};

use crate::cluster::{ADS, PLACARD, Replica, Servers};

/// Builds the program with the next format level beside the one under test, and says where it is.
fn next_build() -> String {
    let directory = Path::new(PLACARD).parent().expect("a program is in a directory");
    let mut build = Command::new(env!("CARGO"));
    // Of the whole workspace: its crates are built with the features that the tests have built them with already.
    build.args(["build", "--quiet", "--locked", "--workspace", "--example", "next-format-level"]);
    build.args(["--features", "placard/next-format-level"]);
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

/// Waits until `replica` knows of so many replicas.
async fn knows(replica: &Replica, members: usize) {
    until("the register on the replica", async || {
        let page = replica.cluster().await;
        (page["members"].as_array().map(Vec::len) == Some(members)).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_build_writes_what_an_old_one_reads_until_that_one_has_left() {
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
    assert_eq!(levels(&servers).await, [1, 1, 2]);
    servers.verify_by(&next, &new).await;
    // A roll-back: the old build starts from the journal's ads, and the new one holds back again.
    let old = servers.replica(&[]).await;
    old.reaches(3).await;
    knows(&new, 2).await;
    new.create(ADS, "for both again").await;
    old.reaches(4).await;
    assert_eq!(old.json(ADS).await["total"], 4);
    assert_eq!(levels(&servers).await, [1, 1, 2, 1]);
    servers.verify_by(&next, &old).await;
}
