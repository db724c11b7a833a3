//! All three replicas hold commits that the stream lacks, and bring them to it at the same time.

use std::time::Duration;

use crate::redis_faults::STREAM;
use crate::world::World;

/// Counts what is brought to the stream again.
const FILLED: &[&str] = &["placard_relayed_total"];
const MARK: &str = "{placard}:top";
/// Makes the stream, in one step, what it was some entries ago: it ends with the entry that came so many before
/// its last, and its mark says so.
const ROLL_BACK: &str = "
    local entries = redis.call('XREVRANGE', KEYS[1], '+', '-', 'COUNT', ARGV[1])
    local id, fields = entries[#entries][1], entries[#entries][2]
    redis.call('DEL', KEYS[1])
    redis.call('XADD', KEYS[1], id, unpack(fields))
    redis.call('SET', KEYS[2], fields[2] .. id)";

/// Whoever is too late finds in the stream what it wanted to append: it is not there twice, and no hole is left. The
/// end of the test compares the stream with the log.
#[tokio::test(flavor = "multi_thread")]
async fn three_relays_race() {
    let mut world = World::start("three_relays_race").await;
    for _ in 0..3 {
        // Nobody can append; each holds its own commits, and what it has read from the journal.
        world.redis.kill().await;
        world.all_miss_redis().await;
        world.load.go_on_for(Duration::from_secs(1)).await;
        world.redis.restart_empty().await.expect("Redis starts");
        world.recovers("Redis empty while all replicas hold commits").await;
    }
    for _ in 0..5 {
        world.load.go_on_for(Duration::from_millis(500)).await;
        let bite = world.unbitten(FILLED).await;
        world.redis_runs(&["EVAL", ROLL_BACK, "2", STREAM, MARK, "200"]).await;
        world.recovers_once(bite, "stream rolled back under three writing replicas").await;
    }
    let mut relayed = [0.0; 3];
    for (nth, relayed) in relayed.iter_mut().enumerate() {
        *relayed = world.counted_by(nth, "placard_relayed_total").await;
    }
    eprintln!("relayed by each replica: {relayed:?}");
    let relays = relayed.iter().filter(|relayed| **relayed > 0.0).count();
    assert!(relays > 1, "only one replica has relayed, which is no race: {relayed:?}");
    world.check().await;
}
