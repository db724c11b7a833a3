//! Whole replicas in one thread under a simulated clock, with a model journal and a model stream between
//! which anything may be late, lost, repeated or answered wrongly, replicas that crash and whose clocks are wrong, and a
//! journal that may be restored to an older state. A seed decides everything. `invariants` says what must be true, after
//! every step and at the end.
//!
//! `PLACARD_SEED=7 cargo test -p placard-replica --test simulation` repeats the run of seed 7.

#![allow(clippy::disallowed_methods, reason = "tests use clocks, chance and tasks as they like")]
#![allow(clippy::print_stderr, reason = "a test tells what it measured")]

mod buying;
mod client;
mod clock;
mod expected;
mod faults;
mod invariants;
mod ledger;
#[cfg(debug_assertions)]
mod planted;
mod ports;
mod reporting;
mod requests;
mod seen;
mod world;

use std::time::Instant;

use seen::Seen;
use world::{Model, World};

/// Seeds that are always run; one more is drawn from the time.
const SEEDS: std::ops::Range<u64> = 0..40;

fn run(seed: u64) -> Seen {
    let _told = Told(seed);
    simulate(seed, Model::Compared)
}

fn simulate(seed: u64, model: Model) -> Seen {
    let mut world = World::new(seed, model);
    world.run_with_faults();
    world.heal_and_check()
}

/// Says how to repeat a run that panics.
struct Told(u64);

impl Drop for Told {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let seed = self.0;
            eprintln!(
                "repeat with: PLACARD_SEED={seed} cargo test -p placard-replica --test simulation"
            );
        }
    }
}

#[test]
fn faults_lose_double_and_misreport_nothing() {
    if let Ok(seed) = std::env::var("PLACARD_SEED") {
        run(seed.parse().expect("PLACARD_SEED is a number"));
        return;
    }
    let started = Instant::now();
    let runs: Vec<Seen> = SEEDS.map(run).collect();
    let steps: u64 = runs.iter().map(|seen| seen.steps).sum();
    eprintln!("{steps} steps in {:?}", started.elapsed());
    let sum = |of: fn(&Seen) -> u64| runs.iter().map(of).sum::<u64>();
    // A path that no run takes is not tested.
    for (path, taken) in [
        ("failed", sum(|seen| seen.counts.commits_failed)),
        ("unknown", sum(|seen| seen.counts.commits_unknown)),
        ("refused", sum(|seen| seen.counts.commits_refused)),
        ("heals", sum(|seen| seen.counts.heals)),
        ("stream resets", sum(|seen| seen.counts.stream_resets)),
        ("checkpoints", sum(|seen| seen.counts.checkpoints_loaded)),
        ("restores", sum(|seen| seen.counts.restores.all())),
        ("forks", sum(|seen| seen.counts.forks)),
        ("journals restored to an older state", sum(|seen| seen.rollbacks)),
        ("commits that were executed late", sum(|seen| seen.late)),
        ("an older build that joins", sum(|seen| seen.old_builds)),
        ("units that are given", sum(|seen| seen.given)),
        ("no room", sum(|seen| seen.exhausted)),
        ("pools that an older build does not know yet", sum(|seen| seen.not_yet)),
        ("reservations of closed ids", sum(|seen| seen.overtaken)),
        ("lapsed reservations", sum(|seen| seen.lapsed)),
        ("forgotten tombstones", sum(|seen| seen.forgotten)),
        ("writes on all replicas", sum(|seen| seen.confirmed)),
        ("current answers", sum(|seen| seen.verdicts[0])),
        ("old answers", sum(|seen| seen.verdicts[1])),
        ("refused reads", sum(|seen| seen.verdicts[2])),
        ("no state", sum(|seen| seen.verdicts[3])),
    ] {
        assert!(taken > 0, "no run came to {path}");
    }
    let since_epoch =
        std::time::SystemTime::now().duration_since(std::time::SystemTime::UNIX_EPOCH);
    run(since_epoch.expect("the clock is past 1970").as_nanos() as u64);
}
