//! All three replicas hold commits that the stream lacks, and bring them to it at the same time.

use std::time::Duration;

use placard_testkit::wait::until;

use crate::world::World;

/// Counts what is brought to the stream again.
const FILLED: &[&str] = &["placard_relayed_total"];
/// Rolls the stream back in one step: it then ends with the entry that came `ARGV[1] - 1` entries before its last, and
/// its mark says so.
const ROLL_BACK: &str = "
    local entries = redis.call('XREVRANGE', KEYS[1], '+', '-', 'COUNT', ARGV[1])
    local id, fields = entries[#entries][1], entries[#entries][2]
    redis.call('DEL', KEYS[1])
    redis.call('XADD', KEYS[1], id, unpack(fields))
    redis.call('SET', KEYS[2], fields[2] .. id)";

/// Rolls the stream back under three replicas that write.
async fn roll_back(world: &mut World) {
    world.load.go_on_for(Duration::from_millis(500)).await;
    let bite = world.unbitten(FILLED).await;
    let (stream, mark) = (world.key("stream"), world.key("top"));
    world.redis_runs(&["EVAL", ROLL_BACK, "2", &stream, &mark, "200"]).await;
    world.recovers_once(bite, "stream rolled back under three writing replicas").await;
}

/// A relay that is too late finds in the stream what it wanted to append: it is not there twice, and no hole is left.
/// The end of the test compares the stream with the log.
#[tokio::test(flavor = "multi_thread")]
async fn three_relays_race() {
    let mut world = World::start("three_relays_race").await;
    for _ in 0..3 {
        // No replica can append; each holds its own commits, and what it has read from the journal.
        world.redis.kill().await;
        world.all_miss_redis().await;
        world.load.go_on_for(Duration::from_secs(1)).await;
        world.redis.restart_empty().await.expect("Redis starts");
        world.recovers("Redis empty while all replicas hold commits").await;
    }
    for _ in 0..5 {
        roll_back(&mut world).await;
    }
    // The same replica may have been first each time, which is no race.
    until("two replicas to have relayed", async || {
        let mut relayed = [0.0; 3];
        for (nth, relayed) in relayed.iter_mut().enumerate() {
            *relayed = world.counted_by(nth, "placard_relayed_total").await;
        }
        eprintln!("relayed by each replica: {relayed:?}");
        if relayed.iter().filter(|relayed| **relayed > 0.0).count() > 1 {
            return Some(());
        }
        roll_back(&mut world).await;
        None
    })
    .await;
    world.check().await;
}
