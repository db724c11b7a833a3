//! Redis is flushed, trimmed, stopped, emptied and rolled back.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use placard_model::entry::Record;
use placard_model::{Version, limits};
use placard_testkit::wait::{PATIENCE, until};
use redis::aio::MultiplexedConnection;
use reqwest::StatusCode;
use tokio::task::JoinSet;

use crate::clients::Asked;
use crate::history::History;
use crate::load::PATH;
use crate::world::World;

/// Counts reads of the log in the stream's place.
const HEALS: &[&str] = &["placard_heals_total"];

/// An entry of the stream: its id, and its fields.
type Entry = (String, Vec<(String, Vec<u8>)>);

/// Writes and waits, this many at a time.
const PROBES: usize = 8;

/// Writes on one replica for a while, and asks another for each version until it has it. Returns how long each took to
/// get there, from the write's answer.
async fn deliveries(from: Asked, to: Asked, time: Duration) -> Vec<Duration> {
    let (end, mut took) = (Instant::now() + time, Vec::new());
    while Instant::now() < end {
        let (id, at) = from.create("to be delivered").await;
        let since = Instant::now();
        let path = format!("{PATH}/{id}?min_version={at}");
        while to.get(&path).await.is_none_or(|answer| answer.status() != StatusCode::OK) {
            assert!(since.elapsed() < PATIENCE, "version {at} does not reach another replica");
        }
        took.push(since.elapsed());
    }
    took
}

impl World {
    /// Returns the 99th percentile of the time that a write of replica 0 takes to replica 1. No client writes on
    /// replica 1, so it has no writes of its own by which it would learn of others.
    async fn delivery_p99(&self) -> Duration {
        self.load.ask(&[0, 2]);
        let mut probes = JoinSet::new();
        for _ in 0..PROBES {
            let (from, to) = (self.client(0).clone(), self.client(1).clone());
            probes.spawn(deliveries(from, to, Duration::from_secs(10)));
        }
        let mut took = probes.join_all().await.concat();
        self.load.ask(&[0, 1, 2]);
        took.sort_unstable();
        let quantile = |share: usize| took[took.len() * share / 100];
        let (p50, p99) = (quantile(50), quantile(99));
        eprintln!("to another replica without Redis: p50 {p50:?}, p99 {p99:?}, of {}", took.len());
        p99
    }

    /// The name of the key with the stream, or of that with its mark (`top`), as PostgreSQL's last start has it.
    pub(crate) fn key(&self, which: &str) -> String {
        const NAMED: &str = "
            SELECT concat('{placard}:', identity, ':', oid, ':',
                          (extract(epoch FROM pg_postmaster_start_time()) * 1000000)::bigint)
              FROM journal, pg_database WHERE datname = current_database()";
        format!("{}:{which}", self.postgres.sql(NAMED).expect("the journal has an identity"))
    }

    pub(crate) async fn redis_connection(&self) -> MultiplexedConnection {
        let client = redis::Client::open(self.redis.url()).expect("the URL is one of Redis");
        client.get_multiplexed_async_connection().await.expect("Redis can be reached")
    }

    /// Waits until the stream holds what the log does, entry by entry and without holes, from wherever it begins to
    /// the head.
    pub(crate) async fn stream_holds(&self, history: &History) {
        let mut connection = self.redis_connection().await;
        until("a stream that holds what the log does", async || {
            let mut all = redis::cmd("XRANGE");
            all.arg(self.key("stream")).arg("-").arg("+");
            let entries: Vec<Entry> = all.query_async(&mut connection).await.ok()?;
            let first =
                entries.first().map_or(Some(1), |(id, _)| id.strip_prefix("0-")?.parse().ok())?;
            let same = |(version, (id, fields)): (Version, &Entry)| {
                let record = history.record(version);
                *id == format!("0-{version}")
                    && record.is_some_and(|Record { chain, bytes, .. }| {
                        let expected = [("chain", &chain.0[..]), ("entry", &bytes[..])];
                        fields.iter().map(|(name, value)| (name.as_str(), &value[..])).eq(expected)
                    })
            };
            let whole = first + entries.len() as Version == history.head() + 1;
            (whole && (first..).zip(&entries).all(same)).then_some(())
        })
        .await;
    }

