//! A replica that runs, is reached by its clients, and reaches neither PostgreSQL nor Redis.

use std::time::Duration;

use placard_testkit::proxy::{Flow, Way};

use crate::world::World;

/// Longer than the lease, and than a commit is waited for before it is repeated.
const HELD: Duration = Duration::from_secs(6);
const REFUSED: Duration = Duration::from_secs(3);
const LEASE_ENDS: &[&str] = &["placard_lease_ends_total"];

/// First nothing goes through, as when a cable is pulled: what the replica has sent arrives when it is plugged in
/// again, after it was repeated. Then connections break, and new ones are refused, as when an address is taken away.
#[tokio::test(flavor = "multi_thread")]
async fn a_replica_is_cut_off_from_both_servers() {
    let mut world = World::prepared("a_replica_is_cut_off_from_both_servers", &[]).await;
    let proxies = [world.postgres_proxy(2).await, world.redis_proxy(2).await];
    world.begin().await;
    // The others write on, and it is asked to.
    world.load.ask(&[0, 1]);
    (0..4).for_each(|_| world.load.write_on(2));
    world.load.reads_must_succeed(true);
    let set = |flow: Flow| {
        for proxy in &proxies {
            proxy.set(Way::Requests, flow);
            proxy.set(Way::Answers, flow);
        }
    };
    for _ in 0..2 {
        let bite = world.unbitten(LEASE_ENDS).await;
        world.load.server_is_away(true);
        set(Flow::Hold);
        world.load.go_on_for(HELD).await;
        world.bitten(&bite).await;
        world.load.server_is_away(false);
        set(Flow::Pass);
        world.recovers("a replica cut off for 6 s").await;
        let bite = world.unbitten(LEASE_ENDS).await;
        world.load.server_is_away(true);
        proxies.iter().for_each(|proxy| {
            proxy.refuse(true);
            proxy.cut();
        });
        world.load.go_on_for(REFUSED).await;
        world.bitten(&bite).await;
        world.load.server_is_away(false);
        proxies.iter().for_each(|proxy| proxy.refuse(false));
        world.recovers("a replica refused for 3 s").await;
    }
    world.check().await;
}
