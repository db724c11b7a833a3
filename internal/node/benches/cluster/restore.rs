//! How long a replica takes to come back: from the journal, beside a plain COPY of the same ads; from its
//! checkpoint, beside building an engine of the same ads.

use std::process::{Command as Process, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use placard_engine::Builder;
use placard_model::command::{Command, Request};
use placard_model::entry::FORMAT_LEVEL;
use placard_model::generator::Generator;
use placard_model::{EncodedAd, Timestamp};
use placard_replica::Batch;
use placard_replica::ports::Journal;
use placard_storage::postgres::{Options, PostgresJournal};
use tokio::sync::mpsc;
use uuid::Uuid;

use crate::report::{Reach, Report, Row};
use crate::setup::{Servers, log};
use crate::{Size, quantile};

/// Ads of one transaction.
const BATCH: usize = 512;
/// Chunks of ads that are read ahead.
const CHUNKS: usize = 4;
/// How often a file is looked for.
const PAUSE: Duration = Duration::from_millis(20);

/// What time it is.
fn now() -> Timestamp {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
    Timestamp::from_micros(i64::try_from(now.as_micros()).unwrap()).unwrap()
}

/// Both, on servers of their own, whose journal holds these ads and nothing else.
pub(crate) async fn restores(size: Size, report: &mut Report) {
    let servers = Servers::start().await;
    fill(&servers, size.ads).await;
    let (mut copies, mut restores) = (Vec::new(), Vec::new());
    for _ in 0..size.turns {
        copies.push(copy(&servers).await);
        let (node, took) = servers.node(None).await;
        assert_eq!(node.handle().reader().ads(), size.ads);
        restores.push(took);
        node.stop().await;
    }
    let directory = tempfile::tempdir().unwrap();
    let (node, _) = servers.node(Some(directory.path())).await;
    while !directory.path().join("checkpoint").exists() {
        tokio::time::sleep(PAUSE).await;
    }
    node.stop().await;
    let (mut builds, mut restarts) = (Vec::new(), Vec::new());
    for _ in 0..size.turns {
        builds.push(build(&servers).await);
        let (node, took) = servers.node(Some(directory.path())).await;
        assert_eq!(node.handle().reader().ads(), size.ads);
        assert_eq!(node.handle().state().counts.checkpoints_loaded, 1);
        assert_eq!(node.handle().state().counts.restores.all(), 0);
        restarts.push(took);
        node.stop().await;
    }
    let ads = size.ads;
    let [copy, restore, build, restart] =
        [copies, restores, builds, restarts].map(|mut samples| quantile(&mut samples, 0.5));
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
        "Restores and restarts are the medians of {}, from before the node is started until it is ready.",
        size.turns
    ));
}

/// Has so many generated ads committed.
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
        let batch = Batch {
            requests: vec![Arc::new(request)],
            repeated: false,
            format_level: FORMAT_LEVEL,
        };
        journal.commit(Arc::new(batch)).await.unwrap();
        left -= count;
    }
    // As autovacuum would have by and by.
    servers.postgres.sql("VACUUM ANALYZE ads").unwrap();
    log(&format!("{ads} ads committed in {:.1?}", since.elapsed()));
}

/// A COPY that nobody reads.
async fn copy(servers: &Servers) -> Duration {
    let url = servers.postgres.url();
    let copying = move || {
        let since = Instant::now();
        let copied = Process::new("psql")
            .args(["-Xq", "-c", "COPY (SELECT encoded FROM ads) TO STDOUT (FORMAT binary)"])
            .arg(url)
            .stdout(Stdio::null())
            .status();
        assert!(copied.unwrap().success());
        since.elapsed()
    };
    tokio::task::spawn_blocking(copying).await.unwrap()
}

/// An engine of the journal's ads, which are in memory before it begins.
async fn build(servers: &Servers) -> Duration {
    let url = servers.postgres.url();
    let journal = PostgresJournal::connect(&url, Options::default()).await.unwrap();
    let (sender, mut chunks) = mpsc::channel::<Vec<EncodedAd>>(CHUNKS);
    let received = async {
        let mut all = Vec::new();
        while let Some(chunk) = chunks.recv().await {
            all.extend(chunk);
        }
        all
    };
    let (position, ads) = tokio::join!(journal.snapshot(sender), received);
    let position = position.unwrap();
    let building = move || {
        let now = now();
        let since = Instant::now();
        let mut builder = Builder::default();
        builder.extend(ads).unwrap();
        let engine = builder.finish(position, now).unwrap();
        let took = since.elapsed();
        drop(engine);
        took
    };
    tokio::task::spawn_blocking(building).await.unwrap()
}
