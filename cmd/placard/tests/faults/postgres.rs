//! PostgreSQL is killed, held, cut off at COMMIT, and refuses a write.

use std::time::{Duration, Instant};

use placard_testkit::proxy::{Proxy, Then};
use placard_testkit::wait::{PATIENCE, until};
use reqwest::StatusCode;
use tokio::time::timeout;

use crate::load::CONTENT;
use crate::world::World;

/// Longer than a write waits for its turn: then its client gets an error.
const HELD: Duration = Duration::from_secs(7);
const COMMITS: &str = "placard_commits_total";
/// Counts batches whose outcome is unknown.
const UNKNOWN: &[&str] = &["placard_commits_unknown_total"];
/// One of these counters moves when a connection is lost on which something was to be committed.
const CUT: &[&str] = &["placard_commits_unknown_total", "placard_commits_failed_total"];

#[tokio::test(flavor = "multi_thread")]
async fn postgresql_is_killed_and_held() {
    let mut world = World::prepared("postgresql_is_killed_and_held", &[]).await;
    // Enough that some wait behind those whose transaction is under way.
    world.begin_with(24, None).await;
    world.load.reads_must_succeed(true);
    for _ in 0..2 {
        let bite = world.unbitten(CUT).await;
        world.load.server_is_away(true);
        world.postgres.kill().await;
        world.load.go_on_for(Duration::from_millis(1_500)).await;
        world.bitten(&bite).await;
        world.load.server_is_away(false);
        world.postgres.restart().await.expect("PostgreSQL starts");
        world.recovers("PostgreSQL killed and away for 1.5 s").await;
        let bite = world.unbitten(&["placard_lease_ends_total"]).await;
        let reported = world.load.reported();
        world.load.server_is_away(true);
        world.postgres.pause();
        // By now a transaction is under way on each replica. Writes that come after that are not tried.
        world.load.go_on_for(Duration::from_millis(500)).await;
        for nth in [0, 0, 1, 1, 2, 2] {
            world.load.write_on(nth);
        }
        world.load.go_on_for(HELD).await;
        world.bitten(&bite).await;
        until("a write to be reported failed", async || {
            if world.load.reported() == reported {
                // The writes until now may all be in a transaction of unknown outcome.
                world.load.write_on(0);
                world.load.go_on_for(Duration::from_secs(1)).await;
                return None;
            }
            Some(())
        })
        .await;
        world.load.server_is_away(false);
        world.postgres.resume();
        world.recovers("PostgreSQL held for 7 s").await;
    }
    until("a write that was reported failed to be written", async || {
        (world.load.failed() > 0).then_some(())
    })
    .await;
    world.check().await;
}

/// The message that commits is lost, or its answer. While all replicas write, that message is a separate COMMIT; while
/// one writes, it is the statement that writes.
#[tokio::test(flavor = "multi_thread")]
async fn the_connection_is_cut_at_the_commit() {
    let mut world = World::prepared("the_connection_is_cut_at_the_commit", &[]).await;
    let proxy = Proxy::start(world.postgres.port()).await.expect("a proxy starts");
    world.postgres_url = world.postgres.url_through(proxy.port());
    world.begin().await;
    world.load.reads_must_succeed(true);
    let ways: [(&[usize], &[u8]); 2] = [(&[0, 1, 2], b"COMMIT\0"), (&[0], CONTENT.as_bytes())];
    for (writing, commit) in ways {
        world.load.ask(writing);
        for round in 0..12 {
            // A replica that has just met another's write locks the head first for 32 batches.
            let before = world.counted(COMMITS).await;
            until("commits without a lock", async || {
                (world.counted(COMMITS).await > before + 40.0).then_some(())
            })
            .await;
            let then = if round % 2 == 0 { Then::LoseAnswer } else { Then::LoseRequest };
            let bite = world.unbitten(UNKNOWN).await;
            // Workers of expiry occasionally commit too, over connections of their own: those commits are not a
            // write's.
            let mut cut = Instant::now();
            until("a write's commit to be cut", async || {
                cut = Instant::now();
                proxy.trap(commit, then);
                timeout(PATIENCE, proxy.sprung()).await.ok()?;
                timeout(Duration::from_secs(1), world.bitten(&bite)).await.ok()
            })
            .await;
            world.recovers_since(cut, "connection cut at COMMIT").await;
        }
    }
    world.check().await;
}

/// PostgreSQL refuses one ad (here by a constraint that an operator has added) while others are in the same
/// transactions.
#[tokio::test(flavor = "multi_thread")]
async fn a_write_that_postgresql_refuses_costs_no_other() {
    let mut world = World::start("a_write_that_postgresql_refuses_costs_no_other").await;
    let refuse = "ALTER TABLE ads ADD CONSTRAINT refused CHECK (title <> 'not wanted here')";
    world.postgres.sql(refuse).expect("the constraint can be added");
    world.load.reads_must_succeed(true);
    for nth in [0, 1, 2, 0, 1, 2] {
        let bite = world.unbitten(&["placard_commits_refused_total"]).await;
        let answer = world.client(nth).post("not wanted here").await;
        assert_eq!(answer.status(), StatusCode::INTERNAL_SERVER_ERROR);
        world.recovers_once(bite, "a write that PostgreSQL refuses").await;
    }
    world.check().await;
}
