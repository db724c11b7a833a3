//! The stream on private Redis servers: the contract, the one order that racing replicas make, and what
//! becomes of it when Redis forgets, when others write to it, and when it fails.

#![allow(clippy::disallowed_methods, reason = "tests use clocks, chance and tasks as they like")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod connect;
mod faults;
mod foreign;

use std::sync::Arc;
use std::time::{Duration, Instant};

use placard_model::entry::{Chain, Incarnation, Record};
use placard_model::{Timestamp, Version, limits};
use placard_replica::ports::{Appended, Stream, StreamStatus};
use placard_storage::place::Place;
use placard_storage::redis::{Options, RedisStream, Server};
use placard_testkit::contract;
use placard_testkit::servers::redis::RedisServer;
use redis::aio::MultiplexedConnection;
use uuid::Uuid;

/// How long a condition may take to come true.
const DEADLINE: Duration = Duration::from_secs(20);
const JOURNAL: Incarnation =
    Incarnation { journal: Uuid::from_u128(7), database: 5, started: Timestamp::EPOCH };
const STREAM: &str = "{placard}:00000000-0000-0000-0000-000000000007:5:0:stream";
const MARK: &str = "{placard}:00000000-0000-0000-0000-000000000007:5:0:top";

fn connect(server: &RedisServer) -> RedisStream {
    following(&options(server))
}

/// A stream with these options, of the journal of most of these tests.
fn following(options: &Options) -> RedisStream {
    RedisStream::connect(options).unwrap().of(JOURNAL)
}

fn options(server: &RedisServer) -> Options {
    Options::new(Server::Url(server.url().into()))
}

/// A connection past the adapter.
async fn raw(server: &RedisServer) -> MultiplexedConnection {
    let client = redis::Client::open(server.url()).unwrap();
    client.get_multiplexed_async_connection().await.unwrap()
}

/// Runs a command given as words.
async fn run<T: redis::FromRedisValue>(server: &RedisServer, words: &str) -> T {
    let mut words = words.split_whitespace();
    let mut command = redis::cmd(words.next().unwrap());
    words.for_each(|word| {
        command.arg(word);
    });
    command.query_async(&mut raw(server).await).await.unwrap()
}

/// The first `count` records, from version 1.
fn records(count: Version) -> Arc<[Record]> {
    history(count, "an entry")
}

/// As above, of a history with other bytes.
fn history(count: Version, bytes: &'static str) -> Arc<[Record]> {
    let mut chain = Chain::GENESIS;
    let record = |version| {
        chain = chain.next(version, bytes.as_bytes());
        Record { version, chain, bytes: bytes.into() }
    };
    (1..=count).map(record).collect()
}

async fn append(stream: &RedisStream, records: &[Record]) -> Appended {
    stream.append(records.into()).await.unwrap()
}

