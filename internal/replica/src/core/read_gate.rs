//! Decides whether this replica may answer reads, and how old an answer may be: the one rule that reads, `/readyz` (see
//! `readiness`), the metrics and, of other replicas, the receipts of writes ask. Pure. Reads ask it at their own moment
//! (`read_permits`), because a replica that was paused must know how old it is before its next step does.
//!
//! What is published is known to be current as of the last head poll whose head it has reached, counted from when that
//! poll was sent. An answer from the journal alone does not prove that: the entries behind the head that it named may
//! never arrive.

use std::collections::VecDeque;
use std::time::Duration;

use placard_model::Version;

use super::io::Moment;

/// Polls whose heads are remembered until they are published. Beyond, every second one is forgotten: then a replica
/// that catches up seems older than it is, and never younger.
const PENDING: usize = 64;

/// What readers are promised.
#[derive(Debug, Clone, Copy)]
pub struct Terms {
    /// Answers that are older than this say so.
    pub lease: Duration,
    /// How much older they may be before reads are refused; `None` if reads are answered at any age.
    pub refuses_after: Option<Duration>,
}

impl Terms {
    /// Returns for how long reads are answered after a head poll was sent, if no later one succeeds; `None` if that has no
    /// end. Other replicas, and the receipts of writes, rely on it: after that a replica shows nothing old.
    pub(super) fn answers_for(self) -> Option<Duration> {
        self.refuses_after.map(|after| self.lease + after)
    }
}

/// What a replica knows of the age of what it has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Facts {
    has_state: bool,
    /// The replica has no state, or was counted as one that answers no reads, and has not published since then what
    /// other replicas' clients have learnt meanwhile.
    shut: bool,
    /// Counts the changes of `shut`.
    turn: u64,
    /// When the last poll that succeeded was sent.
    heard: Option<Moment>,
    /// When the last poll whose head is published was sent.
    current: Option<Moment>,
}

/// What a read is to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Answer: what is published is not older than the lease.
    Current,
    /// Answer, and say how old that may be.
    Old(Lag),
    /// Answer nothing.
    Refused(Lag),
    /// There is nothing to answer from.
    NoState,
}

/// How old what is published may be, and why.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lag {
    /// Why it is not known to be current.
    pub why: Why,
    /// `None` if it is not known, since this state has not been the journal's head yet.
    pub age: Option<Duration>,
}

/// Why what is published is not known to be current.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Why {
    /// No head poll has succeeded within the lease.
    Unheard,
    /// Head polls succeed, and the head that they found is not published.
    Behind,
}

impl Verdict {
    /// Returns true if reads are answered.
    pub fn answers(self) -> bool {
        matches!(self, Self::Current | Self::Old(_))
    }

    /// Returns how old what is published may be; `None` if it is current, or if there is no state.
    pub fn lag(self) -> Option<Lag> {
        match self {
            Self::Old(lag) | Self::Refused(lag) => Some(lag),
            Self::Current | Self::NoState => None,
        }
    }
}

impl Facts {
    /// Returns what a read at a moment is to do.
    pub fn verdict(&self, terms: Terms, now: Moment) -> Verdict {
        let lease = terms.lease;
        if !self.has_state {
            return Verdict::NoState;
        }
        let age = self.current.map(|sent| now - sent);
        let is_heard = self.heard.is_some_and(|sent| now - sent <= lease);
        let lag = Lag { why: if is_heard { Why::Behind } else { Why::Unheard }, age };
        let is_over = |answers: Duration| age.is_none_or(|age| age > answers);
        if self.shut || terms.answers_for().is_some_and(is_over) {
            Verdict::Refused(lag)
        } else if age.is_some_and(|age| age <= lease) {
            Verdict::Current
        } else {
            Verdict::Old(lag)
        }
    }

    /// Returns what is to be done with what was read since the moment when these facts were `then`. It may not be shown
    /// if reads were refused meanwhile, even if they are answered again: a read that was held up for so long has read
    /// an older state.
    pub fn verdict_since(&self, then: &Self, terms: Terms, now: Moment) -> Verdict {
        let shut = self.shut || self.turn != then.turn;
        Self { shut, current: then.current, ..*self }.verdict(terms, now)
    }
}

