//! Measures the PostgreSQL journal against PostgreSQL itself, on a private server with durable settings: a commit of
//! one ad and of 512 against a transaction of one row, and a snapshot against a plain COPY.
//! `cargo bench --package placard-storage` measures; `cargo test` runs it small.

#![allow(clippy::disallowed_methods, reason = "benches use clocks, chance and tasks as they like")]
#![allow(clippy::print_stdout, reason = "a bench tells what it measures")]
#![allow(clippy::unwrap_used, reason = "a bench that cannot go on has failed")]

use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use placard_model::Encoded;
use placard_replica::ports::Journal;
use placard_storage::postgres::{Options, PostgresJournal};
use placard_testkit::contract;
use placard_testkit::requests::{create, request};
use placard_testkit::servers::postgres::PostgresServer;
use sqlx::{Connection, PgConnection};
use tokio::sync::mpsc;
use uuid::Uuid;

#[tokio::main]
async fn main() {
    let full = std::env::args().any(|argument| argument == "--bench");
    let (rounds, ads) = if full { (400, 1_000_000) } else { (5, 2_000) };
    let server = PostgresServer::start().await.unwrap();
    let journal = PostgresJournal::connect(&server.url(), Options::default()).await.unwrap();
    commits(&server, &journal, rounds).await;
    committers(&server, rounds).await;
    snapshots(&server, &journal, ads).await;
}

/// Half of the samples took no longer than this.
fn median(mut samples: Vec<Duration>) -> Duration {
    samples.sort_unstable();
    samples[samples.len() / 2]
}

/// In turns, so that a change of the disk's pace is everybody's.
async fn commits(server: &PostgresServer, journal: &PostgresJournal, rounds: u128) {
    let mut connection = PgConnection::connect(&server.url()).await.unwrap();
    server.sql("CREATE TABLE one_row (id uuid PRIMARY KEY, bytes bytea NOT NULL)").unwrap();
    let (mut one_row, mut one, mut many) = (Vec::new(), Vec::new(), Vec::new());
    let bytes = vec![7_u8; 200];
    for round in 1..=rounds {
        let since = Instant::now();
        sqlx::query("INSERT INTO one_row VALUES ($1, $2)")
            .bind(Uuid::now_v7())
            .bind(&bytes)
            .execute(&mut connection)
            .await
            .unwrap();
        one_row.push(since.elapsed());
        for (batch, samples) in [(1, &mut one), (512, &mut many)] {
            let requests = (0..batch).map(|nth| {
                let id = (round << 32) + (batch << 16) + nth;
                Arc::new(request(Uuid::now_v7().as_u128(), vec![create(id, "a title")]))
            });
            let batch = Arc::new(contract::batch(requests.collect()));
            let since = Instant::now();
            journal.commit(batch).await.unwrap();
            samples.push(since.elapsed());
        }
    }
    let (one_row, one, many) = (median(one_row), median(one), median(many));
    let times = |time: Duration| time.as_secs_f64() / one_row.as_secs_f64();
    println!("transaction of one row   p50 {one_row:>10.1?}");
    println!("commit of one ad         p50 {one:>10.1?}  {:.2} x", times(one));
    println!("commit of 512 ads        p50 {many:>10.1?}  {:.2} x", times(many));
}

/// The same number of ads in batches of 256, committed by one replica and by two; also the longest that any
/// of the batches took.
async fn committers(server: &PostgresServer, batches: u128) {
    let mut rates = Vec::new();
    for count in [1, 2] {
        let since = Instant::now();
        let mut tasks = tokio::task::JoinSet::new();
        for _ in 0..count {
            let url = server.url();
            tasks.spawn(async move {
                let journal = PostgresJournal::connect(&url, Options::default()).await.unwrap();
                let mut longest = Duration::ZERO;
                for _ in 0..batches / count {
                    let ids = std::iter::repeat_with(|| Uuid::now_v7().as_u128()).take(256);
                    let requests =
                        ids.map(|id| Arc::new(request(id, vec![create(id, "a title")]))).collect();
                    let since = Instant::now();
                    journal.commit(Arc::new(contract::batch(requests))).await.unwrap();
                    longest = longest.max(since.elapsed());
                }
                longest
            });
        }
        let longest = tasks.join_all().await.into_iter().max().unwrap_or_default();
        let rate = (batches * 256) as f64 / since.elapsed().as_secs_f64();
        rates.push(rate);
        println!("{count} committer(s): {rate:>10.0} ads/s, longest commit {longest:.1?}");
    }
    println!("two instead of one: {:.2} x", rates[1] / rates[0]);
}

async fn snapshots(server: &PostgresServer, journal: &PostgresJournal, ads: usize) {
    let fill = format!(
        "TRUNCATE ads; INSERT INTO ads
         SELECT gen_random_uuid(), n, now(), now(), now(), 'a title', decode(repeat(md5(n::text), 16), 'hex')
           FROM generate_series(1, {ads}) AS n; VACUUM ANALYZE ads"
    );
    for statement in fill.split(';') {
        server.sql(statement).unwrap();
    }
    let (mut copies, mut snapshots) = (Vec::new(), Vec::new());
    for _ in 0..3 {
        let since = Instant::now();
        let copied = Command::new("psql")
            .args(["-Xq", "-c", "COPY (SELECT encoded FROM ads) TO STDOUT (FORMAT binary)"])
            .arg(server.url())
            .stdout(Stdio::null())
            .status();
        assert!(copied.unwrap().success());
        copies.push(since.elapsed());
        let since = Instant::now();
        let (sender, mut chunks) = mpsc::channel::<Vec<Encoded>>(4);
        let received = async {
            let mut count = 0;
            while let Some(chunk) = chunks.recv().await {
                count += chunk.len();
            }
            count
        };
        let (position, count) = tokio::join!(journal.snapshot(sender), received);
        position.unwrap();
        assert_eq!(count, ads);
        snapshots.push(since.elapsed());
    }
    let (copy, snapshot) = (median(copies), median(snapshots));
    let ratio = snapshot.as_secs_f64() / copy.as_secs_f64();
    println!("COPY of {ads} ads        {copy:>10.1?}");
    println!("snapshot of {ads} ads    {snapshot:>10.1?}  {ratio:.2} x");
}
