//! Detects that this process was held until just now: stopped by a signal, or on a suspended machine. A request that
//! arrived meanwhile looks as if it came now, and its client may be long gone.

#![expect(clippy::disallowed_methods, reason = "it notices a process that was paused")]

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use placard_replica::Uptime;

/// How often it beats.
pub(crate) const BEAT: Duration = Duration::from_millis(100);
/// A pause between two beats that a busy machine does not make.
const HELD_MIN: Duration = Duration::from_secs(1);
/// Requests that arrived in a pause are taken to be read within the same time again, since a longer pause leaves more
/// of them; this is the upper bound of that time.
const CAUGHT_UP_MAX: Duration = Duration::from_secs(10);

/// A pulse, by a clock that goes on while the machine is suspended.
#[derive(Debug)]
pub(crate) struct Pulse {
    began: Uptime,
    beat_ms: AtomicU64,
    /// Until when what is read may have arrived in a pause.
    catches_up_until_ms: AtomicU64,
}

impl Pulse {
    pub(crate) fn new() -> Self {
        let (beat_ms, catches_up_until_ms) = (AtomicU64::new(0), AtomicU64::new(0));
        Self { began: Uptime::now(), beat_ms, catches_up_until_ms }
    }

    fn now_ms(&self) -> u64 {
        self.began.elapsed().as_millis() as u64
    }

    /// Records a beat; to be called at each [`BEAT`].
    pub(crate) fn beat(&self) {
        self.beat_at(self.now_ms());
    }

    fn beat_at(&self, now: u64) {
        let pause = now.saturating_sub(self.beat_ms.swap(now, Ordering::Relaxed));
        if pause > HELD_MIN.as_millis() as u64 {
            let until = now + pause.min(CAUGHT_UP_MAX.as_millis() as u64);
            self.catches_up_until_ms.store(until, Ordering::Relaxed);
        }
    }

    /// Returns true if the process was held until just now, also before the first beat after that.
    pub(crate) fn was_held(&self) -> bool {
        self.was_held_at(self.now_ms())
    }

    fn was_held_at(&self, now: u64) -> bool {
        let pause = now.saturating_sub(self.beat_ms.load(Ordering::Relaxed));
        pause > HELD_MIN.as_millis() as u64
            || now < self.catches_up_until_ms.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn server_counts_as_held_for_a_while_after_a_pause() {
        let pulse = Pulse::new();
        pulse.beat_at(100);
        pulse.beat_at(1_100);
        assert!(!pulse.was_held_at(1_200), "a busy machine beats as rarely");
        // The first beat after a pause may be yet to come.
        assert!(pulse.was_held_at(6_000));
        for at in (6_100..=11_100).step_by(500) {
            pulse.beat_at(at);
        }
        assert!(pulse.was_held_at(11_099) && !pulse.was_held_at(11_100));
        // However long it was.
        for at in (3_600_000..=3_610_000).step_by(500) {
            pulse.beat_at(at);
        }
        assert!(pulse.was_held_at(3_609_999) && !pulse.was_held_at(3_610_000));
    }
}