/// What is still to happen before a replica that has refused answers again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reopening {
    /// A poll that tells the journal what this replica has now, and compares it; and what comes after that.
    Compared,
    /// A poll that was sent after the one which has renewed the lease. Other replicas may have read the register
    /// between that poll's view of the journal and its commit. They have then counted this replica by its old row, up
    /// to a head that the poll's answer does not have.
    NextPoll,
    /// This version is published.
    Published(Version),
}

/// The facts' owner.
#[derive(Debug)]
pub(super) struct ReadGate {
    terms: Terms,
    facts: Facts,
    until: Option<Reopening>,
    /// Polls whose heads are not published yet, oldest first: when each was sent, and the head.
    pending: VecDeque<(Moment, Version)>,
}

impl ReadGate {
    pub(super) fn new(terms: Terms) -> Self {
        let facts = Facts { has_state: false, shut: true, turn: 0, heard: None, current: None };
        Self { terms, facts, until: Some(Reopening::Compared), pending: VecDeque::new() }
    }

    pub(super) fn terms(&self) -> Terms {
        self.terms
    }

    pub(super) fn facts(&self) -> Facts {
        self.facts
    }

    /// Returns true if the next poll that succeeds will not be enough to answer reads again.
    pub(super) fn wants_another(&self, now: Moment) -> bool {
        self.is_silent(now) || self.until == Some(Reopening::Compared)
    }

    /// Returns true if other replicas count this one as one that answers no reads, or may do so in a moment.
    fn is_silent(&self, now: Moment) -> bool {
        let is_over = |answers| self.facts.heard.is_none_or(|heard| now - heard > answers);
        self.terms.answers_for().is_some_and(is_over)
    }

    /// Takes a head poll that has succeeded: when it was sent, and the head that it has seen. The lease in the register
    /// ends no earlier than its own length after the poll was sent. `compared` says whether it was sent with what this
    /// replica has now.
    pub(super) fn polled(&mut self, sent: Moment, now: Moment, head: Version, compared: bool) {
        let was_silent = self.is_silent(now);
        self.until = match self.until {
            Some(Reopening::Compared) if !compared => self.until,
            Some(Reopening::Compared) => Some(Reopening::NextPoll),
            _ if was_silent => Some(Reopening::NextPoll),
            None => None,
            Some(Reopening::NextPoll) => Some(Reopening::Published(head)),
            // The lower of two: the journal may have been restored to an older state.
            Some(Reopening::Published(version)) => Some(Reopening::Published(version.min(head))),
        };
        if was_silent {
            self.set_shut(true);
        }
        self.facts.heard = self.facts.heard.max(Some(sent));
        if compared {
            self.remember(sent, head);
        }
    }

    fn remember(&mut self, sent: Moment, head: Version) {
        // What the journal had beyond its head is lost.
        self.pending.retain(|(_, earlier)| *earlier < head);
        if self.pending.len() == PENDING {
            let mut nth = 0;
            self.pending.retain(|_| {
                nth += 1;
                nth % 2 == 1
            });
        }
        self.pending.push_back((sent, head));
    }

    /// Takes a head poll that has failed: the age of the state is unknown. It is better to answer reads from it than to
    /// refuse them, unless this replica is configured to refuse.
    pub(super) fn failed(&mut self) {
        if self.facts.has_state && self.terms.refuses_after.is_none() {
            self.open();
        }
    }

    /// Takes the version that readers see now; `None` if there is no state.
    pub(super) fn published(&mut self, version: Option<Version>) {
        self.facts.has_state = version.is_some();
        let Some(version) = version else {
            self.until = Some(Reopening::Compared);
            self.facts.current = None;
            self.pending.clear();
            self.set_shut(true);
            return;
        };
        while let Some((sent, _)) = self.pending.pop_front_if(|(_, head)| *head <= version) {
            self.facts.current = self.facts.current.max(Some(sent));
        }
        if matches!(self.until, Some(Reopening::Published(until)) if version >= until) {
            self.open();
        }
    }

    fn open(&mut self) {
        self.until = None;
        self.set_shut(false);
    }

