//! Timing: how often something can be done per second, and how long one time takes.

use std::alloc::System;
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

static STARTED: LazyLock<Instant> = LazyLock::new(Instant::now);

/// Says what is measured next.
pub(crate) fn progress(what: &str) {
    eprintln!("{:5} s  {what}", STARTED.elapsed().as_secs());
}

/// Bytes that are allocated now.
pub(crate) fn allocated() -> usize {
    let stats = ALLOCATOR.stats();
    stats.bytes_allocated - stats.bytes_deallocated
}

/// Calls `operation` with 0, 1, 2 … until the time is over, and returns the calls per second. The clock is read ever
/// more rarely, so that it does not weigh on short operations.
pub(crate) fn rate(budget: Duration, mut operation: impl FnMut(usize)) -> f64 {
    let started = Instant::now();
    let (mut done, mut stride) = (0, 1);
    loop {
        (done..done + stride).for_each(&mut operation);
        done += stride;
        let elapsed = started.elapsed();
        if elapsed >= budget {
            return done as f64 / elapsed.as_secs_f64();
        }
        if elapsed * 16 < budget && stride < 4_096 {
            stride *= 2;
        } else if elapsed * 2 > budget {
            stride = (stride / 2).max(1);
        }
    }
}

/// The duration of each call, in nanoseconds, the clock included; sorted, never empty.
pub(crate) struct Latencies(Vec<u32>);

impl Latencies {
    /// Measures calls with 0, 1, 2 … until `finished`.
    pub(crate) fn until(
        mut finished: impl FnMut() -> bool,
        mut operation: impl FnMut(usize),
    ) -> Self {
        let mut taken = Vec::with_capacity(1 << 22);
        while taken.is_empty() || (!finished() && taken.len() < taken.capacity()) {
            let started = Instant::now();
            operation(taken.len());
            taken.push(started.elapsed().as_nanos().try_into().unwrap_or(u32::MAX));
        }
        taken.sort_unstable();
        Self(taken)
    }

    pub(crate) fn of(budget: Duration, operation: impl FnMut(usize)) -> Self {
        let started = Instant::now();
        Self::until(|| started.elapsed() >= budget, operation)
    }

    /// The time within which this share of the calls was done, in nanoseconds.
    pub(crate) fn quantile(&self, share: f64) -> f64 {
        let at = (self.0.len() as f64 * share) as usize;
        self.0[at.min(self.0.len() - 1)].into()
    }
}

/// Returns the result of `operation`, and the seconds that it took.
pub(crate) fn timed<T>(operation: impl FnOnce() -> T) -> (T, f64) {
    let started = Instant::now();
    let given = operation();
    (given, started.elapsed().as_secs_f64())
}

/// The one in the middle.
pub(crate) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
