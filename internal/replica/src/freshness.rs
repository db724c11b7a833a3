//! How long a replica has not been heard of by the journal: what every read asks, at its own moment, because a
//! replica that was paused must know it before its next head poll does. And what it must have published before it
//! answers again, since others have counted it meanwhile as one that answers nobody.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use placard_model::Version;

use crate::Uptime;

/// Not renewed yet: a replica that has just been started may have the state of long ago.
const NEVER: u64 = 0;

/// When the lease was renewed last, for whoever asks.
#[derive(Debug, Clone)]
pub struct Freshness {
    origin: Uptime,
    /// When the last head poll that succeeded was sent, in microseconds since `origin` and at least one; or
    /// [`NEVER`].
    renewed: Arc<AtomicU64>,
    /// Odd while this replica is behind: it had no state, or was counted as one that answers nobody, and has not
    /// published since what others have been told meanwhile. One more whenever that begins or ends.
    turns: Arc<AtomicU64>,
    lease: Duration,
    refuses_after: Option<Duration>,
}

impl Freshness {
    fn new(lease: Duration, refuses_after: Option<Duration>) -> Self {
        let (renewed, turns) = (Arc::new(NEVER.into()), Arc::new(AtomicU64::new(1)));
        Self { origin: Uptime::now(), renewed, turns, lease, refuses_after }
    }

    /// For how long the journal has not been heard of, if that is longer than the lease or if it never was since
    /// the start: what is published may be that old, and older if it comes from a checkpoint.
    pub fn stale(&self) -> Option<Duration> {
        let renewed = self.renewed.load(Ordering::SeqCst);
        let since = self.origin.elapsed().saturating_sub(Duration::from_micros(renewed));
        (renewed == NEVER || since > self.lease).then_some(since)
    }

    /// Leave to show what is published from now on. There is none while it is so old that this replica counts as
    /// one that has published everything, or while it does not have yet what others were told while it counted so.
    pub fn leave(&self) -> Option<Leave> {
        // The lease first: it is renewed after the turn that says it had ended.
        let over = self.is_over();
        let turn = self.turns.load(Ordering::SeqCst);
        (!over && turn.is_multiple_of(2)).then_some(Leave(turn))
    }

    /// Whether what was read since a leave was given may still be shown. It may not if the leave has ended
    /// meanwhile, even if there is another one by now: who was held up for so long has read what is older.
    pub fn holds(&self, leave: Leave) -> bool {
        self.leave() == Some(leave)
    }

    fn is_behind(&self) -> bool {
        self.turns.load(Ordering::SeqCst) % 2 == 1
    }

    /// Begins or ends being behind; only one thread does.
    fn set_behind(&self, behind: bool) {
        if behind != self.is_behind() {
            self.turns.fetch_add(1, Ordering::SeqCst);
        }
    }

    /// Whether the others count this replica as one that answers nobody, or may do so in a moment.
    fn is_over(&self) -> bool {
        let Some(after) = self.refuses_after else { return false };
        self.renewed.load(Ordering::SeqCst) == NEVER
            || self.stale().is_some_and(|since| since > self.lease + after)
    }
}

/// Leave to show what is published, until the replica falls behind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Leave(u64);

/// What is still to happen before a replica that has refused answers again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Until {
    /// A poll that tells the journal what this replica has now, and compares it; and what comes after that.
    Compared,
    /// A poll that was sent after the one which has renewed the lease. Others may have read the register between
    /// that one's view of the journal and its commit, and have counted this replica by its old row up to a head that
    /// is not in its answer.
    NextPoll,
    /// This version is published.
    Published(Version),
}

/// The one who renews the lease.
#[derive(Debug)]
pub(crate) struct Renewal {
    freshness: Freshness,
    until: Option<Until>,
}

impl Renewal {
    pub(crate) fn new(lease: Duration, refuses_after: Option<Duration>) -> Self {
        Self { freshness: Freshness::new(lease, refuses_after), until: Some(Until::Compared) }
    }

    pub(crate) fn freshness(&self) -> Freshness {
        self.freshness.clone()
    }

    /// Whether the next poll that succeeds will not be enough to answer again.
    pub(crate) fn wants_another(&self) -> bool {
        self.freshness.is_over() || self.until == Some(Until::Compared)
    }

    /// Whether reads are refused until something else happens.
    pub(crate) fn is_behind(&self) -> bool {
        self.freshness.is_behind()
    }

    /// A head poll that was sent then has succeeded, and has seen that head: the lease in the register ends no
    /// earlier than its own length after it was sent. Whether it was sent with what this replica has now.
    pub(crate) fn polled(&mut self, sent: Uptime, head: Version, compared: bool) {
        let Freshness { origin, ref renewed, .. } = self.freshness;
        let was_over = self.freshness.is_over();
        self.until = match self.until {
            Some(Until::Compared) if !compared => self.until,
            Some(Until::Compared) => Some(Until::NextPoll),
            _ if was_over => Some(Until::NextPoll),
            None => None,
            Some(Until::NextPoll) => Some(Until::Published(head)),
            // The lower of two: the journal may have been restored to an older state.
            Some(Until::Published(version)) => Some(Until::Published(version.min(head))),
        };
        // Before the lease is seen to last again: nobody finds neither.
        if was_over {
            self.freshness.set_behind(true);
        }
        let since = u64::try_from((sent - origin).as_micros()).unwrap_or(u64::MAX);
        renewed.fetch_max(since.max(NEVER + 1), Ordering::SeqCst);
    }

