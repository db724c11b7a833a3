//! The head poll: what this replica says of itself in it, and what its answer leads to.

use std::sync::Arc;

use placard_model::entry::{FORMAT_LEVEL_MIN, Incarnation, Position};
use placard_model::limits;

use super::cluster::{Asked, Cluster};
use super::io::{Moment, Output, Phase};
use super::poll::OfOther;
use super::restores::Cause;
use super::state::Core;
use crate::ports::{Beat, Head, Standing, StreamStatus};

impl Core {
    /// Sends one if it is due, and asks the stream how it stands.
    pub(super) fn poll_next(&mut self, now: Moment, outputs: &mut Vec<Output>) {
        if self.poll.under_way || now < self.poll.due {
            return;
        }
        let applied = self.engine.applied();
        self.poll.under_way = true;
        self.poll.number += 1;
        self.poll.sent_at = now;
        self.poll.sent = self.phase.has_state().then_some(applied);
        outputs.push(Output::Poll(self.beat(), applied.version));
        if !self.inspecting
            && let Some(stream) = self.stream
        {
            self.inspecting = true;
            outputs.push(Output::InspectStream(stream));
        }
    }

    pub(super) fn polled(&mut self, now: Moment, head: Option<Head>, outputs: &mut Vec<Output>) {
        self.poll.under_way = false;
        self.poll.compared = false;
        let sent = self.poll.sent.take();
        // Whatever failed is tried again, whether or not the journal answers.
        self.relay.retry();
        self.log_suspect = false;
        self.lookup_suspect = false;
        let suspect = std::mem::take(&mut self.stream_suspect);
        let Some(head) = head else {
            // A checkpoint, and no journal to tell how old it is: reads are better answered from it than not.
            if self.phase == Phase::CatchingUp && self.target.is_none() {
                self.phase = Phase::Ready;
            }
            return;
        };
        self.lease.renew(self.poll.sent_at, now);
        self.follow_journal(head.incarnation, outputs);
        self.trim_stream(now, &head, outputs);
        let (position, chain_at) = (head.position, head.chain_at);
        let asked = Asked { poll: self.poll.number, sent: self.poll.sent_at, returned: now };
        self.cluster = Some(Arc::new(Cluster::polled(self.cluster.as_deref(), head, asked)));
        // The head read after registering: a replica is ready when it is there.
        let target = *self.target.get_or_insert(position.version);
        let Some(sent) = sent else { return };
        // A head below what was applied when the poll was sent, or another chain at that version: the journal
        // tells another history than the one this state comes from, and the journal is the truth.
        let forked = position.version < sent.version
            || chain_at.is_some_and(|chain| chain != sent.chain)
            || (position.version == sent.version && position != sent);
        if forked {
            self.counts.forks += 1;
            self.head = position.version;
            self.target = Some(position.version);
            self.relay.suspect();
            self.give_up(Cause::Fork);
            return;
        }
        self.poll.compared = true;
        // Where the log has been trimmed beyond what was sent, nothing is proved.
        if (chain_at == Some(sent.chain) || position == sent)
            && let Some(cluster) = self.cluster.as_mut().and_then(Arc::get_mut)
        {
            cluster.history = Some(self.history);
        }
        let applied = self.engine.applied().version;
        // What was known of a head may have been lost with a server that failed over.
        self.head = position.version.max(applied);
        if self.phase == Phase::CatchingUp && applied >= target {
            self.phase = Phase::Ready;
        }
        let lags = position.version > applied;
        let stuck =
            suspect || self.poll.behind_at == Some(applied) || self.phase == Phase::CatchingUp;
        self.poll.behind_at = lags.then_some(applied);
        if lags && stuck {
            self.heal(outputs);
        }
    }

    /// Goes over to the journal that there is now and to its stream, unless that is the one it has. What is under way has to
    /// do with the one before, which may be a copy of this one, or what this one is a copy of: nothing of it is for the new
    /// stream. What that lacks the others, and this replica, read from the journal.
    fn follow_journal(&mut self, journal: Incarnation, outputs: &mut Vec<Output>) {
        if self.stream == Some(journal) {
            return;
        }
        let is_first = self.stream.replace(journal).is_none();
        outputs.push(Output::Follow(journal));
        if is_first {
            return;
        }
        self.of_other = OfOther {
            read: self.reading_stream,
            inspection: self.inspecting,
            heal: self.healing,
            commit: self.committer.is_under_way(),
        };
        self.relay.leave();
    }

