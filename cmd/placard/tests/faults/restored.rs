//! An operator restores PostgreSQL to an older state.

use std::time::{Duration, Instant};

use placard_testkit::wait::until;

use crate::history::History;
use crate::load::WRITERS;
use crate::register::copy;
use crate::world::World;

/// Only the writes that were acknowledged since the backup are lost. Two replicas are held until a third, which starts
/// on the restored journal, has written past its old head: so they find another history at their version, and not a
/// head below theirs.
#[tokio::test(flavor = "multi_thread")]
async fn replicas_follow_restored_journal_past_its_old_head() {
    const TEST: &str = "replicas_follow_restored_journal_past_its_old_head";
    let mut world = World::start(TEST).await;
    world.load.end().await;
    let kept = world.head();
    world.postgres.stop().await.expect("PostgreSQL stops");
    let data = world.postgres.data();
    let backup = data.with_extension("backup");
    copy(&data, &backup);
    world.postgres.restart().await.expect("PostgreSQL starts");

    world.load.begin(WRITERS, None);
    world.load.goes_on().await;
    world.load.end().await;
    let replaced = History::read(&world.postgres.url()).await;
    replaced.check(&world.load, None);

    world.process(1).pause();
    world.process(2).pause();
    world.postgres.stop().await.expect("PostgreSQL stops");
    std::fs::remove_dir_all(&data).expect("the newer state can be removed");
    std::fs::rename(&backup, &data).expect("the older state can be put in its place");
    world.kill(0).await;
    world.postgres.restart().await.expect("PostgreSQL starts");
    let lost = world.load.loses_after(kept);
    assert_eq!(lost.len() as u64, replaced.head() - kept, "acknowledged after the backup");

    world.load.ask(&[0]);
    world.launch(0);
    world.load.begin(WRITERS, None);
    until("the old head to be passed", async || (world.head() > replaced.head()).then_some(()))
        .await;
    let ended = Instant::now();
    world.process(1).resume();
    world.process(2).resume();
    world.load.ask(&[0, 1, 2]);
    for nth in [1, 2] {
        until("a replica to find the other history", async || {
            (world.counted_by(nth, "placard_forks_total").await > 0.0).then_some(())
        })
        .await;
    }
    let fault = "journal restored to an older state and written past its old head";
    world.recovers_since(ended, fault).await;
    for nth in [1, 2] {
        let restored = world.counted_by(nth, r#"placard_restores_total{cause="fork"}"#).await;
        assert!(restored > 0.0, "replica {nth} has built no other state");
    }
    world.load.go_on_for(Duration::from_millis(500)).await;
    world.check_after(Some(&replaced)).await;
}
