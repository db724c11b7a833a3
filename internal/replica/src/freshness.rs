//! How long a replica has not been heard of by the journal: what every read asks, at its own moment, because a
//! replica that was paused must know it before its next head poll does.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// When the lease was renewed last, for whoever asks.
#[derive(Debug, Clone)]
pub struct Freshness {
    origin: Instant,
    /// When the last head poll that succeeded was sent, in microseconds since `origin`.
    renewed: Arc<AtomicU64>,
    /// Whether this replica was counted as one that answers nobody, and has not published since what others have
    /// been told meanwhile.
    behind: Arc<AtomicBool>,
    lease: Duration,
    refuses_after: Option<Duration>,
}

impl Freshness {
    pub(crate) fn new(lease: Duration, refuses_after: Option<Duration>) -> Self {
        let (renewed, behind) = (Arc::default(), Arc::default());
        Self { origin: Instant::now(), renewed, behind, lease, refuses_after }
    }

    /// A head poll that was sent then has succeeded: the lease in the register ends no earlier than its own
    /// length after that. Returns whether this replica refuses until it [has caught up](Self::caught_up) with that
    /// poll's head: if its lease was over for so long, others have counted it as one that has published all up to
    /// there.
    pub(crate) fn renew(&self, sent: Instant) -> bool {
        let refuses = self.refuses();
        // Before the lease is seen to last again: nobody finds neither.
        self.behind.store(refuses, Ordering::SeqCst);
        let since = sent.saturating_duration_since(self.origin).as_micros();
        self.renewed.fetch_max(u64::try_from(since).unwrap_or(u64::MAX), Ordering::SeqCst);
        refuses
    }

    /// What is published is what was asked for when the lease was renewed.
    pub(crate) fn caught_up(&self) {
        self.behind.store(false, Ordering::SeqCst);
    }

    /// For how long the journal has not been heard of, if that is longer than the lease: what is published may
    /// be that old.
    pub fn stale(&self) -> Option<Duration> {
        let renewed = Duration::from_micros(self.renewed.load(Ordering::SeqCst));
        let since = self.origin.elapsed().saturating_sub(renewed);
        (since > self.lease).then_some(since)
    }

    /// Whether it is so old that this replica is not to answer from it. From then on it counts as one that has
    /// published everything: nobody is shown what it has.
    pub fn refuses(&self) -> bool {
        let Some(after) = self.refuses_after else { return false };
        self.stale().is_some_and(|since| since > self.lease + after)
            || self.behind.load(Ordering::SeqCst)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lease_ends_after_its_length_and_is_renewed_from_when_the_poll_was_sent() {
        let old = |age: Duration, refuses_after| {
            let mut freshness = Freshness::new(Duration::from_secs(2), refuses_after);
            freshness.origin =
                Instant::now().checked_sub(age).expect("the machine is up for longer");
            freshness
        };
        let after = Some(Duration::from_secs(3));
        assert!(old(Duration::from_secs(1), after).stale().is_none());
        let ended = old(Duration::from_secs(4), after);
        assert!(ended.stale().is_some_and(|since| since >= Duration::from_secs(4)));
        assert!(!ended.refuses());
        let long_ended = old(Duration::from_secs(6), after);
        assert!(long_ended.refuses() && !old(Duration::from_secs(60), None).refuses());
        assert!(long_ended.renew(long_ended.origin + Duration::from_secs(5)));
        assert!(long_ended.stale().is_none() && long_ended.refuses());
        // Another poll does not help; what it has to publish does.
        assert!(long_ended.renew(long_ended.origin + Duration::from_secs(5)));
        long_ended.caught_up();
        assert!(!long_ended.refuses());
        assert!(!long_ended.renew(long_ended.origin + Duration::from_secs(5)));
        // A poll that comes back late says nothing newer.
        long_ended.renew(long_ended.origin + Duration::from_secs(1));
        assert!(long_ended.stale().is_none());
    }
}
