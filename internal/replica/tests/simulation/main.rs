//! Whole replicas in one thread under a simulated clock, with a model journal and a model stream between
//! which anything may be late, lost, repeated or answered wrongly, and replicas that crash. A seed decides
//! everything. After every step `world` checks that equal versions mean equal states, and that no read may be answered
//! from what is older than it says, or than what all have confirmed; at the end, that no acknowledged write is lost,
//! doubled or misreported.
//!
//! `PLACARD_SEED=7 cargo test -p placard-replica --test simulation` repeats the run of seed 7.

#![allow(clippy::print_stderr, reason = "a test tells what it measured")]

mod client;
mod world;

use placard_replica::core::Counts;
use world::World;

/// Seeds that are always run; one more is drawn from the time.
const SEEDS: std::ops::Range<u64> = 0..40;

fn run(seed: u64) -> (Counts, [u64; 4]) {
    let _told = Told(seed);
    let mut world = World::new(seed);
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
fn nothing_is_lost_doubled_or_misreported_under_faults() {
    if let Ok(seed) = std::env::var("PLACARD_SEED") {
        run(seed.parse().expect("PLACARD_SEED is a number"));
        return;
    }
    let (counts, verdicts): (Vec<_>, Vec<_>) = SEEDS.map(run).unzip();
    let seen = |kind: usize| verdicts.iter().map(|verdicts| verdicts[kind]).sum::<u64>();
    // A path that no run takes is not tested.
    for (path, taken) in [
        ("failed", counts.iter().map(|counts| counts.commits_failed).sum::<u64>()),
        ("unknown", counts.iter().map(|counts| counts.commits_unknown).sum()),
        ("refused", counts.iter().map(|counts| counts.commits_refused).sum()),
        ("heals", counts.iter().map(|counts| counts.heals).sum()),
        ("stream resets", counts.iter().map(|counts| counts.stream_resets).sum()),
        ("checkpoints", counts.iter().map(|counts| counts.checkpoints_loaded).sum()),
        ("restores", counts.iter().map(|counts| counts.restores.all()).sum()),
        ("current answers", seen(0)),
        ("old answers", seen(1)),
        ("refused reads", seen(2)),
        ("no state", seen(3)),
    ] {
        assert!(taken > 0, "no run came to {path}");
    }
    let since_epoch =
        std::time::SystemTime::now().duration_since(std::time::SystemTime::UNIX_EPOCH);
    run(since_epoch.expect("the clock is past 1970").as_nanos() as u64);
}
