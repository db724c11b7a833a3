//! Acknowledged writes over HTTP beside transactions of one row: how many, how soon, and how many with two
//! replicas.

use std::sync::Arc;
use std::time::Duration;

use sqlx::{Connection, PgConnection};
use tokio::sync::{Mutex, Semaphore};
use uuid::Uuid;

use crate::client::{Load, Write, clients, load};
use crate::report::{Reach, Report, Row};
use crate::setup::{CONNECTIONS_MAX, Servers, log};
use crate::{Size, quantile};

/// To reach at each number of writers.
const REACH: [f64; 4] = [0.6, 4.0, 12.0, 15.0];
/// The place among the writers at which the time of a write is compared.
const TIMED: usize = 1;

/// A transaction of one row.
const ROW: &str = "INSERT INTO one_row VALUES ($1, $2)";
/// The same, numbered without gaps as a log is.
const NUMBERED: &str = "
    WITH next AS (UPDATE counter SET number = number + 1 RETURNING number)
    INSERT INTO numbered SELECT $1, $2, number FROM next";

/// Connections that writers take in turn.
#[derive(Clone)]
struct Transactions {
    sql: &'static str,
    free: Arc<Semaphore>,
    connections: Arc<Mutex<Vec<PgConnection>>>,
}

impl Write for Transactions {
    async fn write(&mut self) -> bool {
        let _permit = self.free.acquire().await.unwrap();
        let mut connection = self.connections.lock().await.pop().unwrap();
        sqlx::query(self.sql)
            .bind(Uuid::now_v7())
            .bind(&[7_u8; 200][..])
            .execute(&mut connection)
            .await
            .unwrap();
        self.connections.lock().await.push(connection);
        true
    }
}

async fn transactions(servers: &Servers, writers: usize) -> Vec<Transactions> {
    let sql = ROW;
    let mut connections = Vec::new();
    for _ in 0..writers.min(CONNECTIONS_MAX) {
        connections.push(PgConnection::connect(&servers.postgres.url()).await.unwrap());
    }
    let free = Arc::new(Semaphore::new(connections.len()));
    let all = Transactions { sql, free, connections: Arc::new(Mutex::new(connections)) };
    vec![all; writers]
}

/// Writes against transactions, in turns, at each number of writers.
pub(crate) async fn against_transactions(servers: &Servers, size: Size, report: &mut Report) {
    let tables = "CREATE TABLE one_row (id uuid PRIMARY KEY, bytes bytea NOT NULL);
        CREATE TABLE numbered (id uuid PRIMARY KEY, bytes bytea NOT NULL, number bigint NOT NULL UNIQUE);
        CREATE TABLE counter (number bigint NOT NULL) WITH (fillfactor = 10);
        INSERT INTO counter VALUES (0)";
    servers.postgres.sql(tables).unwrap();
    let mut replica = servers.timed().await;
    for (nth, (writers, reach)) in size.writers.into_iter().zip(REACH).enumerate() {
        let mut of_rows = transactions(servers, writers).await;
        let (mut written, mut rows, mut numbered) =
            (Load::default(), Load::default(), Load::default());
        let mut commits = Vec::new();
        for _ in 0..size.turns {
            let (one, back) = load(of_rows, size.warm_up, size.span, None).await;
            rows.append(one);
            of_rows = back;
            of_rows.iter_mut().for_each(|one| one.sql = NUMBERED);
            let (one, back) = load(of_rows, size.warm_up, size.span, None).await;
            numbered.append(one);
            of_rows = back;
            of_rows.iter_mut().for_each(|one| one.sql = ROW);
            // New ones: a replica closes connections that have long been idle.
            let of_http = clients(replica.address, writers).await;
            replica.take();
            written.append(load(of_http, size.warm_up, size.span, None).await.0);
            commits.extend(replica.take());
        }
        let (measured, baseline, unordered) = (written.rate(), numbered.rate(), rows.rate());
        let entries = commits.iter().map(|commit| commit.entries).sum::<usize>();
        log(&format!(
            "{writers} writers: {measured:.0}/s, {} refused, {:.0} entries per commit, which takes {:.1?}; numbered {baseline:.0}/s, unordered {unordered:.0}/s",
            written.refused,
            entries as f64 / commits.len().max(1) as f64,
            quantile(&mut commits.iter().map(|commit| commit.took).collect::<Vec<_>>(), 0.5),
        ));
        report.row(Row {
            what: format!("acknowledged writes/s, {writers} writers"),
            measured: format!("{measured:.0}/s"),
            baseline: format!("{baseline:.0} one-row transactions/s, numbered without gaps"),
            ratio: measured / baseline,
            reach: Some(Reach::AtLeast(reach)),
        });
        report.row(Row {
            what: "the same".to_owned(),
            measured: format!("{measured:.0}/s"),
            baseline: format!("{unordered:.0} one-row transactions/s in no order"),
            ratio: measured / unordered,
            reach: None,
        });
        if written.refused > 0 {
            report.note(format!(
                "At {writers} writers {} of {} requests were answered 202 or 503; they are not counted.",
                written.refused,
                written.refused + written.took.len(),
            ));
        }
        if nth == TIMED {
            let mut took = commits.iter().map(|commit| commit.took).collect::<Vec<_>>();
            times(writers, &mut written.took, &mut took, &mut rows.took, report);
        }
    }
    replica.stop().await;
}