    fn set_shut(&mut self, shut: bool) {
        self.facts.turn += u64::from(shut != self.facts.shut);
        self.facts.shut = shut;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEASE: Duration = Duration::from_secs(2);
    const SERVE: Terms = Terms { lease: LEASE, refuses_after: None };
    const REFUSE: Terms = Terms { lease: LEASE, refuses_after: Some(Duration::from_secs(3)) };

    fn at(ms: u64) -> Moment {
        Moment(Duration::from_millis(ms))
    }

    fn old(why: Why, age_ms: impl Into<Option<u64>>) -> Lag {
        Lag { why, age: age_ms.into().map(Duration::from_millis) }
    }

    impl ReadGate {
        fn verdict(&self, ms: u64) -> Verdict {
            self.facts.verdict(self.terms, at(ms))
        }

        /// A poll that was sent then and is back 10 ms later, with the state that there is.
        fn poll(&mut self, ms: u64, head: Version) {
            self.polled(at(ms), at(ms + 10), head, true);
        }
    }

    /// It has answered, and is current as of 1 s, at version 5.
    fn in_step(terms: Terms) -> ReadGate {
        let mut gate = ReadGate::new(terms);
        gate.published(Some(5));
        gate.poll(500, 5);
        gate.poll(1_000, 5);
        gate.published(Some(5));
        assert_eq!(gate.verdict(1_010), Verdict::Current);
        gate
    }

    #[test]
    fn age_counts_from_last_poll_with_published_head() {
        for terms in [SERVE, REFUSE] {
            let mut gate = in_step(terms);
            assert_eq!(gate.verdict(3_000), Verdict::Current);
            // The journal is heard of all the while, and what it has does not come.
            for (ms, head) in [(1_250, 6), (1_500, 7), (2_900, 9)] {
                gate.poll(ms, head);
                gate.published(Some(5));
            }
            assert_eq!(gate.verdict(3_001), Verdict::Old(old(Why::Behind, 2_001)));
            gate.published(Some(8));
            assert_eq!(gate.verdict(3_500), Verdict::Current);
            assert_eq!(gate.verdict(3_501), Verdict::Old(old(Why::Behind, 2_001)));
            gate.published(Some(9));
            assert_eq!(gate.verdict(4_900), Verdict::Current);
            assert_eq!(gate.verdict(4_901), Verdict::Old(old(Why::Unheard, 2_001)));
        }
    }

    #[test]
    fn head_one_ahead_is_current_while_writes_go_on() {
        let mut gate = in_step(REFUSE);
        for nth in 0..1_000 {
            let (ms, head) = (1_250 + nth * 250, 6 + nth);
            gate.poll(ms, head);
            gate.published(Some(head - 1));
            assert_eq!(gate.verdict(ms + 11), Verdict::Current);
            gate.published(Some(head));
        }
    }

    #[test]
    fn replica_behind_refuses_once_its_state_is_too_old() {
        let mut gate = in_step(REFUSE);
        for nth in 1..40 {
            gate.poll(1_000 + nth * 250, 6);
            gate.published(Some(5));
        }
        assert_eq!(gate.verdict(6_000), Verdict::Old(old(Why::Behind, 5_000)));
        assert_eq!(gate.verdict(6_001), Verdict::Refused(old(Why::Behind, 5_001)));
        // It was heard of all the while: others have waited for it, and have been told nothing that it does not have.
        gate.published(Some(6));
        assert_eq!(gate.verdict(10_760), Verdict::Current);
    }

    #[test]
    fn bounded_pending_polls_never_understate_age() {
        let mut gate = in_step(SERVE);
        let sent = |head: Version| 1_000 + (head - 5) * 100;
        for head in 6..5_000 {
            gate.poll(sent(head), head);
            gate.published(Some(5));
            assert!(gate.pending.len() <= PENDING);
        }
        for version in (6..5_000).step_by(7) {
            gate.published(Some(version));
            assert!(gate.facts.current <= Some(at(sent(version))), "{version}");
        }
        gate.published(Some(4_999));
        assert_eq!(gate.facts.current, Some(at(sent(4_999))));
    }

    #[test]
    fn lost_head_is_not_waited_for() {
        let mut gate = in_step(SERVE);
        gate.poll(1_250, 9);
        // The journal was restored to an older state.
        gate.poll(1_500, 7);
        gate.published(Some(7));
        assert_eq!(gate.verdict(3_500), Verdict::Current);
    }

    #[test]
    fn checkpoint_state_is_behind_until_first_polls_head() {
        let mut gate = ReadGate::new(SERVE);
        gate.published(Some(3));
        gate.failed();
        assert_eq!(gate.verdict(700), Verdict::Old(old(Why::Unheard, None)));
        // That poll was sent before the checkpoint was there.
        gate.polled(at(750), at(760), 3, false);
        gate.published(Some(3));
        assert_eq!(gate.verdict(800), Verdict::Old(old(Why::Behind, None)));
        gate.poll(1_000, 9);
        gate.published(Some(3));
        assert_eq!(gate.verdict(1_010), Verdict::Old(old(Why::Behind, None)));
        gate.published(Some(8));
        assert_eq!(gate.verdict(1_020), Verdict::Old(old(Why::Behind, None)));
        gate.published(Some(9));
        assert_eq!(gate.verdict(1_030), Verdict::Current);
    }

    #[test]
    fn starting_replica_refuses_until_as_new_as_others() {
        for terms in [SERVE, REFUSE] {
            let mut gate = ReadGate::new(terms);
            let refuses = |gate: &mut ReadGate, version, ms| {
                gate.published(version);
                assert_eq!(gate.facts.shut, !gate.verdict(ms).answers());
                !gate.verdict(ms).answers()
            };
            assert!(refuses(&mut gate, None, 0) && gate.verdict(0) == Verdict::NoState);
            // From a checkpoint; that poll was sent before it was there.
            assert!(refuses(&mut gate, Some(3), 100) && gate.wants_another(at(100)));
            gate.polled(at(100), at(110), 3, false);
            assert!(refuses(&mut gate, Some(3), 110) && gate.wants_another(at(110)));
            gate.poll(200, 3);
            assert!(refuses(&mut gate, Some(3), 210) && !gate.wants_another(at(210)));
            gate.poll(300, 4);
            assert!(refuses(&mut gate, Some(3), 310));
            assert!(!refuses(&mut gate, Some(4), 320));
            gate.poll(400, 9);
            assert!(!refuses(&mut gate, Some(4), 410));
            let then = gate.facts();
            // Its state is given up: from the beginning.
            assert!(refuses(&mut gate, None, 420) && refuses(&mut gate, Some(9), 430));
            gate.poll(500, 9);
            assert!(refuses(&mut gate, Some(9), 510));
            gate.poll(600, 9);
            assert!(!refuses(&mut gate, Some(9), 610));
            let since = gate.facts().verdict_since(&then, terms, at(620));
            assert!(matches!(since, Verdict::Refused(_)), "{since:?}");
        }
    }

    #[test]
    fn only_serving_replica_answers_without_a_journal() {
        for (terms, answers) in [(SERVE, true), (REFUSE, false)] {
            let mut gate = ReadGate::new(terms);
            gate.failed();
            assert_eq!(gate.verdict(100), Verdict::NoState);
            gate.published(Some(3));
            gate.failed();
            assert_eq!(gate.verdict(100).answers(), answers);
            assert_eq!(gate.verdict(100).lag(), Some(old(Why::Unheard, None)));
        }
    }

    #[test]
    fn silent_replica_answers_again_after_a_second_poll() {
        let mut gate = in_step(REFUSE);
        let then = gate.facts();
        assert!(!gate.wants_another(at(6_000)) && gate.wants_another(at(6_001)));
        assert!(gate.verdict(6_000).answers() && !gate.verdict(6_001).answers());
        gate.poll(9_000, 8);
        gate.published(Some(8));
        assert_eq!(gate.verdict(9_010), Verdict::Refused(old(Why::Behind, 10)));
        // And once more before it has caught up: what the next poll says does not count yet.
        gate.poll(20_000, 9);
        gate.published(Some(9));
        assert!(!gate.verdict(20_010).answers());
        gate.poll(20_250, 11);
        gate.poll(20_500, 10);
        gate.published(Some(9));
        assert!(!gate.verdict(20_510).answers());
        gate.published(Some(10));
        assert_eq!(gate.verdict(20_520), Verdict::Current);
        // A read from before all that, held up until now, has not seen what other replicas' clients have learnt.
        assert!(!gate.facts().verdict_since(&then, REFUSE, at(20_520)).answers());
    }

    /// It was answered without the mark, if the replica had caught up while the answer was made.
    #[test]
    fn answer_is_as_old_as_the_state_that_was_read() {
        let mut gate = in_step(SERVE);
        let then = gate.facts();
        gate.poll(8_000, 9);
        gate.published(Some(9));
        assert_eq!(gate.verdict(8_010), Verdict::Current);
        let since = gate.facts().verdict_since(&then, SERVE, at(8_010));
        assert_eq!(since, Verdict::Old(old(Why::Behind, 7_010)));
    }
}
