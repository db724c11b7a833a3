//! What `ack=all` answers when the journal loses data: the row of a replica that answers, or the write itself.

use std::path::Path;
use std::process::Command;

use placard_testkit::proxy::{Flow, Proxy, Way};
use placard_testkit::wait::until;
use reqwest::StatusCode;
use uuid::Uuid;

use crate::clients::Asked;
use crate::history::History;
use crate::load::{PATH, WRITERS};
use crate::world::World;

/// With these options a replica without contact to the servers answers for as long as a test may take.
const REFUSE: &[&str] = &["--on-stale", "refuse", "--stale-max", "600000"];

pub(crate) fn copy(from: &Path, to: &Path) {
    let copied = Command::new("cp").arg("-a").arg(from).arg(to).status();
    assert!(copied.expect("cp can be started").success());
}

async fn status(client: &Asked, ad: Uuid) -> Option<StatusCode> {
    client.get(&format!("{PATH}/{ad}")).await.map(|answer| answer.status())
}

/// Cuts replica 2 off from both servers, and waits until its row stands still: no poll is on its way any more.
async fn cut_off(world: &World, proxies: &[Proxy; 2]) {
    world.load.ask(&[0, 1]);
    for proxy in proxies {
        proxy.set(Way::Requests, Flow::Hold);
        proxy.set(Way::Answers, Flow::Hold);
    }
    let still = "SELECT count(*) FROM replicas WHERE seen_at < now() - interval '1s'";
    until("its row to stand still", async || {
        (world.postgres.sql(still).expect("PostgreSQL answers") == "1").then_some(())
    })
    .await;
}

/// Its row is gone, and it shows the ad: a takedown must not be confirmed.
async fn is_missed(world: &World, ad: Uuid) {
    let rows = world.postgres.sql("SELECT count(*) FROM replicas").expect("PostgreSQL answers");
    assert_eq!(rows, "2", "those of the others");
    let receipts = world.client(0).take_down(ad).await;
    assert_eq!(status(world.client(2), ad).await, Some(StatusCode::OK), "it shows the ad");
    assert_eq!(receipts.status, StatusCode::ACCEPTED, "confirmed by all: {receipts:?}");
    assert_eq!((receipts.confirmed, receipts.unconfirmed), (2, 1), "{receipts:?}");
}

async fn heals(world: &mut World, proxies: &[Proxy; 2]) {
    for proxy in proxies {
        proxy.cut();
        proxy.set(Way::Requests, Flow::Pass);
        proxy.set(Way::Answers, Flow::Pass);
    }
    world.load.ask(&[0, 1, 2]);
    world.recovers("a replica cut off whose row was lost").await;
}

async fn is_shown(world: &World, ad: Uuid) {
    until("the replica to show the ad", async || {
        (status(world.client(2), ad).await == Some(StatusCode::OK)).then_some(())
    })
    .await;
}

/// An older build deletes all rows but its own, as when the journal's clock jumps by hours.
#[tokio::test(flavor = "multi_thread")]
async fn a_replica_whose_row_is_deleted_is_unconfirmed() {
    let mut world = World::prepared("a_replica_whose_row_is_deleted_is_unconfirmed", REFUSE).await;
    let proxies = [world.postgres_proxy(2).await, world.redis_proxy(2).await];
    world.begin().await;
    let (ad, _) = world.client(0).clone().create("to be taken down").await;
    is_shown(&world, ad).await;
    cut_off(&world, &proxies).await;
    let delete = "DELETE FROM replicas WHERE seen_at < now() - interval '1s'";
    world.postgres.sql(delete).expect("a row can be deleted");
    is_missed(&world, ad).await;
    heals(&mut world, &proxies).await;
    world.check().await;
}

/// The new primary has never heard of the replica, which goes on answering on the other side.
#[tokio::test(flavor = "multi_thread")]
async fn replica_on_lost_side_of_failover_is_unconfirmed() {
    const TEST: &str = "replica_on_lost_side_of_failover_is_unconfirmed";
    let mut world = World::prepared(TEST, REFUSE).await;
    let proxies = [world.postgres_proxy(2).await, world.redis_proxy(2).await];
    world.begin().await;
    let (ad, _) = world.client(0).clone().create("to be taken down").await;
    world.load.end().await;
    world.end(2).await;
    let kept = world.head();
    world.postgres.stop().await.expect("PostgreSQL stops");
    let data = world.postgres.data();
    let behind = data.with_extension("behind");
    copy(&data, &behind);
    world.postgres.restart().await.expect("PostgreSQL starts");
    world.launch(2);
    world.all_ready().await;
    is_shown(&world, ad).await;
    world.client(0).clone().create("lost with the old primary").await;
    let replaced = History::read(&world.postgres.url()).await;
    cut_off(&world, &proxies).await;
    world.postgres.stop().await.expect("PostgreSQL stops");
    std::fs::remove_dir_all(&data).expect("the old primary can be removed");
    std::fs::rename(&behind, &data).expect("the new one can take its place");
    world.postgres.restart().await.expect("PostgreSQL starts");
    world.load.loses_after(kept);
    for nth in [0, 1] {
        until("a replica to go on with the new primary", async || {
            let forks = world.counted_by(nth, "placard_forks_total").await;
            let page = world.json(nth, "/readyz").await?;
            (forks > 0.0 && page["status"] == "ready").then_some(())
        })
        .await;
    }
    is_missed(&world, ad).await;
    world.load.begin(WRITERS, None);
    heals(&mut world, &proxies).await;
    world.check_after(Some(&replaced)).await;
}

/// A takedown waits for a replica that is held; the journal loses the takedown, and every replica but that one notices.
#[tokio::test(flavor = "multi_thread")]
async fn a_takedown_that_is_lost_is_not_confirmed() {
    let mut world = World::prepared("a_takedown_that_is_lost_is_not_confirmed", &[]).await;
    world.begin().await;
    let (ad, _) = world.client(0).clone().create("to be taken down").await;
    is_shown(&world, ad).await;
    world.load.end().await;
    let keep = format!(
        "CREATE TABLE old_head AS SELECT * FROM head;
         CREATE TABLE old_ads AS SELECT * FROM ads WHERE id = '{ad}'"
    );
    world.postgres.sql(&keep).expect("a state can be kept");
    let kept = world.head();
    world.process(2).pause();
    let client = world.client(0).apart();
    let takedown = tokio::spawn(async move { client.asks_for_takedown(ad).await });
    until("the takedown", async || (world.head() > kept).then_some(())).await;
    let replaced = History::read(&world.postgres.url()).await;
    // The effect of a failover to a standby that was behind, all at once.
    world
        .postgres
        .sql(
            "DELETE FROM log WHERE version > (SELECT version FROM old_head);
             INSERT INTO ads SELECT * FROM old_ads;
             UPDATE head SET version = old.version, chain = old.chain, digest = old.digest,
                             writes = head.writes + 1
               FROM old_head old;
             DROP TABLE old_head, old_ads",
        )
        .expect("a state can be put back");
    let told = takedown.await.expect("it does not panic");
    assert_eq!(told, StatusCode::GATEWAY_TIMEOUT, "of a takedown that is lost");
    world.process(2).resume();
    world.load.begin(WRITERS, None);
    world.recovers("a journal that has lost its last entry").await;
    assert_eq!(status(world.client(0), ad).await, Some(StatusCode::OK), "it is there again");
    world.check_after(Some(&replaced)).await;
}