/// Measures how long a write takes beside its commit.
fn times(
    writers: usize,
    written: &mut [Duration],
    commits: &mut [Duration],
    rows: &mut [Duration],
    report: &mut Report,
) {
    let [written, commit, row] = [written, commits, rows].map(|samples| quantile(samples, 0.5));
    report.row(Row {
        what: format!("p50 from request to published on the writer, {writers} writers"),
        measured: format!("{written:.1?}"),
        baseline: format!("{commit:.1?} p50 of the group commit, measured inside"),
        ratio: written.as_secs_f64() / commit.as_secs_f64(),
        reach: Some(Reach::AtMost(2.5)),
    });
    report.row(Row {
        what: "the same".to_owned(),
        measured: format!("{written:.1?}"),
        baseline: format!("{row:.1?} p50 of a one-row transaction on {writers} connections"),
        ratio: written.as_secs_f64() / row.as_secs_f64(),
        reach: None,
    });
}

/// Two replicas against one, in turns.
pub(crate) async fn two_replicas(servers: &Servers, size: Size, report: &mut Report) {
    let writers = size.shared_writers;
    let first = servers.node().await;
    let second = servers.node().await;
    let mut of_first = clients(first.address(), writers).await;
    let mut of_second = clients(second.address(), writers).await;
    let (mut one, mut two) = (Load::default(), Load::default());
    for _ in 0..size.turns {
        let (alone, back) = load(of_first, size.warm_up, size.span, None).await;
        one.append(alone);
        let both = back.into_iter().chain(of_second).collect();
        let (together, mut back) = load(both, size.warm_up, size.span, None).await;
        two.append(together);
        of_first = back.extract_if(.., |client| client.address() == first.address()).collect();
        of_second = back;
    }
    first.stop().await;
    second.stop().await;
    let (measured, baseline) = (two.rate(), one.rate());
    log(&format!("two replicas: {measured:.0}/s in total; one: {baseline:.0}/s"));
    report.row(Row {
        what: format!("two replicas instead of one, writes/s in total, {writers} writers each"),
        measured: format!("{measured:.0}/s"),
        baseline: format!("{baseline:.0}/s with the second replica idle"),
        ratio: measured / baseline,
        reach: Some(Reach::AtLeast(0.7)),
    });
    if two.refused > 0 {
        report
            .note(format!("With two replicas {} requests were answered 202 or 503.", two.refused));
    }
}