    /// Now and then, what no live replica needs any more is dropped from the stream, and what is beyond its
    /// bound whether needed or not: a replica that is stuck must not fill the broker, and heals from the
    /// journal.
    fn trim_stream(&mut self, now: Moment, head: &Head, outputs: &mut Vec<Output>) {
        if now < self.trim_due {
            return;
        }
        self.trim_due = now + limits::STREAM_TRIM;
        let stream = head.incarnation;
        let live = head.members.iter().filter(|member| member.lease_until > head.now);
        let needed = live.map(|member| member.standing.published.version).min();
        let keep = needed.unwrap_or(0).saturating_sub(limits::STREAM_SPARE);
        outputs.push(Output::TrimStream(stream, keep, self.settings.stream_entries_max));
    }

    pub(super) fn inspected(&mut self, status: Option<StreamStatus>) {
        self.inspecting = false;
        let of_other = std::mem::take(&mut self.of_other.inspection);
        let status = status.filter(|_| !of_other);
        self.relay.inspected(status.as_ref());
        if let (Some(cluster), Some(stream)) = (&self.cluster, status) {
            self.cluster = Some(Arc::new(cluster.inspected(stream)));
        }
    }

    /// The newest format that all registered replicas read; until the register is known, the oldest. Those that cannot
    /// read what the journal holds already do not count: what they could read would not help them.
    pub(super) fn format_level(&self) -> u8 {
        let needed = self.cluster.as_ref().map_or(FORMAT_LEVEL_MIN, |cluster| cluster.level);
        let members = self.cluster.iter().flat_map(|cluster| &cluster.members);
        let levels = members.map(|member| member.identity.format_level);
        let oldest = levels.filter(|level| *level >= needed).min();
        let own = self.settings.identity.format_level;
        oldest.unwrap_or(FORMAT_LEVEL_MIN).clamp(FORMAT_LEVEL_MIN, own)
    }

    fn beat(&self) -> Beat {
        // What it had before it gave its state up confirms nothing.
        let published =
            if self.phase.has_state() { self.engine.applied() } else { Position::START };
        let standing = Standing {
            state: if self.draining { "draining" } else { self.phase.code() }.to_owned(),
            published,
            clock_ahead: self.clock_ahead,
            tails_journal: self.relay.is_down() || self.stream_suspect,
        };
        let (identity, lease) = (self.settings.identity.clone(), self.settings.lease);
        let cluster = self.cluster.as_deref();
        let known = cluster.map_or_else(Vec::new, |cluster| cluster.others(identity.replica));
        let forgotten = cluster.map_or_else(Vec::new, |cluster| cluster.gone_by(self.poll.sent_at));
        Beat { identity, standing, lease, known, forgotten }
    }
}

#[cfg(test)]
mod tests {
    use placard_model::entry::{Chain, Digest, FORMAT_LEVEL};

    use super::*;
    use crate::core::Input;
    use crate::core::test_support::{Running, deletion};

    /// It was sent with a state that is gone, and says nothing of the one that has come since.
    #[test]
    fn a_poll_that_was_sent_before_a_restore_compares_nothing() {
        let mut running = Running::new();
        let polls = |running: &Running| {
            running.outputs.iter().any(|output| matches!(output, Output::Poll(..)))
        };
        assert!(polls(&running));
        running.polled(Chain::GENESIS);
        assert!(running.core.is_compared());
        running.step(Input::Tick);
        assert!(polls(&running));
        running.refuses(deletion(1, FORMAT_LEVEL, Digest(1)), Phase::Quarantined);
        assert!(!running.core.is_compared() && !polls(&running));
        running.polled(Chain::GENESIS);
        assert!(!running.core.is_compared());
        running.step(Input::Tick);
        assert!(polls(&running));
        running.polled(Chain::GENESIS);
        assert!(running.core.is_compared());
    }
}