    /// A head poll has failed: nobody tells how old the state is. Reads are better answered from it than not, unless
    /// this replica is to refuse.
    pub(crate) fn failed(&mut self) {
        if self.freshness.refuses_after.is_none() {
            self.answer();
        }
    }

    /// Readers see that version, or there is no state.
    pub(crate) fn published(&mut self, version: Option<Version>) {
        match (self.until, version) {
            (_, None) => {
                self.until = Some(Until::Compared);
                self.freshness.set_behind(true);
            }
            (Some(Until::Published(until)), Some(version)) if version >= until => self.answer(),
            _ => {}
        }
    }

    fn answer(&mut self) {
        self.until = None;
        self.freshness.set_behind(false);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    /// A replica with a lease of 2 s that was started `age` ago.
    fn started(age: Duration, refuses_after: Option<Duration>) -> Renewal {
        let mut renewal = Renewal::new(2 * SECOND, refuses_after);
        renewal.freshness.origin = Uptime::earlier(age);
        renewal
    }

    #[test]
    fn a_lease_ends_after_its_length_and_is_renewed_from_when_the_poll_was_sent() {
        let mut renewal = started(10 * SECOND, None);
        let (freshness, start) = (renewal.freshness(), renewal.freshness.origin);
        assert!(freshness.stale().is_some_and(|since| since >= 10 * SECOND));
        renewal.polled(start + 9 * SECOND, 7, true);
        assert!(freshness.stale().is_none());
        // A poll that comes back late says nothing newer.
        renewal.polled(start + SECOND, 7, true);
        assert!(freshness.stale().is_none());
        let mut renewal = started(10 * SECOND, None);
        renewal.polled(start + 5 * SECOND, 7, true);
        assert!(renewal.freshness().stale().is_some_and(|since| since < 6 * SECOND));
    }

    #[test]
    fn a_replica_that_starts_refuses_until_it_has_what_others_were_told() {
        for refuses_after in [None, Some(600 * SECOND)] {
            let mut renewal = started(SECOND, refuses_after);
            let freshness = renewal.freshness();
            let refuses = |renewal: &mut Renewal, version| {
                renewal.published(version);
                assert_eq!(renewal.freshness().leave().is_none(), freshness.leave().is_none());
                freshness.leave().is_none()
            };
            assert!(refuses(&mut renewal, None) && freshness.stale().is_some());
            // From a checkpoint; that poll was sent before it was there.
            assert!(refuses(&mut renewal, Some(3)) && renewal.wants_another());
            renewal.polled(Uptime::now(), 3, false);
            assert!(refuses(&mut renewal, Some(3)) && renewal.wants_another());
            assert!(freshness.stale().is_none());
            renewal.polled(Uptime::now(), 3, true);
            assert!(refuses(&mut renewal, Some(3)) && !renewal.wants_another());
            renewal.polled(Uptime::now(), 4, true);
            assert!(refuses(&mut renewal, Some(3)));
            assert!(!refuses(&mut renewal, Some(4)));
            renewal.polled(Uptime::now(), 9, true);
            assert!(!refuses(&mut renewal, Some(4)));
            let leave = freshness.leave().expect("it has caught up");
            // Its state is given up: from the beginning.
            assert!(refuses(&mut renewal, None) && refuses(&mut renewal, Some(9)));
            assert!(!freshness.holds(leave));
            renewal.polled(Uptime::now(), 9, true);
            assert!(refuses(&mut renewal, Some(9)));
            renewal.polled(Uptime::now(), 9, true);
            assert!(!refuses(&mut renewal, Some(9)));
        }
    }

    #[test]
    fn without_a_journal_only_a_replica_that_serves_answers() {
        for (refuses_after, answers) in [(None, true), (Some(600 * SECOND), false)] {
            let mut renewal = started(SECOND, refuses_after);
            renewal.published(Some(3));
            renewal.failed();
            assert_eq!(renewal.freshness().leave().is_none(), !answers);
            assert!(renewal.freshness().stale().is_some());
        }
    }

    #[test]
    fn a_replica_that_was_silent_for_long_answers_again_after_a_second_poll() {
        let mut renewal = started(60 * SECOND, Some(3 * SECOND));
        let (freshness, start) = (renewal.freshness(), renewal.freshness.origin);
        renewal.until = Some(Until::NextPoll);
        let now = start + 60 * SECOND;
        renewal.polled(now, 5, true);
        renewal.polled(now, 5, true);
        renewal.published(Some(5));
        let leave = freshness.leave().expect("it has caught up");
        assert!(freshness.holds(leave));
        // Over again: silent since then.
        freshness.renewed.store(1, Ordering::SeqCst);
        assert!(
            freshness.leave().is_none() && freshness.stale().is_some() && renewal.wants_another()
        );
        renewal.polled(now, 8, true);
        renewal.published(Some(8));
        assert!(freshness.leave().is_none() && freshness.stale().is_none());
        // And once more before it has caught up: what the next poll says does not count yet.
        freshness.renewed.store(1, Ordering::SeqCst);
        renewal.polled(now, 9, true);
        renewal.published(Some(9));
        assert!(freshness.leave().is_none());
        renewal.polled(now, 11, true);
        renewal.polled(now, 10, true);
        renewal.published(Some(9));
        assert!(freshness.leave().is_none());
        renewal.published(Some(10));
        assert!(freshness.leave().is_some());
        // Who has read before all that, and was held up until now, has not read what others were told.
        assert!(!freshness.holds(leave));
    }
}
