//! The clocks of one replica: they run a little too fast or too slow, and what it takes for the journal's time is off.

use std::time::Duration;

use placard_model::Timestamp;
use placard_replica::core::Moment;
use rand::RngExt;
use rand_chacha::ChaCha8Rng;

/// A replica's clock gains or loses at most this much, in millionths. Two that differ by a hundredth are not promised
/// anything.
const DRIFT_MAX: i64 = 4_000;
/// A machine's clock that the journal has not set right yet is off by at most this, in microseconds.
const OFF_MAX: i64 = 3_600_000_000;
/// What a head poll leaves of it.
const REST_MAX: i64 = 30_000;
/// A replica's estimate of the journal's time is behind or ahead of the true time by at most this, in microseconds. Its
/// brake accepts no jump.
const BEHIND_MAX: i64 = 3_000_000;
pub(crate) const AHEAD_MAX: i64 = 500_000;
const MILLION: u128 = 1_000_000;

#[derive(Debug, Clone, Copy)]
pub(crate) struct Clock {
    /// When the replica was started, by the world's time.
    started: Duration,
    /// How many of its microseconds pass in a second.
    rate: u128,
    /// By how many microseconds it is ahead of the journal's time.
    ahead: i64,
    /// By how many its estimate of the journal's time is ahead of the true time; `None` before the first head poll.
    skew: Option<i64>,
}

impl Clock {
    pub(crate) fn started(at: Duration, rng: &mut ChaCha8Rng) -> Self {
        let rate = (1_000_000 + rng.random_range(-DRIFT_MAX..=DRIFT_MAX)) as u128;
        Self { started: at, rate, ahead: rng.random_range(-OFF_MAX..=OFF_MAX), skew: None }
    }

    /// A head poll has come back: its time steps.
    pub(crate) fn corrected(&mut self, rng: &mut ChaCha8Rng) {
        self.ahead = rng.random_range(-REST_MAX..=REST_MAX);
        self.skew.get_or_insert_with(|| rng.random_range(-BEHIND_MAX..=AHEAD_MAX));
    }

    /// Returns what the replica believes of the journal's time, whatever the journal's clock says, if it believes anything.
    pub(crate) fn own(&self, truly: Timestamp) -> Option<Timestamp> {
        self.skew.map(|skew| truly.saturating_add_micros(skew))
    }

    /// Returns the replica's own time at a moment of the world.
    pub(crate) fn moment(&self, now: Duration) -> Moment {
        let elapsed = now.saturating_sub(self.started).as_nanos() * self.rate / MILLION;
        Moment(Duration::from_nanos(elapsed as u64))
    }

    /// Returns how long a time of the replica's takes in the world, and at least that.
    pub(crate) fn in_world(&self, own: Duration) -> Duration {
        let nanos = (own.as_nanos() * MILLION).div_ceil(self.rate);
        Duration::from_nanos(nanos as u64)
    }

    /// Returns when the replica's own time will be this.
    pub(crate) fn when(&self, Moment(own): Moment) -> Duration {
        self.started + self.in_world(own)
    }

    /// Returns what the replica takes for the journal's time.
    pub(crate) fn time(&self, journal: Timestamp) -> Timestamp {
        journal.saturating_add_micros(self.ahead)
    }
}
