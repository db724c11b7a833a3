//! Decides whether this replica is ready, and names what it is doing: the read gate's verdict, and what else a replica must
//! have before it is worth a client. `/readyz`, the metrics, callers that wait for a replica, and expiry, which leaves its work
//! to a replica that is ready, ask this rule and no other. Pure.

use super::io::Phase;
use super::read_gate::{Verdict, Why};
use crate::ports::{Commits, EMPTIED};

/// What a replica is doing, apart from the age of what it has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Condition {
    /// The phase that it is in.
    pub phase: Phase,
    /// Whether it is about to stop.
    pub draining: bool,
    /// Whether the journal was found to be empty although a replica has what it held.
    pub emptied: bool,
    /// Whether the journal has what it needs to run a commit.
    pub commits: Commits,
}

/// Whether clients may be sent to a replica, and why.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Readiness {
    /// Whether they may.
    pub is_ready: bool,
    /// What the replica is doing, in one or two words.
    pub status: &'static str,
    /// What its reads do.
    pub verdict: Verdict,
}

impl Readiness {
    /// Returns the readiness of a replica whose reads have this verdict.
    pub fn of(condition: Condition, verdict: Verdict) -> Self {
        let Condition { phase, draining, emptied, commits } = condition;
        let (is_ready, status) = match phase {
            _ if draining => (false, "draining"),
            _ if emptied => (verdict.answers(), EMPTIED),
            Phase::Restoring => (false, "restoring"),
            Phase::Quarantined => (false, "quarantined"),
            Phase::CatchingUp => (false, "catching up"),
            // Every other replica is likely to be as old: a balancer must not empty itself.
            Phase::Ready => match verdict.lag().map(|lag| lag.why) {
                // It cannot write yet, and other replicas can. One that can no longer write goes on with reads, since
                // perhaps no replica can write.
                None => match commits {
                    Commits::Able => (verdict.answers(), "ready"),
                    Commits::NotYet => (false, "read only"),
                    Commits::NoLonger => (verdict.answers(), "read only"),
                },
                Some(Why::Unheard) => (verdict.answers(), "stale"),
                Some(Why::Behind) => (verdict.answers(), "behind"),
            },
        };
        Self { is_ready, status, verdict }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::Lag;

    const READY: Condition =
        Condition { phase: Phase::Ready, draining: false, emptied: false, commits: Commits::Able };

    #[test]
    fn readiness_depends_on_whether_reads_are_answered() {
        let told = |condition, verdict| {
            let Readiness { is_ready, status, .. } = Readiness::of(condition, verdict);
            (is_ready, status)
        };
        let (behind, unheard) =
            (Lag { why: Why::Behind, age: None }, Lag { why: Why::Unheard, age: None });
        assert_eq!(told(READY, Verdict::Current), (true, "ready"));
        assert_eq!(told(READY, Verdict::Old(behind)), (true, "behind"));
        assert_eq!(told(READY, Verdict::Refused(behind)), (false, "behind"));
        assert_eq!(told(READY, Verdict::Old(unheard)), (true, "stale"));
        assert_eq!(told(READY, Verdict::Refused(unheard)), (false, "stale"));
        assert_eq!(told(READY, Verdict::NoState), (false, "ready"));
    }

    #[test]
    fn readiness_depends_on_phase_commits_and_draining() {
        let told = |condition| {
            let Readiness { is_ready, status, .. } = Readiness::of(condition, Verdict::Current);
            (is_ready, status)
        };
        let is_in = |phase| Condition { phase, ..READY };
        let with = |commits| Condition { commits, ..READY };
        assert_eq!(told(is_in(Phase::Restoring)), (false, "restoring"));
        assert_eq!(told(is_in(Phase::Quarantined)), (false, "quarantined"));
        assert_eq!(told(is_in(Phase::CatchingUp)), (false, "catching up"));
        assert_eq!(told(with(Commits::NotYet)), (false, "read only"));
        assert_eq!(told(with(Commits::NoLonger)), (true, "read only"));
        let emptied = Condition { emptied: true, ..is_in(Phase::CatchingUp) };
        assert_eq!(told(emptied), (true, EMPTIED));
        assert_eq!(told(Condition { draining: true, ..emptied }), (false, "draining"));
    }
}
