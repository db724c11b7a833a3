//! From the commit on one replica to the publication on another, beside a bare XADD to a blocked XREAD: between
//! idle replicas, turn by turn, and beside a load of single-ad requests.

use std::time::{Duration, Instant};

use placard_model::Version;
use placard_replica::Handle;
use redis::aio::MultiplexedConnection;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::client::{Client, clients, load};
use crate::report::{Reach, Report, Row};
use crate::setup::{Commit, Servers, log};
use crate::{Size, quantile};

/// Pause before each delivery, so that the readers wait.
const PAUSE: Duration = Duration::from_millis(2);
/// Entries kept in the bare stream, as a trimmed one would.
const KEPT: u64 = 16_384;
/// Publications between two looks at them.
const PUBLICATIONS: usize = 65_536;
/// Connections that the load comes from.
const CONNECTIONS: usize = 64;
/// A rate counts as sustained if this part of it was reached.
const SUSTAINED: f64 = 0.97;
/// What is tried next if it was not.
const LOWER: f64 = 0.8;
/// How long to wait for what must come.
const DEADLINE: Duration = Duration::from_secs(10);

/// A stream of its own, one that appends to it, and one that waits for what is appended.
struct Bare {
    connection: MultiplexedConnection,
    added: u64,
    arrivals: mpsc::Receiver<Instant>,
    reading: JoinHandle<()>,
}

impl Bare {
    async fn start(servers: &Servers) -> Self {
        let client = redis::Client::open(servers.redis.url()).unwrap();
        let connection = client.get_multiplexed_async_connection().await.unwrap();
        let config = redis::AsyncConnectionConfig::new().set_response_timeout(None);
        let mut reader =
            client.get_multiplexed_async_connection_with_config(&config).await.unwrap();
        let (arrived, arrivals) = mpsc::channel(1);
        let reading = tokio::spawn(async move {
            let mut after = 0;
            loop {
                let mut read = redis::cmd("XREAD");
                read.arg("BLOCK").arg(900).arg("STREAMS").arg("bare").arg(format!("0-{after}"));
                if read.query_async::<redis::Value>(&mut reader).await.unwrap() == redis::Value::Nil
                {
                    continue;
                }
                after += 1;
                if arrived.send(Instant::now()).await.is_err() {
                    return;
                }
            }
        });
        Self { connection, added: 0, arrivals, reading }
    }

    /// From the beginning of an append to its arrival.
    async fn deliver(&mut self) -> Duration {
        self.added += 1;
        let mut add = redis::cmd("XADD");
        add.arg("bare").arg("MAXLEN").arg("=").arg(KEPT).arg(format!("0-{}", self.added));
        add.arg("chain").arg(&[7_u8; 32][..]).arg("entry").arg(&[7_u8; 194][..]);
        let since = Instant::now();
        add.query_async::<()>(&mut self.connection).await.unwrap();
        self.arrivals.recv().await.unwrap() - since
    }
}

impl Drop for Bare {
    fn drop(&mut self) {
        self.reading.abort();
    }
}

/// Samples that were measured in the same run.
#[derive(Default)]
struct Samples {
    published: Vec<Duration>,
    bare: Vec<Duration>,
}

impl Samples {
    fn report(mut self, when: &str, most: f64, report: &mut Report) -> Duration {
        let of = |samples: &mut [Duration]| (quantile(samples, 0.5), quantile(samples, 0.99));
        let (published_p50, published) = of(&mut self.published);
        let (bare_p50, bare) = of(&mut self.bare);
        log(&format!(
            "{when}: published p50 {published_p50:.1?} p99 {published:.1?} of {}; bare p50 {bare_p50:.1?} p99 {bare:.1?} of {}",
            self.published.len(),
            self.bare.len(),
        ));
        report.row(Row {
            what: format!("p99 from commit to published on another replica, {when}"),
            measured: format!("{published:.1?} (p50 {published_p50:.1?})"),
            baseline: format!("{bare:.1?} (p50 {bare_p50:.1?}) XADD to a blocked XREAD, {when}"),
            ratio: published.as_secs_f64() / bare.as_secs_f64(),
            reach: Some(Reach::AtMost(most)),
        });
        published
    }
}

/// When a replica published which version, as its waiters learn it.
#[derive(Debug, Clone, Copy)]
struct Publication {
    version: Version,
    at: Instant,
}

