//! How long a replica takes to come back: from the journal, beside a plain COPY of the same ads; from its
//! checkpoint, beside building an engine of the same ads.

use std::path::Path;
use std::process::{Command as Process, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use placard_model::command::{Command, Request};
use placard_model::generator::Generator;
use placard_replica::ports::Journal;
use placard_storage::postgres::{Options, PostgresJournal};
use placard_testkit::contract::batch;
use uuid::Uuid;

use crate::child::{self, Ready, now};
use crate::report::{Reach, Report, Row};
use crate::setup::{Servers, log};
use crate::{Size, quantile};

/// Ads of one transaction.
const BATCH: usize = 512;

/// Both, on servers of their own, whose journal holds these ads and nothing else.
pub(crate) async fn restores(size: Size, report: &mut Report) {
    let servers = Servers::start().await;
    fill(&servers, size.ads).await;
    let directory = tempfile::tempdir().unwrap();
    let checkpoint = directory.path().to_owned();
    // The rest waits for processes.
    let measured = tokio::task::spawn_blocking(move || measure(&servers, size, &checkpoint));
    let medians = measured.await.unwrap().map(|mut samples| quantile(&mut samples, 0.5));
    let [copy, restore, build, restart] = medians;
    let ads = size.ads;
    log(&format!(
        "restore {restore:.1?}, COPY {copy:.1?}; restart {restart:.1?}, build {build:.1?}"
    ));
    report.row(Row {
        what: format!("restore of {ads} ads from PostgreSQL, until ready"),
        measured: format!("{restore:.1?}"),
        baseline: format!("{copy:.1?} COPY of the same rows to nowhere"),
        ratio: restore.as_secs_f64() / copy.as_secs_f64(),
        reach: Some(Reach::AtMost(2.5)),
    });
    report.row(Row {
        what: format!("restart from a checkpoint of {ads} ads, until ready"),
        measured: format!("{restart:.1?}"),
        baseline: format!("{build:.1?} building an engine of the same ads in memory"),
        ratio: restart.as_secs_f64() / build.as_secs_f64(),
        reach: Some(Reach::AtMost(1.5)),
    });
    report.note(format!(
        "Restores, restarts and what they are compared with are the medians of {}, each in a process of its own; \
         restores and restarts from before the process is started until the replica is ready.",
        size.turns
    ));
}

/// Commits `ads` generated ads.
async fn fill(servers: &Servers, ads: usize) {
    let since = Instant::now();
    let url = servers.postgres.url();
    let journal = PostgresJournal::connect(&url, Options::default()).await.unwrap();
    let mut specs = Generator::new(7, now());
    let mut left = ads;
    while left > 0 {
        let count = left.min(BATCH);
        let create = |spec| Command::Create { id: Uuid::now_v7(), spec };
        let commands = specs.by_ref().take(count).map(create).collect();
        let id = Uuid::new_v4();
        let request =
            Request { id, principal: String::new(), idempotency: None, trace: None, commands };
        journal.commit(Arc::new(batch(vec![Arc::new(request)]))).await.unwrap();
        left -= count;
    }
    // As autovacuum would have by and by.
    servers.postgres.sql("VACUUM ANALYZE ads").unwrap();
    log(&format!("{ads} ads committed in {:.1?}", since.elapsed()));
}

/// Copies, restores, builds and restarts, in turns.
fn measure(servers: &Servers, size: Size, checkpoint: &Path) -> [Vec<Duration>; 4] {
    let restored = Ready { ads: size.ads, restores: 1, checkpoints_loaded: 0 };
    let restarted = Ready { ads: size.ads, restores: 0, checkpoints_loaded: 1 };
    let replica = |checkpoint, expected: &Ready| {
        let (ready, took) = child::replica(servers, checkpoint);
        assert_eq!(ready, *expected);
        took
    };
    // It leaves the checkpoint.
    replica(Some(checkpoint), &restored);
    let mut samples = <[Vec<Duration>; 4]>::default();
    for _ in 0..size.turns {
        samples[0].push(copy(servers));
        samples[1].push(replica(None, &restored));
    }
    for _ in 0..size.turns {
        samples[2].push(child::build(servers));
        samples[3].push(replica(Some(checkpoint), &restarted));
    }
    samples
}

/// Runs a COPY and discards its output.
fn copy(servers: &Servers) -> Duration {
    let since = Instant::now();
    let copied = Process::new("psql")
        .args(["-Xq", "-c", "COPY (SELECT encoded FROM ads) TO STDOUT (FORMAT binary)"])
        .arg(servers.postgres.url())
        .stdout(Stdio::null())
        .status();
    assert!(copied.unwrap().success());
    since.elapsed()
}
