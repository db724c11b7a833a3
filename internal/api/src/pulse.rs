//! Whether this process was held until just now: stopped by a signal, or on a machine that was. What arrived meanwhile
//! looks as if it came now, and its client may be long gone.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use placard_replica::Uptime;

/// How often it beats.
pub(crate) const BEAT: Duration = Duration::from_millis(100);
/// A pause between two beats that a busy machine does not make. What arrived in it is read within as long again.
const HELD_MIN: Duration = Duration::from_secs(1);

/// A pulse, by a clock that goes on while the machine is suspended.
#[derive(Debug)]
pub(crate) struct Pulse {
    began: Uptime,
    beat_ms: AtomicU64,
    held_until_ms: AtomicU64,
}

impl Pulse {
    pub(crate) fn new() -> Self {
        let (beat_ms, held_until_ms) = (AtomicU64::new(0), AtomicU64::new(0));
        Self { began: Uptime::now(), beat_ms, held_until_ms }
    }

    fn now_ms(&self) -> u64 {
        self.began.elapsed().as_millis() as u64
    }

    /// To be called at each [`BEAT`].
    pub(crate) fn beat(&self) {
        let now = self.now_ms();
        let before = self.beat_ms.swap(now, Ordering::Relaxed);
        if now - before > HELD_MIN.as_millis() as u64 {
            self.held_until_ms.store(now, Ordering::Relaxed);
        }
    }

    /// Whether the process was held until just now. The first beat after that may be yet to come.
    pub(crate) fn was_held(&self) -> bool {
        let held_min = HELD_MIN.as_millis() as u64;
        let now = self.now_ms();
        let held_until = self.held_until_ms.load(Ordering::Relaxed);
        let is_late = now.saturating_sub(self.beat_ms.load(Ordering::Relaxed)) > held_min;
        is_late || held_until > 0 && now.saturating_sub(held_until) < held_min
    }
}
