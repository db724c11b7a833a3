//! What is measured in a process of its own, as an operator's replica has one: a process that has measured
//! something else before keeps its memory in another state than a new one has.

use std::io::{Read, Write, stdin, stdout};
use std::path::{Path, PathBuf};
use std::process::{Command as Process, Stdio};
use std::time::{Duration, Instant, SystemTime};

use placard_engine::Builder;
use placard_model::{Encoded, Timestamp};
use placard_replica::ports::Journal;
use placard_storage::postgres::{Options, PostgresJournal};
use tokio::sync::mpsc;

use crate::setup::{self, Servers};

/// Chunks of ads that are read ahead.
const CHUNKS: usize = 4;
/// How often a file is looked for.
const PAUSE: Duration = Duration::from_millis(20);

/// The first argument of such a process; it is not a plausible filter of tests.
const REPLICA: &str = "child:replica";
const BUILD: &str = "child:build";
/// How long a checkpoint may take to be written.
const CHECKPOINT: Duration = Duration::from_secs(60);

/// Returns the current time.
pub(crate) fn now() -> Timestamp {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
    Timestamp::from_micros(i64::try_from(now.as_micros()).unwrap()).unwrap()
}

/// The report of a replica that is ready.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Ready {
    pub(crate) ads: usize,
    pub(crate) restores: u64,
    pub(crate) checkpoints_loaded: u64,
}

/// Starts a replica, and stops it again. Returns what it had to do, and how long it took from before its process was
/// started until it was ready.
pub(crate) fn replica(servers: &Servers, checkpoint: Option<&Path>) -> (Ready, Duration) {
    let since = Instant::now();
    let mut process = Process::new(std::env::current_exe().unwrap())
        .args([REPLICA, &servers.postgres.url(), &servers.redis.url()])
        .args(checkpoint)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut said = [0; 3 * size_of::<u64>()];
    process.stdout.as_mut().unwrap().read_exact(&mut said).unwrap();
    let took = since.elapsed();
    // It stops when its input ends.
    drop(process.stdin.take());
    assert!(process.wait().unwrap().success());
    let [ads, restores, checkpoints_loaded] =
        [0, 8, 16].map(|at| u64::from_le_bytes(said[at..at + 8].try_into().unwrap()));
    (Ready { ads: usize::try_from(ads).unwrap(), restores, checkpoints_loaded }, took)
}

/// Measures how long it takes to build an engine of the journal's ads, which are in memory before it begins.
pub(crate) fn build(servers: &Servers) -> Duration {
    let output = Process::new(std::env::current_exe().unwrap())
        .args([BUILD, &servers.postgres.url()])
        .stderr(Stdio::inherit())
        .output()
        .unwrap();
    assert!(output.status.success());
    Duration::from_nanos(u64::from_le_bytes(output.stdout.as_slice().try_into().unwrap()))
}

/// Does what such a process is for, if this is one.
pub(crate) fn run() -> bool {
    let mut arguments = std::env::args().skip(1);
    match arguments.next().as_deref() {
        Some(REPLICA) => {
            let [postgres, redis] = [(); 2].map(|()| arguments.next().unwrap());
            let checkpoint = arguments.next().map(PathBuf::from);
            setup::runtime().block_on(be_replica(postgres, redis, checkpoint));
            true
        }
        Some(BUILD) => {
            setup::runtime().block_on(be_build(arguments.next().unwrap()));
            true
        }
        _ => false,
    }
}

/// Reports these numbers to the parent process.
fn say(numbers: &[u64]) {
    let bytes: Vec<u8> = numbers.iter().flat_map(|number| number.to_le_bytes()).collect();
    stdout().write_all(&bytes).unwrap();
    stdout().flush().unwrap();
}

async fn be_replica(postgres: String, redis: String, checkpoint: Option<PathBuf>) {
    // The input ends when this replica shall stop, or when its parent process is gone.
    let mut ended = tokio::task::spawn_blocking(|| stdin().read_to_end(&mut Vec::new()));
    let starting = tokio::spawn(setup::node(postgres, redis, checkpoint.clone()));
    let node = tokio::select! {
        node = starting => node.unwrap(),
        _ = &mut ended => std::process::exit(1),
    };
    let counts = node.handle().state().counts;
    let ads = node.handle().reader().ads() as u64;
    say(&[ads, counts.restores.all(), counts.checkpoints_loaded]);
    ended.await.unwrap().unwrap();
    let written = async {
        while checkpoint.as_deref().is_some_and(|path| !path.join("checkpoint").exists()) {
            tokio::time::sleep(PAUSE).await;
        }
    };
    tokio::time::timeout(CHECKPOINT, written).await.expect("a checkpoint is written");
    node.stop().await.unwrap();
}

async fn be_build(postgres: String) {
    let journal = PostgresJournal::connect(&postgres, Options::default()).await.unwrap();
    let (sender, mut chunks) = mpsc::channel::<Vec<Encoded>>(CHUNKS);
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
    let took = tokio::task::spawn_blocking(building).await.unwrap();
    say(&[u64::try_from(took.as_nanos()).unwrap()]);
}