/// Asks again, until the stream can be used.
async fn append_at_last(stream: &RedisStream, records: &[Record]) -> Appended {
    let since = Instant::now();
    loop {
        match stream.append(records.into()).await {
            Ok(appended) => return appended,
            Err(error) => assert!(since.elapsed() < DEADLINE, "still unavailable: {error:?}"),
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

async fn status(stream: &RedisStream) -> StreamStatus {
    stream.status().await.unwrap()
}

/// Reads from a version to the end.
async fn read_all(stream: &RedisStream, mut after: Version, last: Version) -> Vec<Record> {
    let mut all = Vec::new();
    while after < last {
        let page = stream.read(after, 100).await.unwrap();
        assert!(!page.is_empty(), "nothing after {after}");
        after = page.last().unwrap().version;
        all.extend(page);
    }
    all
}

/// Waits until `clients` clients wait inside Redis.
async fn until_blocked(server: &RedisServer, clients: u64) {
    let since = Instant::now();
    let expected = format!("blocked_clients:{clients}\r\n");
    while !run::<String>(server, "INFO clients").await.contains(&expected) {
        assert!(since.elapsed() < DEADLINE, "there are not {clients} blocked clients");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn redis_keeps_the_streams_contract() {
    let server = RedisServer::start().await.unwrap();
    contract::stream(connect(&server)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn racing_appends_make_one_gapless_order() {
    const LAST: Version = 600;
    let server = RedisServer::start().await.unwrap();
    let all = records(LAST);
    // Each relays all of it, in steps of a different size, and goes back to where the stream ends when the stream says
    // so.
    let relay = async |step: usize| {
        let stream = connect(&server);
        let mut at = 0;
        while at < all.len() {
            let until = all.len().min(at + step);
            match append(&stream, &all[at..until]).await {
                Appended::Done => at += 1 + step / 2,
                Appended::Behind { top } => at = top as usize,
                Appended::Fork => panic!("there is one history"),
            }
        }
        // Nothing was appended twice, and nothing left out.
        assert_eq!(append(&stream, &all[all.len() - step..]).await, Appended::Done);
    };
    tokio::join!(relay(1), relay(3), relay(7));
    let stream = connect(&server);
    assert_eq!(read_all(&stream, 0, LAST).await, all[..]);
    assert_eq!(status(&stream).await.entries, LAST);
}

/// A copy of a database has the identity of the original, and so does one whose server was started again.
#[tokio::test(flavor = "multi_thread")]
async fn two_journals_are_two_streams() {
    let server = RedisServer::start().await.unwrap();
    let one = connect(&server);
    assert_eq!(append(&one, &records(3)).await, Appended::Done);
    let later = Timestamp::EPOCH.saturating_add_micros(1);
    let others = [
        Incarnation { journal: Uuid::from_u128(8), ..JOURNAL },
        Incarnation { database: 6, ..JOURNAL },
        Incarnation { started: later, ..JOURNAL },
    ];
    for (count, journal) in (0..).zip(others) {
        let other = one.of(journal);
        assert_eq!(status(&other).await, StreamStatus::default(), "{journal}");
        assert_eq!(append(&other, &history(4 + count, "different")).await, Appended::Done);
        assert_eq!((status(&one).await.entries, status(&other).await.entries), (3, 4 + count));
        assert_eq!(other.of(JOURNAL).read(0, 10).await.unwrap(), records(3)[..]);
    }
    assert_eq!(append(&one, &records(5)[3..]).await, Appended::Done);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_of_no_journal_is_unavailable() {
    let server = RedisServer::start().await.unwrap();
    let stream = RedisStream::connect(&options(&server)).unwrap();
    assert!(stream.append(records(1)).await.is_err());
    assert!(stream.read(0, 1).await.is_err());
    assert!(stream.status().await.is_err());
    assert!(stream.reset(1, records(1)[0].chain).await.is_err());
    assert!(stream.trim(1, 1, 1).await.is_err());
    assert_eq!(run::<u64>(&server, "DBSIZE").await, 0);
    assert_eq!(append(&stream.of(JOURNAL), &records(1)).await, Appended::Done);
}

/// Each start of PostgreSQL leaves a stream behind.
#[tokio::test(flavor = "multi_thread")]
async fn keys_that_nobody_uses_expire() {
    let server = RedisServer::start().await.unwrap();
    let stream = connect(&server);
    let kept = limits::STREAM_KEPT.as_secs() as i64;
    let expires = async || {
        let ttl = async |key| run::<i64>(&server, &format!("TTL {key}")).await;
        [ttl(STREAM).await, ttl(MARK).await].iter().all(|left| (kept - 60..=kept).contains(left))
    };
    assert_eq!(append(&stream, &records(2)).await, Appended::Done);
    assert!(expires().await);
    assert_eq!(append(&stream, &records(3)[2..]).await, Appended::Done);
    assert!(expires().await);
    for key in [STREAM, MARK] {
        run::<()>(&server, &format!("EXPIRE {key} 5")).await;
    }
    assert!(!expires().await);
    stream.trim(1, 100, 1).await.unwrap();
    assert!(expires().await);
}

/// All that tells is the journal's head, as after a restart of everything, when nothing is written.
#[tokio::test(flavor = "multi_thread")]
async fn an_idle_journal_is_remembered_at_its_place() {
    let server = RedisServer::start().await.unwrap();
    let stream = connect(&server).of(JOURNAL);
    let place = Place::default();
    stream.remember_at(place.clone());
    stream.trim(1, 100, 7).await.unwrap();
    assert_eq!(run::<u64>(&server, "DBSIZE").await, 0, "where it is, is not known yet");
    place.is_at("db-1:5432/ads/public");
    stream.trim(1, 100, 0).await.unwrap();
    assert_eq!(stream.remembered().await.unwrap(), None, "it is empty");
    stream.trim(1, 100, 7).await.unwrap();
    assert_eq!(stream.remembered().await.unwrap(), Some(JOURNAL.journal));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bound_holds_after_every_append() {
    let server = RedisServer::start().await.unwrap();
    let stream = Options { entries_max: Some(10), ..options(&server) };
    let stream = following(&stream);
    let all = records(3_000);
    for part in all.chunks(64) {
        assert_eq!(append(&stream, part).await, Appended::Done);
        assert_eq!(status(&stream).await.entries, 10);
    }
    // More than one script is given.
    let (first, rest) = all.split_at(1);
    stream.reset(3_000, all[2_999].chain).await.unwrap();
    assert_eq!(append(&stream, first).await, Appended::Done);
    assert_eq!(append(&stream, rest).await, Appended::Done);
    let top = Some((3_000, all[2_999].chain));
    assert_eq!(status(&stream).await, StreamStatus { top, entries: 10 });
    assert_eq!(read_all(&stream, 0, 3_000).await, all[2_990..]);
}

#[tokio::test(flavor = "multi_thread")]
async fn append_stops_where_records_are_not_consecutive() {
    let server = RedisServer::start().await.unwrap();
    let stream = connect(&server);
    let mixed = [&records(3)[..], &history(5, "different")[3..]].concat();
    assert_eq!(append(&stream, &mixed).await, Appended::Fork);
    assert_eq!(status(&stream).await.top, Some((3, mixed[2].chain)));
    assert_eq!(append(&stream, &[]).await, Appended::Done);
}

#[tokio::test(flavor = "multi_thread")]
async fn records_below_the_top_are_compared_while_present() {
    let server = RedisServer::start().await.unwrap();
    let stream = connect(&server);
    let (all, other) = (records(5), history(5, "different"));
    assert_eq!(append(&stream, &all).await, Appended::Done);
    assert_eq!(append(&stream, &all[1..3]).await, Appended::Done);
    assert_eq!(append(&stream, &other[1..3]).await, Appended::Fork);
    run::<u64>(&server, &format!("XDEL {STREAM} 0-3")).await;
    assert_eq!(append(&stream, &other[1..3]).await, Appended::Done, "nobody can know");
    assert_eq!(append(&stream, &other[1..]).await, Appended::Fork);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reset_never_takes_what_was_appended_meanwhile() {
    let server = RedisServer::start().await.unwrap();
    let (one, other) = (connect(&server), connect(&server));
    let all = records(2);
    for _ in 0..300 {
        assert_eq!(append(&one, &all[..1]).await, Appended::Done);
        let reset = one.reset(1, all[0].chain);
        let (reset, appended) = tokio::join!(reset, append(&other, &all[1..]));
        reset.unwrap();
        assert_eq!(appended, Appended::Done);
        let top = (2, all[1].chain);
        assert_eq!(status(&one).await.top, Some(top));
        one.reset(top.0, top.1).await.unwrap();
    }
}
