//! A replica that is held or gone for seconds, what takedowns may say of it meanwhile, and what it shows afterwards.

use std::time::{Duration, Instant};

use placard_testkit::proxy::{Flow, Proxy, Way};
use placard_testkit::wait::until;
use reqwest::StatusCode;
use tokio::time::sleep;

use crate::clients::Receipts;
use crate::takedowns::Watch;
use crate::world::World;

const LEASE_ENDS: &str = "placard_lease_ends_total";
const REFUSE: &[&str] = &["--on-stale", "refuse", "--stale-max", "1000"];
const HELD: Duration = Duration::from_secs(10);
/// By then a replica that is held has long been silent for all others, however busy the machine is.
const LONG: Duration = Duration::from_secs(7);
/// From one takedown to the next, if they are answered sooner.
const PACE: Duration = Duration::from_millis(500);

/// Holds replica 2 for 10 s and longer, while ads are taken down by another; lets it go on into the requests of many
/// readers, and takes down more. Returns the answers to the takedowns while it was held, and when each was begun.
async fn takedowns_while_one_is_held(world: &mut World) -> Vec<(Duration, Receipts)> {
    let by = world.client(0).clone();
    let mut ads = Vec::new();
    // Enough for one at each pace, and some for afterwards.
    for _ in 0..30 {
        ads.push(by.create("to be taken down").await.0);
    }
    until("the replica to have them all", async || {
        let path = format!("/api/v1/ad/{}", ads[29]);
        world.get(2, &path).await.filter(|answer| answer.status() == StatusCode::OK)
    })
    .await;
    let mut watch = Watch::new(world.client(2));
    watch.connect().await;
    let ends = world.counted_by(2, LEASE_ENDS).await;
    world.process(2).pause();
    world.load.ask(&[0, 1]);
    let (since, mut told) = (Instant::now(), Vec::new());
    while since.elapsed() < HELD {
        let began = Instant::now();
        let receipts = watch.take_down(&by, ads.pop().expect("there are enough")).await;
        told.push((began - since, receipts));
        sleep(PACE.saturating_sub(began.elapsed())).await;
    }
    // The last one a moment before it goes on.
    let began = since.elapsed();
    told.push((began, watch.take_down(&by, ads.pop().expect("there are enough")).await));
    watch.begin();
    sleep(Duration::from_millis(200)).await;
    world.process(2).resume();
    world.load.ask(&[0, 1, 2]);
    world.recovers("a replica held beyond its lease").await;
    for _ in 0..5 {
        let receipts = watch.take_down(&by, ads.pop().expect("there are enough")).await;
        assert_eq!(receipts.status, StatusCode::OK, "{receipts:?}");
    }
    let (before, _) = watch.answers();
    until("readers to look again", async || (watch.answers().0 > before + 100).then_some(())).await;
    let (hidden, refused) = watch.answers();
    eprintln!("{}: {hidden} answers without the ads, {refused} refused", world.name);
    watch.end().await;
    let ended = world.counted_by(2, LEASE_ENDS).await > ends;
    assert!(ended, "its lease has ended, and is not counted");
    told
}

#[tokio::test(flavor = "multi_thread")]
async fn under_serve_a_silent_replica_is_unconfirmed() {
    let mut world = World::start("under_serve_a_silent_replica_is_unconfirmed").await;
    for (_, receipts) in takedowns_while_one_is_held(&mut world).await {
        assert_eq!(receipts.status, StatusCode::ACCEPTED, "{receipts:?}");
        assert_eq!((receipts.confirmed, receipts.unconfirmed), (2, 1), "{receipts:?}");
    }
    world.check().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn under_refuse_silence_confirms_and_hides_takedowns() {
    const TEST: &str = "under_refuse_silence_confirms_and_hides_takedowns";
    let mut world = World::prepared(TEST, REFUSE).await;
    world.begin().await;
    for (began, receipts) in takedowns_while_one_is_held(&mut world).await {
        // An earlier takedown may rightly get the answer that not all have confirmed it. The readers check the others.
        let confirmed = receipts.status == StatusCode::OK;
        assert!(confirmed || receipts.status == StatusCode::ACCEPTED, "{receipts:?}");
        assert_eq!(confirmed, receipts.unconfirmed == 0, "{receipts:?}");
        assert!(confirmed || began < LONG, "begun {began:?} after it was held: {receipts:?}");
    }
    world.check().await;
}

/// A checkpoint's state is as old as the checkpoint: no client gets it until the replica has reached PostgreSQL. The
/// replica reaches neither server while it starts, so the checkpoint is all that it has.
#[tokio::test(flavor = "multi_thread")]
async fn under_refuse_start_from_checkpoint_hides_takedowns() {
    const TEST: &str = "under_refuse_start_from_checkpoint_hides_takedowns";
    let directory = tempfile::tempdir().expect("a directory can be made");
    let mut world = World::prepared(TEST, REFUSE).await;
    world.keep(2, directory.path());
    let proxies = [world.postgres_proxy(2).await, world.redis_proxy(2).await];
    world.begin().await;
    let by = world.client(0).clone();
    let unreachable: [fn(&Proxy); 2] = [
        |proxy| {
            proxy.refuse(true);
            proxy.cut();
        },
        |proxy| proxy.set(Way::Requests, Flow::Hold),
    ];
    for (title, cut_off) in ["kept by the first", "kept by the second"].iter().zip(unreachable) {
        // Enough to go on until a takedown is confirmed: each that is not takes longer than it takes to be silent.
        let mut ads = Vec::new();
        for nth in 0..4 {
            ads.push(by.create(&format!("{title}, {nth}")).await.0);
        }
        let newest = format!("{title}, 3");
        until("a checkpoint with the ads", async || {
            let bytes = std::fs::read(directory.path().join("checkpoint")).ok()?;
            bytes.windows(newest.len()).any(|text| text == newest.as_bytes()).then_some(())
        })
        .await;
        let loaded = world.counted_by(2, "placard_checkpoints_loaded_total").await;
        world.kill(2).await;
        // From when on its silence counts as confirmed.
        let mut watch = Watch::new(world.client(2));
        loop {
            let id = ads.pop().expect("a takedown is confirmed once the replica is silent");
            let receipts = watch.take_down(&by, id).await;
            if receipts.status == StatusCode::OK {
                assert_eq!(receipts.unconfirmed, 0, "{receipts:?}");
                break;
            }
            assert_eq!(receipts.status, StatusCode::ACCEPTED, "{receipts:?}");
        }
        proxies.iter().for_each(cut_off);
        world.launch(2);
        watch.begin();
        until("the checkpoint to be loaded", async || {
            let now = world.counted_by(2, "placard_checkpoints_loaded_total").await;
            (now > loaded).then_some(())
        })
        .await;
        let (hidden, before) = watch.answers();
        assert_eq!(hidden, 0, "it has answered, and has not heard of the journal");
        until("readers to be refused", async || (watch.answers().1 > before + 1_000).then_some(()))
            .await;
        assert_eq!(watch.answers().0, 0, "it has answered, and has not heard of the journal");
        proxies.iter().for_each(|proxy| {
            proxy.refuse(false);
            proxy.set(Way::Requests, Flow::Pass);
        });
        world.recovers("a replica started from its checkpoint alone").await;
        until("readers to be answered", async || (watch.answers().0 > 100).then_some(())).await;
        watch.end().await;
    }
    world.check().await;
}
