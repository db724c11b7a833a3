//! Tracks whether the replica's own lease lasts, as its core sees it, so that each end is counted and logged once.
//! Reads ask `read_permits` instead, at their own moment. Pure.

use std::time::Duration;

use super::io::Moment;

#[derive(Debug)]
pub(crate) struct Lease {
    lasts: Duration,
    until: Moment,
    ended: bool,
}

impl Lease {
    /// Creates a replica's first lease. It begins with the replica, which has that long for its first poll.
    pub(crate) fn new(lasts: Duration) -> Self {
        Self { lasts, until: Moment(lasts), ended: false }
    }

    /// Returns true if the lease has ended since this was asked last.
    pub(crate) fn ends(&mut self, now: Moment) -> bool {
        let ends = !self.ended && now >= self.until;
        self.ended |= ends;
        ends
    }

    /// Renews the lease by a head poll that was sent at `sent` and has succeeded, perhaps so late that the renewed
    /// lease is over already.
    pub(crate) fn renew(&mut self, sent: Moment, now: Moment) {
        self.until = self.until.max(sent + self.lasts);
        self.ended = now >= self.until;
    }

    /// Returns true if the lease has ended, and that was noticed.
    pub(crate) fn has_ended(&self) -> bool {
        self.ended
    }

    /// Returns when [`Lease::ends`] will be true, if nothing happens before.
    pub(crate) fn wake_at(&self) -> Option<Moment> {
        (!self.ended).then_some(self.until)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Moment {
        Moment(Duration::from_secs(seconds))
    }

    #[test]
    fn each_lease_end_is_reported_once() {
        let mut lease = Lease::new(Duration::from_secs(2));
        assert!(!lease.ends(at(1)));
        lease.renew(at(1), at(1));
        assert_eq!((lease.ends(at(2)), lease.wake_at()), (false, Some(at(3))));
        assert!(lease.ends(at(3)) && !lease.ends(at(4)));
        assert_eq!(lease.wake_at(), None);
        // The answer to a poll from before a pause: it is the same end, and lasts.
        lease.renew(at(2), at(9));
        assert!(!lease.ends(at(9)) && lease.wake_at().is_none());
        lease.renew(at(9), at(10));
        assert!(!lease.ends(at(10)) && lease.ends(at(11)));
    }
}
