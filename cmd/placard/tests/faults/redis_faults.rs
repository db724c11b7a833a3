//! Redis is flushed, trimmed, stopped, emptied and rolled back.

use std::time::Duration;

use crate::world::World;

const STREAM: &str = "{placard}:stream";

impl World {
    /// Has Redis run a command.
    pub(crate) async fn redis_runs(&self, words: &[&str]) {
        let client = redis::Client::open(self.redis.url()).expect("the URL is one of Redis");
        let mut connection =
            client.get_multiplexed_async_connection().await.expect("Redis can be reached");
        let mut command = redis::cmd(words[0]);
        command.arg(&words[1..]);
        let _: redis::Value = command.query_async(&mut connection).await.expect("Redis obeys");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_stream_is_flushed_deleted_and_trimmed_to_nothing() {
    let mut world = World::start("the_stream_is_flushed").await;
    let deeds: [&[&str]; 3] = [&["FLUSHALL"], &["DEL", STREAM], &["XTRIM", STREAM, "MAXLEN", "0"]];
    for _ in 0..2 {
        for deed in deeds {
            world.redis_runs(deed).await;
            world.load.goes_on().await;
            // What one replica has not read yet is forgotten.
            world.process(1).pause();
            world.load.goes_on().await;
            world.redis_runs(deed).await;
            world.load.goes_on().await;
            world.process(1).resume();
        }
    }
    world.took(&["placard_heals_total", "placard_stream_gaps_total"]).await;
    world.check().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn redis_stops_for_a_while_and_comes_back_empty() {
    let mut world = World::start("redis_stops_for_a_while").await;
    world.load.reads_must_succeed(true);
    world.redis.kill().await;
    // Everybody tails the journal.
    world.load.goes_on().await;
    world.load.go_on_for(Duration::from_secs(10)).await;
    world.redis.restart().await.expect("Redis starts");
    world.load.goes_on().await;
    world.redis.restart_empty().await.expect("Redis starts");
    world.load.goes_on().await;
    world.redis.pause();
    world.load.go_on_for(Duration::from_secs(3)).await;
    world.redis.resume();
    world.took(&["placard_heals_total"]).await;
    world.check().await;
}

/// Redis comes back with what it had some time ago, and then with entries that the journal never had.
#[tokio::test(flavor = "multi_thread")]
async fn redis_is_rolled_back_to_an_older_state() {
    let mut world = World::start("redis_is_rolled_back").await;
    world.load.reads_must_succeed(true);
    let kept = world.redis.directory().join("appendonlydir");
    let aside = tempfile::tempdir().expect("a directory can be made");
    let copy = |from: &std::path::Path, to: &std::path::Path| {
        std::fs::create_dir_all(to).expect("a directory can be made");
        for file in std::fs::read_dir(from).expect("the directory can be read") {
            let file = file.expect("the directory can be read");
            std::fs::copy(file.path(), to.join(file.file_name())).expect("a file can be copied");
        }
    };
    for _ in 0..2 {
        world.redis.kill().await;
        copy(&kept, aside.path());
        world.redis.restart().await.expect("Redis starts");
        world.load.go_on_for(Duration::from_millis(1_500)).await;
        world.redis.kill().await;
        std::fs::remove_dir_all(&kept).expect("a directory can be removed");
        copy(aside.path(), &kept);
        world.redis.restart().await.expect("Redis starts");
        world.load.goes_on().await;
        world.load.go_on_for(Duration::from_secs(1)).await;
    }
    world.took(&["placard_relayed_total"]).await;
    world.check().await;
}
