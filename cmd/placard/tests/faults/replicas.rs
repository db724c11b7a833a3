//! Replicas that are killed, and replicas that join.

use std::time::{Duration, Instant};

use placard_model::entry::Entry;
use placard_testkit::proxy::{Flow, Way};
use placard_testkit::wait::until;
use sqlx::{Connection, PgConnection};

use crate::load::WRITERS;
use crate::world::World;

#[tokio::test(flavor = "multi_thread")]
async fn replicas_recover_when_killed_in_turn_and_together() {
    const TEST: &str = "replicas_recover_when_killed_in_turn_and_together";
    let mut world = World::start(TEST).await;
    for nth in [0, 1, 2, 1] {
        world.kill(nth).await;
        world.load.goes_on().await;
        world.launch(nth);
        world.recovers("a replica killed").await;
    }
    for nth in 0..3 {
        world.kill(nth).await;
    }
    (0..3).for_each(|nth| world.launch(nth));
    world.recovers("all replicas killed").await;
    world.check().await;
}

/// Nothing reaches Redis, so that the only replica that writes commits and cannot append; then it dies, and what it had
/// sent with it. The others bring the stream what it lacks.
#[tokio::test(flavor = "multi_thread")]
async fn a_replica_dies_between_the_commit_and_the_append() {
    let mut world = World::prepared("a_replica_dies_between_the_commit_and_the_append", &[]).await;
    let mut proxies = Vec::new();
    for nth in 0..3 {
        proxies.push(world.redis_proxy(nth).await);
    }
    world.begin().await;
    for nth in 0..3 {
        world.load.ask(&[nth]);
        world.load.goes_on().await;
        proxies.iter().for_each(|proxy| proxy.set(Way::Requests, Flow::Hold));
        world.load.goes_on().await;
        world.remember(nth).await;
        world.process(nth).pause();
        let (head, top) = (world.head(), world.stream_top().await);
        assert!(head > top, "the stream has all that the journal has, up to {head}");
        world.kill_held(nth).await;
        // The bytes that it had sent and the proxy has held are lost.
        proxies[nth].cut();
        proxies.iter().for_each(|proxy| proxy.set(Way::Requests, Flow::Pass));
        until("the others to fill the stream", async || {
            (world.stream_top().await >= head).then_some(())
        })
        .await;
        world.load.ask(&[0, 1, 2]);
        world.load.goes_on().await;
        world.launch(nth);
        world.recovers("a replica killed between commit and append").await;
    }
    world.check().await;
}

/// Moves the log's base to its head, and deletes what is behind it, as the chore does after `--log-keep-hours`. Here
/// the deleted entries are kept in a table of their own.
async fn trim_log(connection: &mut PgConnection) {
    let (version, chain, bytes): (i64, Vec<u8>, Vec<u8>) =
        sqlx::query_as("SELECT version, chain, bytes FROM log ORDER BY version DESC LIMIT 1")
            .fetch_one(&mut *connection)
            .await
            .expect("the log can be read");
    let digest = Entry::decode(&bytes.into()).expect("an entry can be decoded").digest;
    sqlx::query(
        "WITH moved AS (UPDATE log_base SET version = $1, chain = $2, digest = $3),
              gone AS (DELETE FROM log WHERE version <= $1 RETURNING *)
         INSERT INTO trimmed SELECT * FROM gone",
    )
    .bind(version)
    .bind(chain)
    .bind(digest.0.to_be_bytes().as_slice())
    .execute(connection)
    .await
    .expect("the log can be trimmed");
}

/// Neither the stream nor the log has what comes next for it, so it builds its state again. In the end the log is made
/// whole again, which the check reads from its first entry on.
#[tokio::test(flavor = "multi_thread")]
async fn held_replica_restores_when_log_is_trimmed_past_it() {
    const TEST: &str = "held_replica_restores_when_log_is_trimmed_past_it";
    const GAPS: &[&str] = &[r#"placard_restores_total{cause="gap"}"#];
    let mut world = World::start(TEST).await;
    let mut connection = PgConnection::connect(&world.postgres.url()).await.expect("it is up");
    world.postgres.sql("CREATE TABLE trimmed (LIKE log)").expect("a table can be made");
    let genesis: (Vec<u8>, Vec<u8>) = sqlx::query_as("SELECT chain, digest FROM log_base")
        .fetch_one(&mut connection)
        .await
        .expect("the log has a base");
    for nth in [0, 1, 2] {
        let bite = world.unbitten(GAPS).await;
        world.process(nth).pause();
        let others: Vec<_> = (0..3).filter(|other| *other != nth).collect();
        world.load.ask(&others);
        world.load.goes_on().await;
        trim_log(&mut connection).await;
        world.redis_runs(&["XTRIM", &world.key("stream"), "MAXLEN", "0"]).await;
        world.load.goes_on().await;
        world.process(nth).resume();
        world.load.ask(&[0, 1, 2]);
        world.recovers_once(bite, "a replica held while the log was trimmed").await;
    }
    world.load.end().await;
    let restore = "INSERT INTO log SELECT * FROM trimmed";
    world.postgres.sql(restore).expect("the log can be made whole");
    sqlx::query("UPDATE log_base SET version = 0, chain = $1, digest = $2")
        .bind(genesis.0)
        .bind(genesis.1)
        .execute(&mut connection)
        .await
        .expect("the log's base can be moved");
    world.load.begin(WRITERS, None);
    world.check().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_joins_in_the_middle_of_writes() {
    let mut world = World::start("a_replica_joins_in_the_middle_of_writes").await;
    for _ in 0..3 {
        world.kill(2).await;
        world.load.go_on_for(Duration::from_millis(300)).await;
        world.launch(2);
        world.recovers("a replica joins").await;
    }
    world.check().await;
}

/// Single writes, each under a key of its own, as many as this machine and this build take up to 5,000 a second.
#[tokio::test(flavor = "multi_thread")]
async fn replica_joins_during_5000_writes_a_second() {
    let mut world = World::prepared("replica_joins_during_5000_writes_a_second", &[]).await;
    world.begin_with(256, Some(5_000)).await;
    for _ in 0..3 {
        world.kill(2).await;
        let (since, before) = (Instant::now(), world.load.acknowledged());
        world.load.go_on_for(Duration::from_secs(2)).await;
        world.launch(2);
        world.recovers("a replica joins at full speed").await;
        world.load.go_on_for(Duration::from_secs(1)).await;
        let written = world.load.acknowledged() - before;
        let a_second = written as f64 / since.elapsed().as_secs_f64();
        eprintln!("a replica joined in the middle of {a_second:.0} writes a second");
    }
    world.check().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_checkpoint_that_is_damaged_is_not_used() {
    let directory = tempfile::tempdir().expect("a directory can be made");
    let mut world = World::prepared("a_checkpoint_that_is_damaged_is_not_used", &[]).await;
    world.keep(0, directory.path());
    world.begin().await;
    let file = directory.path().join("checkpoint");
    let damages: [fn(&mut Vec<u8>); 5] = [
        |_| {},
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
    for (nth, damage) in damages.into_iter().enumerate() {
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
        world.recovers("a replica killed that has a checkpoint").await;
        let whole = nth == 0;
        let restored = world.counted("placard_restores_total").await > restores;
        assert_eq!(restored, !whole, "whether the checkpoint was used, of damage {nth}");
    }
    world.check().await;
}
