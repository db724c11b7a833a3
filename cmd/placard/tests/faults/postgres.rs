//! PostgreSQL is killed, held, cut off at COMMIT, and restored to an older state.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use placard_testkit::proxy::{Proxy, Then};
use placard_testkit::wait::until;
use reqwest::{Client, StatusCode};
use serde_json::json;

use crate::history::History;
use crate::world::World;

#[tokio::test(flavor = "multi_thread")]
async fn postgresql_is_killed_and_held() {
    let mut world = World::start("postgresql_is_killed_and_held").await;
    world.load.reads_must_succeed(true);
    for _ in 0..2 {
        world.postgres.kill().await;
        world.load.go_on_for(Duration::from_millis(1_500)).await;
        world.postgres.restart().await.expect("PostgreSQL starts");
        world.recovers("PostgreSQL killed and away for 1.5 s").await;
        world.postgres.pause();
        world.load.go_on_for(Duration::from_secs(3)).await;
        world.postgres.resume();
        world.recovers("PostgreSQL held for 3 s").await;
    }
    world.check().await;
}

/// The answer to the statement that commits is lost, and the statement itself.
#[tokio::test(flavor = "multi_thread")]
async fn the_connection_is_cut_at_the_commit() {
    let mut world = World::prepared("the_connection_is_cut_at_the_commit", &[]).await;
    let proxy = Proxy::start(world.postgres.port()).await.expect("a proxy starts");
    world.postgres_url = world.postgres.url_through(proxy.port());
    world.begin().await;
    world.load.reads_must_succeed(true);
    for round in 0..24 {
        let then = if round % 2 == 0 { Then::LoseAnswer } else { Then::LoseRequest };
        // Every ad's content: the statement that writes is the only one with it.
        proxy.trap(b"for a while", then);
        tokio::time::timeout(Duration::from_secs(20), proxy.sprung())
            .await
            .expect("a commit is cut");
        world.recovers("connection cut at COMMIT").await;
    }
    world.check().await;
}

fn copy(from: &Path, to: &Path) {
    let copied = Command::new("cp").arg("-a").arg(from).arg(to).status();
    assert!(copied.expect("cp can be started").success());
}

/// What was acknowledged since the backup is gone with it. What matters: every replica notices, also if the
/// restored journal has passed its old head, and all of them agree with it.
#[tokio::test(flavor = "multi_thread")]
async fn the_journal_is_restored_to_an_older_state_and_written_past_its_old_head() {
    const TEST: &str = "the_journal_is_restored_to_an_older_state_and_written_past_its_old_head";
    let mut world = World::start(TEST).await;
    world.load.end().await;
    world.postgres.stop().await.expect("PostgreSQL stops");
    let data = world.postgres.data();
    let backup = data.with_extension("backup");
    copy(&data, &backup);
    world.postgres.restart().await.expect("PostgreSQL starts");
    let client = Client::builder().no_proxy().build().expect("a client can be made");
    let write = async |world: &World, nth: usize, title: &str| {
        let body = json!({
            "title": title, "content": "content",
            "start_at": "2020-01-01T00:00:00Z", "end_at": "2099-01-01T00:00:00Z",
        });
        let url = format!("{}/api/v1/ad", world.places[nth % 3].url());
        until("a write that goes through", async || {
            let answer = client.post(&url).json(&body).send().await.ok()?;
            (answer.status() == StatusCode::CREATED).then_some(())
        })
        .await;
    };
    for nth in 0..5 {
        write(&world, nth, "lost with the newer state").await;
    }
    world.postgres.stop().await.expect("PostgreSQL stops");
    std::fs::remove_dir_all(&data).expect("the newer state can be removed");
    std::fs::rename(&backup, &data).expect("the older state can be put in its place");
    world.postgres.restart().await.expect("PostgreSQL starts");
    let ended = Instant::now();
    // Past the old head, by a replica that knows nothing of it, before the others look.
    world.kill(0).await;
    world.redis_runs(&["FLUSHALL"]).await;
    world.launch(0);
    for _ in 0..9 {
        write(&world, 0, "of the new history").await;
    }
    let fault = "journal restored to an older state and written past its old head";
    world.recovers_since(ended, fault).await;
    let history = History::read(&world.postgres.url()).await;
    world.agree(&history).await;
}

/// It says no to one ad (here by a constraint that somebody has added) while others are in the same transactions.
#[tokio::test(flavor = "multi_thread")]
async fn a_write_that_postgresql_refuses_costs_no_other() {
    let mut world = World::start("a_write_that_postgresql_refuses_costs_no_other").await;
    let refuse = "ALTER TABLE ads ADD CONSTRAINT refused CHECK (title <> 'not wanted here')";
    world.postgres.sql(refuse).expect("the constraint can be added");
    world.load.reads_must_succeed(true);
    let client = Client::builder().no_proxy().build().expect("a client can be made");
    for nth in [0, 1, 2, 0, 1, 2] {
        let body = json!({
            "title": "not wanted here", "content": "content",
            "start_at": "2020-01-01T00:00:00Z", "end_at": "2099-01-01T00:00:00Z",
        });
        let url = format!("{}/api/v1/ad", world.places[nth].url());
        let answer = client.post(&url).json(&body).send().await.expect("the replica answers");
        assert_eq!(answer.status(), StatusCode::INTERNAL_SERVER_ERROR);
        world.recovers("a write that PostgreSQL refuses").await;
    }
    world.check().await;
}
