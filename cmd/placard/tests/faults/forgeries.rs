//! Entries in the stream that the journal never had.

use std::time::Duration;

use bytes::Bytes;
use placard_model::Timestamp;
use placard_model::entry::{Chain, Change, Digest, Entry, Reason};
use placard_testkit::servers::redis::RedisServer;
use placard_testkit::wait::until;
use uuid::Uuid;

use crate::world::World;

/// One of these counters moves when a replica has read what was forged, or has found it in the stream.
const NOTICED: &[&str] = &[
    "placard_stream_rejects_total",
    "placard_stream_resets_total",
    "placard_poison_total",
    "placard_diverged_total",
];

impl World {
    /// Appends an entry after the stream's last one, whatever that is at the moment; `chain` computes its chain from
    /// the one before it, its version and its bytes.
    async fn forge(&self, bytes: &Bytes, chain: fn(Chain, u64, &Bytes) -> Chain) {
        forge(&self.redis, &self.key("stream"), bytes, chain).await;
    }
}

/// As [`World::forge`], in any Redis.
async fn forge(
    server: &RedisServer,
    stream: &str,
    bytes: &Bytes,
    chain: fn(Chain, u64, &Bytes) -> Chain,
) {
    let client = redis::Client::open(server.url()).expect("the URL is one of Redis");
    let mut connection =
        client.get_multiplexed_async_connection().await.expect("Redis can be reached");
    // Somebody else may be quicker: then that id is taken.
    until("a forged entry", async || {
        let mut last = redis::cmd("XREVRANGE");
        last.arg(stream).arg("+").arg("-").arg("COUNT").arg(1);
        type Rows = Vec<(String, Vec<(String, Vec<u8>)>)>;
        let rows: Rows = last.query_async(&mut connection).await.ok()?;
        let (id, fields) = rows.into_iter().next()?;
        let version = id.strip_prefix("0-")?.parse::<u64>().ok()? + 1;
        let (_, before) = fields.into_iter().find(|(name, _)| name == "chain")?;
        let chain = chain(Chain(before.try_into().ok()?), version, bytes);
        let mut add = redis::cmd("XADD");
        add.arg(stream).arg(format!("0-{version}"));
        add.arg("chain").arg(chain.0.as_slice()).arg("entry").arg(bytes.as_ref());
        let added: redis::RedisResult<String> = add.query_async(&mut connection).await;
        added.is_ok().then_some(())
    })
    .await;
}

fn follows(before: Chain, version: u64, bytes: &Bytes) -> Chain {
    before.next(version, bytes)
}

fn unrelated(_: Chain, _: u64, _: &Bytes) -> Chain {
    Chain([7; 32])
}

fn entry(digest: Digest) -> Bytes {
    let entry = Entry {
        at: Timestamp::EPOCH,
        request: Uuid::from_u128(1),
        item: 0,
        principal: "a forger".to_owned(),
        reason: Reason::Client,
        trace: None,
        digest,
        change: Change::Delete(Uuid::from_u128(2)),
    };
    entry.encode()
}

#[tokio::test(flavor = "multi_thread")]
async fn forged_and_corrupt_entries_reach_no_state() {
    let mut world = World::start("forged_and_corrupt_entries_reach_no_state").await;
    let garbage = Bytes::from_static(b"\x01no entry at all");
    for _ in 0..3 {
        // Of another history; of this one, but no entry; an entry, but not of these ads: its digest is another.
        let bite = world.unbitten(NOTICED).await;
        world.forge(&entry(Digest(1)), unrelated).await;
        world.recovers_once(bite, "a forged entry of another history").await;
        let bite = world.unbitten(NOTICED).await;
        world.forge(&garbage, follows).await;
        world.recovers_once(bite, "garbage with a right chain").await;
        let bite = world.unbitten(NOTICED).await;
        world.forge(&entry(Digest(1)), follows).await;
        world.recovers_once(bite, "a forged entry with a right chain").await;
        world.load.go_on_for(Duration::from_millis(500)).await;
    }
    world.check().await;
}

/// One replica has a Redis of its own, to which the test appends an entry with another digest: it alone is quarantined,
/// and restores by itself.
#[tokio::test(flavor = "multi_thread")]
async fn replica_with_wrong_digest_is_isolated_and_repaired() {
    const TEST: &str = "replica_with_wrong_digest_is_isolated_and_repaired";
    let own = RedisServer::start().await.expect("a private Redis starts");
    let mut world = World::prepared(TEST, &[]).await;
    world.separate(2, &own);
    world.begin().await;
    for round in 1..=3 {
        let (before, restores) =
            ("placard_diverged_total", "placard_restores_total{cause=\"digest\"}");
        let restored = world.counted_by(2, restores).await;
        until("a replica that has diverged", async || {
            forge(&own, &world.key("stream"), &entry(Digest(round)), follows).await;
            (world.counted_by(2, before).await >= round as f64).then_some(())
        })
        .await;
        world.recovers("a replica with a wrong digest").await;
        until("its repair", async || {
            (world.counted_by(2, restores).await > restored).then_some(())
        })
        .await;
    }
    for nth in 0..2 {
        assert!(world.counted_by(nth, "placard_diverged_total").await == 0.0);
    }
    world.check().await;
}
