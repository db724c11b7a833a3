//! Time that cannot be set and does not stand still: what leases, readers' clocks and the look for a jump are
//! counted in. `std::time::Instant` does not count, on Linux, for how long the machine was suspended, and a lease
//! ends all the same.

#![expect(clippy::disallowed_methods, reason = "this is where time without a date is read")]

use std::ops::{Add, Sub};
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

#[cfg(target_os = "linux")]
const CLOCK: ClockId = ClockId::Boottime;
/// Elsewhere this is the one that goes on.
#[cfg(not(target_os = "linux"))]
const CLOCK: ClockId = ClockId::Monotonic;

/// A moment, counted from some moment before the process was started.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Uptime(Duration);

impl Uptime {
    /// Returns the current moment.
    pub fn now() -> Self {
        let time = clock_gettime(CLOCK);
        // Neither is ever negative, and the nanoseconds are less than a second.
        Self(Duration::new(time.tv_sec as u64, time.tv_nsec as u32))
    }

    /// Returns the moment that was this long ago.
    #[cfg(test)]
    pub(crate) fn earlier(age: Duration) -> Self {
        Self(Self::now().0.checked_sub(age).expect("the machine is up for longer"))
    }

    /// Returns how long ago that was.
    pub fn elapsed(self) -> Duration {
        Self::now() - self
    }
}

/// Subtracts an earlier moment from a later one; the result is zero if the first is the earlier.
impl Sub for Uptime {
    type Output = Duration;

    fn sub(self, earlier: Self) -> Duration {
        self.0.saturating_sub(earlier.0)
    }
}

impl Add<Duration> for Uptime {
    type Output = Self;

    fn add(self, later: Duration) -> Self {
        Self(self.0.saturating_add(later))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uptime_advances_and_yields_differences() {
        let start = Uptime::now();
        let later = start + Duration::from_millis(5);
        assert_eq!((later - start, start - later), (Duration::from_millis(5), Duration::ZERO));
        while Uptime::now() <= later {}
        assert!(start.elapsed() > Duration::from_millis(5));
    }
}
