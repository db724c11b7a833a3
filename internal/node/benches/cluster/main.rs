//! The figures of a cluster on one machine, each beside what PostgreSQL, Redis or the engine itself takes for the
//! same in the same run: `scripts/bench-cluster`. It writes `docs/performance/cluster.md` and `cluster.csv`; as a
//! test it runs small and writes nothing. The load comes from this process too, so that it shares the cores; what is
//! restored is so in processes of their own.
//! `PART=writes`, `two`, `delivery` or `restore` measures only that, and writes nothing; `TURNS` sets how often each
//! is measured.

#![allow(clippy::disallowed_methods, reason = "benches use clocks, chance and tasks as they like")]
#![allow(clippy::print_stderr, clippy::print_stdout, reason = "a bench tells what it measures")]
#![allow(clippy::unwrap_used, reason = "a bench that cannot go on has failed")]

mod child;
mod client;
mod delivery;
mod report;
mod restore;
mod setup;
mod writes;

use std::time::{Duration, Instant};

use report::Report;
use setup::Servers;

/// The program's.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// How much is measured.
#[derive(Debug, Clone, Copy)]
struct Size {
    /// Not counted, at the beginning of each load.
    warm_up: Duration,
    /// Counted, of each load.
    span: Duration,
    /// Turns between what is measured and what it is compared with.
    turns: usize,
    /// Concurrent writers.
    writers: [usize; 4],
    /// Writers of each replica when two are compared with one.
    shared_writers: usize,
    /// Deliveries between idle replicas.
    deliveries: usize,
    /// Single-ad requests per second beside which deliveries are measured.
    rate: f64,
    /// Ads to restore.
    ads: usize,
}

const FULL: Size = Size {
    warm_up: Duration::from_millis(400),
    span: Duration::from_millis(1_000),
    turns: 7,
    writers: [1, 16, 256, 2_000],
    shared_writers: 256,
    deliveries: 1_000,
    rate: 5_000.0,
    ads: 200_000,
};

/// The size when the bench runs as a test.
const SMALL: Size = Size {
    warm_up: Duration::from_millis(20),
    span: Duration::from_millis(60),
    turns: 1,
    writers: [1, 4, 8, 16],
    shared_writers: 8,
    deliveries: 20,
    rate: 200.0,
    ads: 10_000,
};

fn main() {
    if child::run() {
        return;
    }
    let full = std::env::args().any(|argument| argument == "--bench");
    let mut size = if full { FULL } else { SMALL };
    if let (true, Ok(ads)) = (full, std::env::var("ADS")) {
        size.ads = ads.parse().expect("ADS is a number of ads");
    }
    if let (true, Ok(turns)) = (full, std::env::var("TURNS")) {
        size.turns = turns.parse().expect("TURNS is a number of turns");
    }
    let started = Instant::now();
    // The load's own threads; each replica has threads of its own.
    setup::runtime().block_on(async {
        let mut report = Report::default();
        let part = std::env::var("PART").unwrap_or_default();
        let asked = |name: &str| part.is_empty() || part == name;
        let servers = Servers::start().await;
        if asked("writes") {
            writes::against_transactions(&servers, size, &mut report).await;
        }
        if asked("two") {
            writes::two_replicas(&servers, size, &mut report).await;
        }
        if asked("delivery") {
            delivery::deliveries(&servers, size, &mut report).await;
        }
        report.server_versions(&servers);
        drop(servers);
        if asked("restore") {
            restore::restores(size, &mut report).await;
        }
        report.print();
        if full && part.is_empty() {
            report.write().unwrap();
        }
    });
    setup::log(&format!("took {:.0?} in all", started.elapsed()));
}

/// Returns the value that this part of the sorted samples did not exceed.
fn quantile(samples: &mut [Duration], part: f64) -> Duration {
    samples.sort_unstable();
    let at = (samples.len().saturating_sub(1)) as f64 * part;
    samples.get(at.round() as usize).copied().unwrap_or_default()
}