async fn watch(handle: Handle, seen: mpsc::Sender<Publication>) {
    let mut version = handle.reader().published().version;
    loop {
        if handle.published(version + 1, DEADLINE).await {
            let at = Instant::now();
            version = handle.reader().published().version;
            // If the channel is full, the bench has not asked for a while.
            let _ = seen.try_send(Publication { version, at });
        }
    }
}

/// For each commit, how much later its last entry was published.
async fn lags(commits: &[Commit], seen: &mut mpsc::Receiver<Publication>) -> Vec<Duration> {
    let mut lags = Vec::with_capacity(commits.len());
    let mut last: Option<Publication> = None;
    for commit in commits {
        while last.is_none_or(|last| last.version < commit.version) {
            let next = tokio::time::timeout(DEADLINE, seen.recv()).await;
            last = next.expect("a commit is published elsewhere");
        }
        lags.extend(last.map(|last| last.at.saturating_duration_since(commit.at)));
    }
    lags
}

/// Both.
pub(crate) async fn deliveries(servers: &Servers, size: Size, report: &mut Report) {
    let mut writer = servers.timed().await;
    let other = servers.node().await;
    let mut bare = Bare::start(servers).await;
    let (seen, mut publications) = mpsc::channel(PUBLICATIONS);
    let watching = other.spawn(watch(other.handle().clone(), seen));
    let mut client = Client::connect(writer.address).await;
    let mut idle = Samples::default();
    let warm_up = size.deliveries / 10;
    for nth in 0..size.deliveries + warm_up {
        tokio::time::sleep(PAUSE).await;
        assert!(client.create().await, "not acknowledged");
        tokio::time::sleep(PAUSE).await;
        let took = bare.deliver().await;
        let published = lags(&writer.take(), &mut publications).await;
        if nth >= warm_up {
            idle.published.extend(published);
            idle.bare.push(took);
        }
    }
    let bare_idle = quantile(&mut idle.bare, 0.99);
    idle.report("idle", 2.0, report);

    let mut clients = clients(writer.address, CONNECTIONS).await;
    let (mut rate, span) = (size.rate, size.span * size.turns as u32);
    let (loaded, reached) = loop {
        let (probe, back) = load(clients, size.warm_up, size.span, Some(rate)).await;
        clients = back;
        log(&format!("at {rate:.0}/s: {:.0}/s", probe.rate()));
        if probe.rate() < rate * SUSTAINED && rate > 100.0 {
            rate *= LOWER;
            continue;
        }
        // Work that a probe has left behind must not count.
        tokio::time::sleep(size.warm_up).await;
        writer.take();
        let begin = Instant::now() + size.warm_up;
        let end = begin + span;
        let delivering = async {
            let mut took = Vec::new();
            while Instant::now() < end {
                tokio::time::sleep(PAUSE).await;
                let one = bare.deliver().await;
                if Instant::now() >= begin {
                    took.push(one);
                }
            }
            took
        };
        let loading = load(clients, size.warm_up, span, Some(rate));
        let (bare, (written, back)) = tokio::join!(delivering, loading);
        let mut commits = writer.take();
        commits.retain(|commit| commit.at >= begin);
        let samples = Samples { published: lags(&commits, &mut publications).await, bare };
        clients = back;
        break (samples, written.rate());
    };
    drop(clients);
    if rate < size.rate {
        report.note(format!(
            "{:.0} requests/s could not be sustained beside two replicas, both servers and the load on these \
             cores: the load was lowered to {rate:.0}/s.",
            size.rate
        ));
    }
    let published = loaded.report(&format!("at {reached:.0} requests/s"), 5.0, report);
    report.row(Row {
        what: "the same".to_owned(),
        measured: format!("{published:.1?}"),
        baseline: format!("{bare_idle:.1?} XADD to a blocked XREAD, idle"),
        ratio: published.as_secs_f64() / bare_idle.as_secs_f64(),
        reach: None,
    });
    report.note(
        "A delivery begins when the writer's commit has returned, and ends when who waits on the other replica \
         for the commit's last entry is told; there is one sample per commit."
            .to_owned(),
    );
    drop(bare);
    watching.abort();
    writer.stop().await;
    other.stop().await;
}
