//! Measures the compare-and-append against a bare XADD, and the wait of a reader behind the adapter against a bare
//! XREAD: both on one private Redis, turn by turn, so that only the ratios matter. `cargo bench` measures; as a test it
//! runs small.

#![allow(clippy::disallowed_methods, reason = "benches use clocks, chance and tasks as they like")]
#![allow(clippy::print_stdout, reason = "a bench tells what it measures")]
#![allow(clippy::unwrap_used, reason = "a bench that cannot go on has failed")]

use std::sync::Arc;
use std::time::{Duration, Instant};

use placard_model::Timestamp;
use placard_model::entry::{Chain, Incarnation, Record};
use placard_replica::ports::{Appended, Stream};
use placard_storage::redis::{Options, RedisStream, Server};
use placard_testkit::servers::redis::RedisServer;
use redis::aio::MultiplexedConnection;
use tokio::sync::mpsc;
use uuid::Uuid;

/// Bytes of an entry that creates a usual ad.
const ENTRY_BYTES: usize = 194;
/// Entries kept in either stream, as a trimmed one would.
const KEPT: u64 = 16_384;
/// Pause before each delivery, so that the readers wait.
const PAUSE: Duration = Duration::from_micros(500);

#[tokio::main]
async fn main() {
    let full = std::env::args().any(|argument| argument == "--bench");
    let rounds = if full { 3_000 } else { 20 };
    let server = RedisServer::start().await.unwrap();
    let options =
        Options { entries_max: Some(KEPT), ..Options::new(Server::Url(server.url().into())) };
    let journal = Incarnation { journal: Uuid::nil(), database: 0, started: Timestamp::EPOCH };
    let stream = RedisStream::connect(&options).unwrap().of(journal);
    let client = redis::Client::open(server.url()).unwrap();
    let mut log = Log { top: 0, chain: Chain::GENESIS };
    let mut bare = Bare(client.get_multiplexed_async_connection().await.unwrap());
    for count in [1, 64, 512] {
        let rounds = (rounds / count).max(rounds / 20).max(1);
        let (mut with, mut without) = (Vec::new(), Vec::new());
        for _ in 0..rounds {
            let records = log.next(count);
            with.push(append(&stream, &records).await);
            without.push(bare.append(&records).await);
        }
        report(&format!("append of {count}"), with, without);
    }
    let config = redis::AsyncConnectionConfig::new().set_response_timeout(None);
    let reader = client.get_multiplexed_async_connection_with_config(&config).await.unwrap();
    deliver(&stream, &mut bare, &mut log, reader, rounds).await;
}

/// The journal's part.
struct Log {
    top: u64,
    chain: Chain,
}

impl Log {
    fn next(&mut self, count: usize) -> Arc<[Record]> {
        let record = |_| {
            self.top += 1;
            let bytes = vec![self.top as u8; ENTRY_BYTES];
            self.chain = self.chain.next(self.top, &bytes);
            Record { version: self.top, chain: self.chain, bytes: bytes.into() }
        };
        (0..count).map(record).collect()
    }
}

/// A stream that is appended to without comparing: one pipeline of XADD, with the same fields.
struct Bare(MultiplexedConnection);

impl Bare {
    async fn append(&mut self, records: &[Record]) -> Duration {
        let since = Instant::now();
        let mut adds = redis::pipe();
        for record in records {
            let id = format!("0-{}", record.version);
            adds.cmd("XADD").arg("bare").arg("MAXLEN").arg("=").arg(KEPT).arg(id);
            adds.arg("chain").arg(&record.chain.0[..]).arg("entry").arg(&record.bytes[..]).ignore();
        }
        adds.query_async::<()>(&mut self.0).await.unwrap();
        since.elapsed()
    }
}

async fn append(stream: &RedisStream, records: &Arc<[Record]>) -> Duration {
    let since = Instant::now();
    assert_eq!(stream.append(Arc::clone(records)).await.unwrap(), Appended::Done);
    since.elapsed()
}

/// From the beginning of an append of one record to its arrival at a reader that waits.
async fn deliver(
    stream: &RedisStream,
    bare: &mut Bare,
    log: &mut Log,
    mut connection: MultiplexedConnection,
    rounds: usize,
) {
    let after = log.top;
    let (arrived, mut arrivals) = mpsc::channel(1);
    let (bare_arrived, mut bare_arrivals) = mpsc::channel(1);
    let reading = tokio::spawn({
        let stream = stream.clone();
        async move {
            let mut after = after;
            while let Ok(read) = stream.read(after, 1_024).await {
                let Some(last) = read.last() else { continue };
                after = last.version;
                if arrived.send(Instant::now()).await.is_err() {
                    return;
                }
            }
        }
    });
    let bare_reading = tokio::spawn(async move {
        let mut after = after;
        loop {
            let mut read = redis::cmd("XREAD");
            read.arg("COUNT").arg(1_024).arg("BLOCK").arg(900).arg("STREAMS").arg("bare");
            let read = read.arg(format!("0-{after}")).query_async::<redis::Value>(&mut connection);
            if read.await.unwrap() == redis::Value::Nil {
                continue;
            }
            after += 1;
            if bare_arrived.send(Instant::now()).await.is_err() {
                return;
            }
        }
    });
    let (mut with, mut without) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        let records = log.next(1);
        tokio::time::sleep(PAUSE).await;
        let since = Instant::now();
        append(stream, &records).await;
        with.push(arrivals.recv().await.unwrap() - since);
        tokio::time::sleep(PAUSE).await;
        let since = Instant::now();
        bare.append(&records).await;
        without.push(bare_arrivals.recv().await.unwrap() - since);
    }
    reading.abort();
    bare_reading.abort();
    report("delivery of 1", with, without);
}

fn report(what: &str, mut with: Vec<Duration>, mut without: Vec<Duration>) {
    with.sort();
    without.sort();
    let at = |all: &[Duration], percent: usize| all[(all.len() - 1) * percent / 100];
    for percent in [50, 99] {
        let (with, without) = (at(&with, percent), at(&without, percent));
        let ratio = with.as_secs_f64() / without.as_secs_f64();
        println!("{what:<14} p{percent}  {with:>9.1?}  bare {without:>9.1?}  {ratio:.2}x");
    }
}
