//! Measures the recovery time: how long a cluster takes, from the end of a fault, to be as if there had been no fault.
//! The figures are published (`docs/performance/faults.md`); no test fails because of them.

use std::time::Instant;

use placard_model::Version;
use placard_model::entry::Entry;
use placard_testkit::wait::until;
use sqlx::{Connection, PgConnection};

use crate::world::World;

/// Evidence that a fault was noticed, if its nature does not show it: one of these counters has moved since then.
pub(crate) struct Bite {
    counters: &'static [&'static str],
    before: f64,
}

/// The journal's head and clock, read after the end of the fault.
struct Since {
    head: Version,
    time: String,
}

impl World {
    /// Taken before a fault that one of these counters is to show.
    pub(crate) async fn unbitten(&self, counters: &'static [&'static str]) -> Bite {
        Bite { counters, before: self.sum(counters).await }
    }

    async fn sum(&self, counters: &[&str]) -> f64 {
        let mut sum = 0.0;
        for counter in counters {
            sum += self.counted(counter).await;
        }
        sum
    }

    /// Waits until a fault has been noticed.
    pub(crate) async fn bitten(&self, bite: &Bite) {
        let Bite { counters, before } = bite;
        until(&format!("{counters:?} to move"), async || {
            (self.sum(counters).await > *before).then_some(())
        })
        .await;
    }

    /// Waits until Redis is missed by all: each replica reads the journal instead.
    pub(crate) async fn all_miss_redis(&self) {
        until("all replicas to tail the journal", async || {
            let page = self.json(0, "/api/v1/cluster").await?;
            let members = page["members"].as_array()?;
            let live = members.iter().filter(|member| member["lease_ms"].as_i64() > Some(0));
            let tailing = live.filter(|member| member["tails"] == "journal").count();
            (tailing == self.places.len()).then_some(())
        })
        .await;
    }

    /// Waits until the cluster has recovered, and records how long that took. Call it when a fault has just ended that
    /// needs no evidence, such as a process that was held or killed: the servers accept work, the processes run.
    pub(crate) async fn recovers(&mut self, fault: &'static str) {
        self.recovers_since(Instant::now(), fault).await;
    }

    /// As [`World::recovers`], from a fault that was over as soon as it was done, and is noticed after that.
    pub(crate) async fn recovers_once(&mut self, bite: Bite, fault: &'static str) {
        let ended = Instant::now();
        self.bitten(&bite).await;
        self.recovers_since(ended, fault).await;
    }

    /// As [`World::recovers`], from a fault that has ended then.
    pub(crate) async fn recovers_since(&mut self, ended: Instant, fault: &'static str) {
        let recovered = async {
            self.all_equal_at_the_head().await;
            ended.elapsed()
        };
        let written = async {
            if self.load.is_over() {
                return None;
            }
            self.load.goes_on().await;
            Some(ended.elapsed())
        };
        let (recovered, written) = tokio::join!(recovered, written);
        let writes = written.map_or_else(String::new, |time| format!(", writes after {time:.2?}"));
        eprintln!("{}: after {fault}: recovered in {recovered:.2?}{writes}", self.name);
        self.figures.took(fault, "recovered_ms", recovered);
        if let Some(written) = written {
            self.figures.took(fault, "writes_ms", written);
        }
    }

    /// Waits for one moment at which every replica is ready, has published the journal's head of a moment before, and
    /// has said in the register, since this began, that it is ready and holds what the log says.
    async fn all_equal_at_the_head(&self) {
        let mut journal = Journal { url: self.postgres.url(), connection: None };
        let since = until("the journal", async || journal.since().await).await;
        until("all replicas to be ready, equal and at the head", async || {
            // A replica that shares no stream with the others is never quite at their position.
            let head = if self.is_parted() { since.head } else { journal.since().await?.head };
            for nth in 0..self.places.len() {
                let page = self.json(nth, "/readyz").await?;
                if page["status"] != "ready" || page["version"].as_u64()? < head {
                    return None;
                }
            }
            (journal.equal(&since).await? == self.places.len()).then_some(())
        })
        .await;
    }
}

/// Reads PostgreSQL from outside, over a connection that is made again when it is lost.
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

    /// Returns how many replicas have said since then that they are ready and hold what the log says, at the head of
    /// that time or beyond.
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
