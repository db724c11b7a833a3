//! How long a cluster takes, from the moment at which a fault ends, to be as if there had been none. Measured and
//! published (`docs/performance/faults.md`); no test fails because of it.

use std::fmt::Write;
use std::path::Path;
use std::time::{Duration, Instant};

use placard_model::Version;
use placard_model::entry::Entry;
use placard_testkit::wait::until;
use sqlx::{Connection, PgConnection};

use crate::world::World;

/// What followed the end of a fault, each since then.
#[derive(Debug)]
pub(crate) struct Recovery {
    fault: &'static str,
    /// Every replica was ready, with the head that the journal had a moment before.
    ready: Duration,
    /// Every replica had said so in the register, with the chain and the digest that the log has there: up to a
    /// head poll later.
    equal: Duration,
    /// Another twenty writes were acknowledged; `None` if nobody wrote.
    written: Option<Duration>,
}

/// The journal's head and clock, read after the end of the fault.
struct Since {
    head: Version,
    time: String,
}

impl World {
    /// A fault has just ended: the servers accept work, the processes run. Waits until the cluster has recovered
    /// from it, and writes down how long that took.
    pub(crate) async fn recovers(&mut self, fault: &'static str) {
        self.recovers_since(Instant::now(), fault).await;
    }

    /// As [`World::recovers`], from a fault that has ended then.
    pub(crate) async fn recovers_since(&mut self, ended: Instant, fault: &'static str) {
        let ready = async {
            self.all_at_the_head().await;
            ended.elapsed()
        };
        let equal = async {
            self.all_equal().await;
            ended.elapsed()
        };
        let written = async {
            if self.load.is_over() {
                return None;
            }
            self.load.goes_on().await;
            Some(ended.elapsed())
        };
        assert!(!fault.contains(','), "{fault}: it becomes a field of comma-separated values");
        let (ready, equal, written) = tokio::join!(ready, equal, written);
        let test = self.name;
        let writes = written.map_or_else(String::new, |time| format!(", writes after {time:.2?}"));
        eprintln!("{test}: after {fault}: ready in {ready:.2?}, equal in {equal:.2?}{writes}");
        self.recoveries.push(Recovery { fault, ready, equal, written });
    }

    async fn all_at_the_head(&self) {
        let mut journal = Journal { url: self.postgres.url(), connection: None };
        let first = until("the journal", async || journal.since().await).await.head;
        until("all replicas to be ready and at the head", async || {
            // Who shares no stream with the others is never quite where they are.
            let head = if self.is_parted() { first } else { journal.since().await?.head };
            for nth in 0..self.places.len() {
                let page = self.json(nth, "/readyz").await?;
                if page["status"] != "ready" || page["version"].as_u64()? < head {
                    return None;
                }
            }
            Some(())
        })
        .await;
    }

    async fn all_equal(&self) {
        let mut journal = Journal { url: self.postgres.url(), connection: None };
        let since = until("the journal", async || journal.since().await).await;
        until("all replicas to be equal", async || {
            (journal.equal(&since).await? == self.places.len()).then_some(())
        })
        .await;
    }

    /// Leaves what was measured where `scripts/faults` looks for it.
    pub(crate) fn publish_recoveries(&self) {
        let test = self.name;
        assert!(
            !self.recoveries.is_empty(),
            "{test} has not measured how long it takes to recover"
        );
        let mut lines = String::new();
        let ms = |time: Duration| format!("{:.0}", time.as_secs_f64() * 1e3);
        for Recovery { fault, ready, equal, written } in &self.recoveries {
            let written = written.map(ms).unwrap_or_default();
            writeln!(lines, "{test},{fault},{},{},{written}", ms(*ready), ms(*equal))
                .expect("a string can be written to");
        }
        let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join("faults");
        std::fs::create_dir_all(&directory).expect("a directory can be made");
        std::fs::write(directory.join(format!("{test}.csv")), lines).expect("it can be written");
    }
}

/// A look at PostgreSQL from outside, over a connection that is made again when it is lost.
struct Journal {
    url: String,
    connection: Option<PgConnection>,
}

impl Journal {
    async fn connected(&mut self) -> Option<PgConnection> {
        match self.connection.take() {
            Some(connection) => Some(connection),
            None => PgConnection::connect(&self.url).await.ok(),
        }
    }

    async fn since(&mut self) -> Option<Since> {
        let mut connection = self.connected().await?;
        let row: (i64, String) =
            sqlx::query_as("SELECT version, clock_timestamp()::text FROM head")
                .fetch_one(&mut connection)
                .await
                .ok()?;
        self.connection = Some(connection);
        Some(Since { head: row.0.unsigned_abs(), time: row.1 })
    }

    /// How many replicas have said since then that they are ready and hold what the log says, at the head of then
    /// or beyond.
    async fn equal(&mut self, since: &Since) -> Option<usize> {
        let mut connection = self.connected().await?;
        let rows: Vec<(Vec<u8>, Vec<u8>)> = sqlx::query_as(
            "SELECT published_digest, bytes FROM replicas
               JOIN log ON version = published_version AND chain = published_chain
              WHERE state = 'ready' AND seen_at > $1::timestamptz AND published_version >= $2",
        )
        .bind(&since.time)
        .bind(since.head as i64)
        .fetch_all(&mut connection)
        .await
        .ok()?;
        self.connection = Some(connection);
        let equal = |(digest, bytes): &(Vec<u8>, Vec<u8>)| {
            let entry = Entry::decode(&bytes.clone().into()).expect("an entry can be decoded");
            entry.digest.0.to_be_bytes().as_slice() == digest
        };
        Some(rows.iter().filter(|row| equal(row)).count())
    }
}
