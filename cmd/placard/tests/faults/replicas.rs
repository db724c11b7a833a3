//! Replicas that are killed, and replicas that join.

use std::time::Duration;

use placard_testkit::wait::until;

use crate::world::World;

#[tokio::test(flavor = "multi_thread")]
async fn replicas_are_killed_one_after_the_other_and_all_at_once() {
    let mut world = World::start("replicas_are_killed").await;
    for nth in [0, 1, 2, 1] {
        world.kill(nth).await;
        world.load.goes_on().await;
        world.launch(nth);
        world.load.goes_on().await;
    }
    for nth in 0..3 {
        world.kill(nth).await;
    }
    (0..3).for_each(|nth| world.launch(nth));
    world.check().await;
}

/// Redis is held, so that the replica commits and cannot append; then it dies. The others bring the stream what
/// it lacks.
#[tokio::test(flavor = "multi_thread")]
async fn a_replica_dies_between_the_commit_and_the_append() {
    let mut world = World::start("a_replica_dies_between_the_commit_and_the_append").await;
    for nth in 0..3 {
        world.redis.pause();
        world.load.goes_on().await;
        world.kill(nth).await;
        world.redis.resume();
        world.load.goes_on().await;
        world.launch(nth);
        world.all_ready().await;
    }
    world.took(&["placard_heals_total"]).await;
    world.check().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_joins_in_the_middle_of_writes() {
    let mut world = World::start("a_replica_joins_in_the_middle_of_writes").await;
    for _ in 0..3 {
        world.kill(2).await;
        world.load.go_on_for(Duration::from_millis(300)).await;
        world.launch(2);
        world.all_ready().await;
    }
    world.took(&["placard_restores_total"]).await;
    world.check().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_checkpoint_that_is_damaged_is_not_used() {
    let directory = tempfile::tempdir().expect("a directory can be made");
    let mut world = World::prepared("a_checkpoint_that_is_damaged_is_not_used", &[]).await;
    world.keep(0, directory.path());
    world.begin().await;
    let file = directory.path().join("checkpoint");
    let damages: [fn(&mut Vec<u8>); 4] = [
        |bytes| bytes.truncate(bytes.len() / 2),
        |bytes| bytes.truncate(3),
        |bytes| {
            let middle = bytes.len() / 2;
            bytes[middle] ^= 4;
        },
        |bytes| {
            let last = bytes.len() - 1;
            bytes[last] ^= 128;
        },
    ];
    for damage in damages {
        let written =
            |file: &std::path::Path| std::fs::metadata(file).and_then(|data| data.modified()).ok();
        let before = written(&file);
        until("a new checkpoint", async || (written(&file) > before).then_some(())).await;
        world.kill(0).await;
        let mut bytes = std::fs::read(&file).expect("the checkpoint can be read");
        damage(&mut bytes);
        std::fs::write(&file, bytes).expect("the checkpoint can be written");
        let restores = world.counted("placard_restores_total").await;
        world.launch(0);
        world.all_ready().await;
        assert!(
            world.counted("placard_restores_total").await > restores,
            "the checkpoint was used"
        );
    }
    world.check().await;
}