    /// The version of the stream's newest entry, whether or not it still holds it.
    pub(crate) async fn stream_top(&self) -> Version {
        let mut connection = self.redis_connection().await;
        let mut ask = redis::cmd("XINFO");
        let info: HashMap<String, redis::Value> = ask
            .arg("STREAM")
            .arg(self.key("stream"))
            .query_async(&mut connection)
            .await
            .expect("a stream");
        let last = redis::from_redis_value_ref::<String>(&info["last-generated-id"]);
        let last = last.expect("an id is text");
        last.strip_prefix("0-").and_then(|version| version.parse().ok()).expect("0-<version>")
    }

    /// Runs a command in Redis.
    pub(crate) async fn redis_runs(&self, words: &[&str]) {
        let mut connection = self.redis_connection().await;
        let mut command = redis::cmd(words[0]);
        command.arg(&words[1..]);
        let _: redis::Value = command.query_async(&mut connection).await.expect("Redis obeys");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn stream_recovers_when_flushed_deleted_or_trimmed() {
    let mut world = World::start("stream_recovers_when_flushed_deleted_or_trimmed").await;
    let stream = &world.key("stream");
    let deeds: [&[&str]; 3] = [&["FLUSHALL"], &["DEL", stream], &["XTRIM", stream, "MAXLEN", "0"]];
    for _ in 0..2 {
        for deed in deeds {
            world.redis_runs(deed).await;
            world.recovers("stream emptied").await;
            // Entries that one replica has not read yet are deleted. It is held for less than it waits for an answer of
            // Redis, after which it would ask the journal; so the test does not wait for clients that it holds up.
            let bite = world.unbitten(HEALS).await;
            world.process(1).pause();
            for _ in 0..5 {
                world.client(0).create("while one is held").await;
            }
            world.redis_runs(deed).await;
            for _ in 0..5 {
                world.client(0).create("while one is held").await;
            }
            world.process(1).resume();
            world.recovers_once(bite, "stream emptied while a replica was held").await;
        }
    }
    world.check().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn redis_stops_for_a_while_and_comes_back_empty() {
    let mut world = World::start("redis_stops_for_a_while_and_comes_back_empty").await;
    world.load.reads_must_succeed(true);
    world.load.server_is_away(true);
    world.redis.kill().await;
    world.all_miss_redis().await;
    let p99 = world.delivery_p99().await;
    world.figures.took("Redis away for 10 s", "delivery_p99_ms", p99);
    world.load.server_is_away(false);
    world.redis.restart().await.expect("Redis starts");
    world.recovers("Redis away for 10 s").await;
    world.redis.restart_empty().await.expect("Redis starts");
    world.recovers("Redis restarted empty").await;
    world.load.server_is_away(true);
    world.redis.pause();
    world.load.go_on_for(Duration::from_secs(3)).await;
    world.all_miss_redis().await;
    world.load.server_is_away(false);
    world.redis.resume();
    world.recovers("Redis held for 3 s").await;
    world.check().await;
}

/// It comes back with what it had, and lacks more than a replica may hold for it.
#[tokio::test(flavor = "multi_thread")]
async fn redis_is_away_for_more_writes_than_a_replica_holds() {
    let mut world =
        World::prepared("redis_is_away_for_more_writes_than_a_replica_holds", &[]).await;
    world.begin_with(96, Some(5_000)).await;
    world.redis.kill().await;
    // Each replica holds those of all, since it has read them from the journal.
    let enough = world.load.acknowledged() + 2 * limits::UNAPPENDED_ENTRIES_MAX;
    while world.load.acknowledged() < enough {
        world.load.go_on_for(Duration::from_millis(100)).await;
    }
    world.redis.restart().await.expect("Redis starts");
    world.recovers("Redis away for 16384 writes").await;
    world.check().await;
}

/// Redis comes back with what it had some time ago, and then with entries that the journal never had.
#[tokio::test(flavor = "multi_thread")]
async fn redis_is_rolled_back_to_an_older_state() {
    let mut world = World::start("redis_is_rolled_back_to_an_older_state").await;
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
        world.load.server_is_away(true);
        world.redis.kill().await;
        world.all_miss_redis().await;
        copy(&kept, aside.path());
        world.load.server_is_away(false);
        world.redis.restart().await.expect("Redis starts");
        world.recovers("Redis killed").await;
        world.load.go_on_for(Duration::from_millis(1_500)).await;
        world.load.server_is_away(true);
        world.redis.kill().await;
        std::fs::remove_dir_all(&kept).expect("a directory can be removed");
        copy(aside.path(), &kept);
        world.all_miss_redis().await;
        world.load.server_is_away(false);
        world.redis.restart().await.expect("Redis starts");
        world.recovers("Redis restarted from an older dump").await;
        world.load.go_on_for(Duration::from_secs(1)).await;
    }
    world.check().await;
}
