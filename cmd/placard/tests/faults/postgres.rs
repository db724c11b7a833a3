//! PostgreSQL is killed, held, cut off at COMMIT, and restored to an older state.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use placard_testkit::process::Process;
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
        world.load.goes_on().await;
        world.postgres.pause();
        world.load.go_on_for(Duration::from_secs(3)).await;
        world.postgres.resume();
        world.load.goes_on().await;
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
        world.load.goes_on().await;
    }
    world.took(&["placard_commits_unknown_total"]).await;
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
    let mut world = World::start("the_journal_is_restored_to_an_older_state").await;
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
    // Past the old head, by a replica that knows nothing of it, before the others look.
    world.kill(0).await;
    world.redis_runs(&["FLUSHALL"]).await;
    world.launch(0);
    for _ in 0..9 {
        write(&world, 0, "of the new history").await;
    }
    let history = History::read(&world.postgres.url()).await;
    for nth in 0..3 {
        until("the new history on every replica", async || {
            let page = world.json(nth, "/api/v1/cluster").await?;
            let equal = |member: &serde_json::Value| {
                member["lease_ms"].as_i64() < Some(0) || member["published"] == page["head"]
            };
            let here = page["members"].as_array()?.iter().all(equal);
            (here && page["head"]["version"] == history.head()).then_some(())
        })
        .await;
    }
    world.all_ready().await;
    world.took(&["placard_forks_total", "placard_restores_total"]).await;
    let verify =
        ["verify", "--postgres-url", &world.postgres.url(), "--target", &world.places[1].url()];
    let ended = Process::start(env!("CARGO_BIN_EXE_placard"), &verify, &[]).ended().await;
    assert!(ended.status.success(), "verify: {:#?} {:#?}", ended.out, ended.err);
}
