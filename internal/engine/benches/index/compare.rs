//! Everything that is measured of each implementation alike.

use std::hint::black_box;
use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant};

use placard_model::{Ad, Timestamp};
use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;

use crate::candidate::{Candidate, Search};
use crate::measure::{Latencies, allocated, progress, rate, timed};
use crate::report::Report;
use crate::world::{Case, MIXES, World};

/// Changes between two publications, or in a transaction.
pub(crate) const BATCH: usize = 64;

/// How long each cell may take.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Budget {
    pub(crate) cell: Duration,
    /// The tail of a catch-up, and each round of readers beside a writer.
    pub(crate) long: Duration,
    pub(crate) full: bool,
}

/// Measures one implementation, unless the ads are too many for it.
pub(crate) fn measure<C: Candidate>(world: &World, budget: Budget, report: &mut Report) {
    let n = world.ads.len();
    if n > C::ADS_MAX {
        return;
    }
    progress(C::NAME);
    let mut put = |measure: &str, unit, value| report.put(n, C::NAME, measure, unit, value);
    let mut candidate = built::<C>(world, &mut put);
    check(&candidate, &world.cases, world.now);
    for (mix, queries) in MIXES.iter().zip(&world.mixes) {
        let search = |candidate: &dyn Search, at: usize| {
            black_box(candidate.search(&queries[at % queries.len()], world.now));
        };
        let per_second = rate(budget.cell, |at| {
            search(&candidate, at);
        });
        put(mix, "queries/s", per_second);
        let latencies = Latencies::of(budget.cell / 2, |at| search(&candidate, at));
        put(&format!("{mix}: p50"), "ns", latencies.quantile(0.5));
        put(&format!("{mix}: p99"), "ns", latencies.quantile(0.99));
        if let Some(shared) = candidate.shared().filter(|_| *mix == MIXES[0]) {
            let one = |from: usize| {
                rate(budget.cell, |at| {
                    black_box(shared.search(&queries[(from + at) % queries.len()], world.now));
                })
            };
            let both = std::thread::scope(|scope| {
                let other = scope.spawn(|| one(queries.len() / 2));
                one(0) + other.join().unwrap()
            });
            put(&format!("{mix}: two threads"), "queries/s", both);
        }
    }
    if C::CHANGES {
        changes(&mut candidate, &world.more, budget, &mut put);
        check(&candidate, &world.cases[..2], world.now);
    }
}

fn built<C: Candidate>(world: &World, put: &mut impl FnMut(&str, &'static str, f64)) -> C {
    let items: Vec<_> = world.ads.iter().map(C::prepare).collect();
    // Building takes the list; the items in it stay, and do not count.
    let before = allocated() - items.capacity() * size_of::<C::Item>();
    let (candidate, seconds) = timed(|| C::build(items, world.now));
    let bytes = allocated().saturating_sub(before) + candidate.bytes_hidden();
    put("bulk build", "s", seconds);
    put("index bytes per ad", "B", bytes as f64 / world.ads.len() as f64);
    candidate
}

/// Holds the implementation's answers against the scan's.
pub(crate) fn check<C: Candidate>(candidate: &C, cases: &[Case], now: Timestamp) {
    for case in cases {
        let (ids, total) = candidate.answer(&case.query, now);
        let right = ids == case.ids && total == case.total;
        assert!(right, "{}: {:?} found {total}, not {}", C::NAME, case.query, case.total);
    }
}

/// Inserts ads and deletes the same ones, one by one and then in batches.
fn changes<C: Candidate>(
    candidate: &mut C,
    more: &[Arc<Ad>],
    budget: Budget,
    put: &mut impl FnMut(&str, &'static str, f64),
) {
    let items: Vec<_> = more.iter().map(C::prepare).collect();
    for (batch, how) in [(1, "one by one"), (BATCH, "in batches of 64")] {
        let (inserted, per_second) = drained(budget.cell * 3, items.len(), batch, |some| {
            candidate.begin();
            items[some].iter().for_each(|item| candidate.insert(item));
            candidate.commit();
        });
        put(&format!("inserts {how}"), "/s", per_second);
        // Not in the order of insertion, which is random by end, but not by place in memory.
        let mut left: Vec<_> = items[..inserted].iter().collect();
        left.shuffle(&mut ChaCha8Rng::seed_from_u64(inserted as u64));
        let mut remove = |some: Range<usize>| {
            candidate.begin();
            left[some].iter().for_each(|item| candidate.remove(item));
            candidate.commit();
        };
        let (removed, per_second) = drained(budget.cell * 3, inserted, batch, &mut remove);
        put(&format!("deletes {how}"), "/s", per_second);
        if removed < inserted {
            remove(removed..inserted);
        }
    }
}

/// Works through `0..total` in batches until the time is over: how many were done, and how many per second.
fn drained(
    budget: Duration,
    total: usize,
    batch: usize,
    mut change: impl FnMut(Range<usize>),
) -> (usize, f64) {
    let (started, mut done) = (Instant::now(), 0);
    while done < total && started.elapsed() < budget {
        let until = total.min(done + batch);
        change(done..until);
        done = until;
    }
    (done, done as f64 / started.elapsed().as_secs_f64())
}
