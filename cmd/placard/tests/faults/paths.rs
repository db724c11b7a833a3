//! A replica whose path to the servers is not cut, but does not let the entries through that it needs.

use placard_testkit::proxy::{Flow, Proxy, Way};
use placard_testkit::wait::until;

use crate::world::World;

/// The largest packet that the path lets through, in bytes; it drops larger ones silently.
const PACKET: usize = 1_400;
/// Versions behind the large one, which a replica that had it would soon have too.
const BEHIND: u64 = 50;

/// Replica 2, by proxies to both servers.
async fn prepared(name: &'static str) -> (World, [Proxy; 2]) {
    let mut world = World::prepared(name, &[]).await;
    let proxies = [world.postgres_proxy(2).await, world.redis_proxy(2).await];
    world.begin().await;
    // The others write on.
    world.load.ask(&[0, 1]);
    (world, proxies)
}

async fn published(world: &World, nth: usize) -> Option<u64> {
    world.json(nth, "/readyz").await?["version"].as_u64()
}

/// Small packets pass, such as a head poll's answer; an ad of 6 kB does not, nor what follows it.
#[tokio::test(flavor = "multi_thread")]
async fn replica_recovers_after_path_drops_large_packets() {
    let (mut world, proxies) = prepared("replica_recovers_after_path_drops_large_packets").await;
    proxies.iter().for_each(|proxy| proxy.set(Way::Answers, Flow::Swallow(PACKET)));
    let (_, large) = world.client(0).create_with("a large ad", &"wide".repeat(1_500)).await;
    until("the replica to be left behind", async || {
        let published = published(&world, 2).await?;
        assert!(published < large, "it has come through");
        (world.head() > large + BEHIND).then_some(())
    })
    .await;
    until("the replica to say so", async || {
        let page = world.json(2, "/readyz").await?;
        let answer = world.get(2, "/api/v1/ad").await?;
        (page["status"] == "behind" && answer.headers().contains_key("placard-stale")).then_some(())
    })
    .await;
    proxies.iter().for_each(|proxy| proxy.set(Way::Answers, Flow::Pass));
    world.recovers("a path that swallowed large packets").await;
    world.check().await;
}

/// Its head poll finds out first; then it does not try one dead connection after the other.
#[tokio::test(flavor = "multi_thread")]
async fn replica_recovers_after_connections_are_forgotten() {
    let (mut world, proxies) = prepared("replica_recovers_after_connections_are_forgotten").await;
    world.load.write_on(2);
    for _ in 0..2 {
        let ends = world.counted_by(2, "placard_lease_ends_total").await;
        world.load.server_is_away(true);
        proxies.iter().for_each(Proxy::forget);
        until("the lease to end", async || {
            (world.counted_by(2, "placard_lease_ends_total").await > ends).then_some(())
        })
        .await;
        world.load.server_is_away(false);
        world.recovers("connections that were forgotten").await;
    }
    world.check().await;
}
