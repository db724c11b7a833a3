//! The head poll: what this replica says of itself in it, and what its answer leads to.

use std::sync::Arc;

use placard_model::entry::{FORMAT_LEVEL_MIN, Incarnation, Position};
use placard_model::limits;
use placard_model::planted::Planted;

use super::cluster::{Asked, Cluster};
use super::io::{Moment, Output, Phase};
use super::poll::StaleWork;
use super::restores::RestoreCause;
use super::state::Core;
use crate::ports::{EMPTIED, Head, Heartbeat, PollError, ReplicaStatus, StreamStatus};

impl Core {
    /// Returns the head that a poll has found, unless it is that of an empty journal although a live replica has what the
    /// journal held: the one before was lost, or another database was put in its place. No replica may discard what it
    /// has because of that, so such a head is ignored. Nothing is written until the journal is restored, or an operator
    /// says that it is a new one. A replica that has entries would be [refused](crate::Batch::refuses_empty) in any case;
    /// one without entries must not be the first to write.
    pub(super) fn not_emptied(&mut self, polled: Result<Head, PollError>) -> Option<Head> {
        let knows = self.poll.had_entries;
        let head = match polled {
            Ok(head) => head,
            Err(PollError::NoJournal) => {
                self.emptied |= knows && !self.settings.takes_new_journal;
                return None;
            }
            Err(PollError::Unavailable(_)) => return None,
        };
        let others_know = head
            .members
            .iter()
            .any(|member| member.status.state == EMPTIED && member.lease_until > head.now);
        self.emptied = head.position.version == 0
            && (knows || others_know)
            && !self.settings.takes_new_journal;
        (!self.emptied).then_some(head)
    }

    /// Sends a head poll if one is due, and asks the stream for its status.
    pub(super) fn poll_next(&mut self, now: Moment, outputs: &mut Vec<Output>) {
        if self.poll.under_way || now < self.poll.due {
            return;
        }
        let applied = self.engine.applied();
        self.poll.under_way = true;
        self.poll.number += 1;
        self.poll.sent_at = now;
        self.poll.sent = self.phase.has_state().then_some(applied);
        self.poll.had_entries = self.has_entries();
        outputs.push(Output::Poll(self.heartbeat(), applied.version));
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
        if std::mem::take(&mut self.restored_blindly) {
            self.restore_at_once();
        }
        self.follow_journal(head.incarnation, outputs);
        self.trim_stream(now, &head, outputs);
        let (position, chain_at) = (head.position, head.chain_at);
        let asked = Asked { poll: self.poll.number, sent: self.poll.sent_at, returned: now };
        self.cluster = Some(Arc::new(Cluster::polled(self.cluster.as_deref(), head, asked)));
        // The head read after registering: a replica is ready when it is there. What was above the head that is read now
        // is lost.
        let target = self.target.map_or(position.version, |target| target.min(position.version));
        self.target = Some(target);
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
            self.give_up(RestoreCause::Fork);
            return;
        }
        self.poll.compared = true;
        // If the log has been trimmed beyond what was sent, the poll proves nothing.
        if (chain_at == Some(sent.chain) || position == sent)
            && let Some(cluster) = self.cluster.as_mut().and_then(Arc::get_mut)
        {
            cluster.history = Some(self.history);
        }
        let applied = self.engine.applied().version;
        // A head that was known before may have been lost with a server that failed over.
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

    /// Follows the journal that there is now, and its stream, unless the replica follows it already. Work under way
    /// concerns the journal before, of which this one may be a copy, or the other way round: none of it is for the new
    /// stream. What the new stream lacks, the replicas read from the journal.
    fn follow_journal(&mut self, journal: Incarnation, outputs: &mut Vec<Output>) {
        if self.stream == Some(journal) {
            return;
        }
        let is_first = self.stream.replace(journal).is_none();
        outputs.push(Output::Follow(journal));
        if is_first {
            return;
        }
        self.stale_work = StaleWork {
            read: self.reading_stream,
            inspection: self.inspecting,
            heal: self.healing,
            commit: self.committer.is_under_way(),
        };
        self.relay.leave();
        self.restore_at_once();
    }

    /// Periodically drops from the stream what no live replica needs any more, and what is beyond its
    /// bound whether needed or not: a replica that is stuck must not fill the broker, and heals from the
    /// journal.
    fn trim_stream(&mut self, now: Moment, head: &Head, outputs: &mut Vec<Output>) {
        if now < self.trim_due {
            return;
        }
        self.trim_due = now + limits::STREAM_TRIM;
        let stream = head.incarnation;
        let live = head.members.iter().filter(|member| member.lease_until > head.now);
        let needed = live.map(|member| member.status.published.version).min();
        let keep = needed.unwrap_or(0).saturating_sub(limits::STREAM_SPARE);
        let (max, version) = (self.settings.stream_entries_max, head.position.version);
        outputs.push(Output::TrimStream(stream, keep, max, version));
    }

    pub(super) fn inspected(&mut self, status: Option<StreamStatus>) {
        self.inspecting = false;
        let stale_work = std::mem::take(&mut self.stale_work.inspection);
        let status = status.filter(|_| !stale_work);
        self.relay.inspected(status.as_ref());
        if let (Some(cluster), Some(stream)) = (&self.cluster, status) {
            self.cluster = Some(Arc::new(cluster.inspected(stream)));
        }
    }

    /// Returns the newest format level that all registered replicas read; until the register is known, the oldest.
    /// Replicas that cannot read what the journal holds already do not count: a level that they can read would not help
    /// them.
    pub(super) fn format_level(&self) -> u8 {
        let known = self.cluster.as_ref().filter(|_| !Planted::LevelOfRegister.is_there());
        let needed = known.map_or(FORMAT_LEVEL_MIN, |cluster| cluster.level);
        let members = self.cluster.iter().flat_map(|cluster| &cluster.members);
        let levels = members.map(|member| member.identity.format_level);
        let oldest = levels.filter(|level| *level >= needed).min();
        let own = self.settings.identity.format_level;
        oldest.unwrap_or(FORMAT_LEVEL_MIN).clamp(FORMAT_LEVEL_MIN, own)
    }

    fn heartbeat(&self) -> Heartbeat {
        // What the replica had before it gave its state up confirms nothing.
        let published =
            if self.phase.has_state() { self.engine.applied() } else { Position::START };
        // A replica without entries knows of it only from others: two of them would keep each other in this state for
        // ever.
        let knows = self.emptied && self.has_entries();
        let status = ReplicaStatus {
            state: match (self.draining, knows) {
                (true, _) => "draining",
                (false, true) => EMPTIED,
                (false, false) => self.phase.code(),
            }
            .to_owned(),
            published,
            clock_ahead: self.clock_ahead,
            tails_journal: self.relay.is_down() || self.stream_suspect,
        };
        let (identity, lease) = (self.settings.identity.clone(), self.settings.lease);
        let cluster = self.cluster.as_deref();
        let known = cluster.map_or_else(Vec::new, |cluster| cluster.others(identity.replica));
        let forgotten = cluster.map_or_else(Vec::new, |cluster| cluster.gone_by(self.poll.sent_at));
        Heartbeat { identity, status, lease, known, forgotten }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use placard_engine::Engine;
    use placard_model::entry::{Chain, Digest, FORMAT_LEVEL};
    use placard_model::{Ad, Timestamp};
    use placard_testkit::log::Log;
    use placard_testkit::requests::{create, request, spec};
    use uuid::Uuid;

    use super::*;
    use crate::core::io::START;
    use crate::core::test_support::{Running, core, deletion, head, step, step_at};
    use crate::core::{Input, Moment};
    use crate::decision::Batch;
    use crate::ports::{CommitError, Member, Unavailable};

    /// It was sent with a state that is gone, and says nothing of the one that has come since.
    #[test]
    fn poll_sent_before_a_restore_compares_nothing() {
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

    /// A replica that has an ad, and where the journal stood then.
    fn replica() -> (Core, Log) {
        let (mut core, mut engine, mut log) = (core(None), Engine::new(), Log::default());
        let (id, version, created_at) = (Uuid::from_u128(1), 0, Timestamp::EPOCH);
        let record = log.put(&mut Ad { id, version, created_at, spec: spec("An ad") });
        engine.apply(&record).expect("it follows");
        engine.publish();
        step(&mut core, Input::Tick);
        step(&mut core, Input::Polled(Ok(head(log.head()))));
        step(&mut core, Input::Restored(Some(Box::new(engine))));
        polled(&mut core, head(log.head()));
        assert!(core.phase() == Phase::Ready && !core.is_emptied());
        (core, log)
    }

    /// The next poll that is sent finds this.
    fn polled(core: &mut Core, found: Head) -> Vec<Output> {
        core.poll.due = START;
        if !core.poll.under_way {
            step(core, Input::Tick);
        }
        step(core, Input::Polled(Ok(found)))
    }

    fn committed(outputs: &[Output]) -> Option<&Batch> {
        outputs.iter().find_map(|output| match output {
            Output::Commit(batch) => Some(&**batch),
            _ => None,
        })
    }

    fn commits(outputs: &[Output]) -> bool {
        committed(outputs).is_some()
    }

    fn submit(core: &mut Core) -> Vec<Output> {
        let write = Arc::new(request(1, vec![create(7, "New")]));
        step(core, Input::Submit(vec![(1, write)], Moment(Duration::from_secs(5))))
    }

    /// The journal was restored to an older state while the replica started: it was to reach a head that is lost.
    #[test]
    fn lost_head_keeps_no_replica_from_being_ready() {
        let (mut core, mut engine, mut log) = (core(None), Engine::new(), Log::default());
        let (id, version, created_at) = (Uuid::from_u128(1), 0, Timestamp::EPOCH);
        let record = log.put(&mut Ad { id, version, created_at, spec: spec("An ad") });
        engine.apply(&record).expect("it follows");
        let lost = Position { version: 5, chain: Chain([7; 32]), ..log.head() };
        step(&mut core, Input::Tick);
        step(&mut core, Input::Polled(Ok(head(lost))));
        step(&mut core, Input::Restored(Some(Box::new(engine))));
        assert_eq!(core.phase(), Phase::CatchingUp);
        polled(&mut core, head(log.head()));
        assert_eq!(core.phase(), Phase::Ready);
    }

    #[test]
    fn replica_with_ads_does_not_follow_an_empty_journal() {
        let (mut core, log) = replica();
        for _ in 0..3 {
            let outputs = polled(&mut core, head(Position::START));
            assert!(core.is_emptied() && core.phase() == Phase::Ready);
            assert!(!outputs.iter().any(|output| matches!(output, Output::Restore)));
            assert_eq!((core.reader().ads(), core.heartbeat().status.state.as_str()), (1, EMPTIED));
        }
        assert!(!commits(&submit(&mut core)), "nothing is written");
        assert!(core.wake_at() > Some(START), "nor is it tried repeatedly");
        // It was restored.
        assert!(commits(&polled(&mut core, head(log.head()))));
        assert!(!core.is_emptied() && core.reader().ads() == 1);
    }

    /// It was called stale.
    #[test]
    fn database_without_tables_is_an_empty_journal() {
        let (mut core, log) = replica();
        let gone = |core: &mut Core| {
            core.poll.due = START;
            step(core, Input::Tick);
            step(core, Input::Polled(Err(PollError::NoJournal)))
        };
        gone(&mut core);
        assert!(core.is_emptied() && core.phase() == Phase::Ready);
        assert_eq!((core.reader().ads(), core.heartbeat().status.state.as_str()), (1, EMPTIED));
        assert!(!commits(&submit(&mut core)), "nothing is written");
        assert!(commits(&polled(&mut core, head(log.head()))), "it was restored");
        assert!(!core.is_emptied());
        // One that has nothing, or that is to begin a new journal, waits for the tables.
        let mut without = crate::core::test_support::core(None);
        gone(&mut without);
        assert!(!without.is_emptied());
        core.settings.takes_new_journal = true;
        gone(&mut core);
        assert!(!core.is_emptied());
    }

    #[test]
    fn emptied_journal_is_followed_once_written_to() {
        let (mut core, _) = replica();
        polled(&mut core, head(Position::START));
        let chain = Chain([7; 32]);
        polled(&mut core, head(Position { version: 1, chain, ..Position::START }));
        assert!(!core.is_emptied() && core.phase() == Phase::Restoring);
    }

    #[test]
    fn new_journal_replaces_another_if_allowed() {
        let (mut core, _) = replica();
        core.settings.takes_new_journal = true;
        polled(&mut core, head(Position::START));
        assert!(!core.is_emptied() && core.phase() == Phase::Restoring);
    }

    /// It would write into it, and the others would follow.
    #[test]
    fn replica_without_ads_defers_to_one_that_has_ads() {
        let (other, _) = {
            let (mut other, log) = replica();
            polled(&mut other, head(Position::START));
            (other.heartbeat(), log)
        };
        let lease = Timestamp::EPOCH.saturating_add_micros(1);
        let row = |heartbeat: &Heartbeat, lease_until| Member {
            identity: heartbeat.identity.clone(),
            status: heartbeat.status.clone(),
            seen_at: Timestamp::EPOCH,
            lease_until,
        };
        for (lease_until, heeded) in [(lease, true), (Timestamp::EPOCH, false)] {
            let mut core = core(None);
            let members = vec![row(&other, lease_until)];
            polled(&mut core, Head { members, ..head(Position::START) });
            assert_eq!(core.is_emptied(), heeded);
            assert_ne!(commits(&submit(&mut core)), heeded);
            // The other has gone. What this one, or a third that has nothing either, says of itself does not count.
            let own = core.heartbeat();
            let members = vec![row(&other, Timestamp::EPOCH), row(&own, lease), row(&own, lease)];
            let outputs = polled(&mut core, Head { members, ..head(Position::START) });
            assert!(!core.is_emptied());
            assert_eq!(commits(&outputs), heeded, "what has waited goes on");
        }
    }

    /// The hold lasted one lease only, and a head poll may take as long.
    #[test]
    fn failed_polls_do_not_end_an_empty_journals_hold() {
        let (mut core, _) = replica();
        polled(&mut core, head(Position::START));
        assert!(!commits(&submit(&mut core)));
        for second in 1..20 {
            let at = Duration::from_secs(second);
            let cause = Unavailable("be polled", "it is away".into());
            let outputs = step_at(&mut core, at, Input::Polled(Err(cause.into())));
            assert!(core.is_emptied() && !commits(&outputs), "after {second} s");
            assert!(core.wake_at() > Some(Moment(at)));
            assert!(!commits(&step_at(&mut core, at, Input::Tick)));
        }
    }

    #[test]
    fn batch_in_flight_ends_no_empty_journals_hold() {
        for unknown in [false, true] {
            let (mut core, log) = replica();
            assert!(commits(&submit(&mut core)));
            polled(&mut core, head(Position::START));
            let cause = "the tables are gone".into();
            let error = match unknown {
                true => CommitError::Unknown(cause),
                false => CommitError::NotCommitted(cause),
            };
            assert!(!commits(&step(&mut core, Input::Committed(Err(error)))));
            let at = Duration::from_secs(1);
            assert!(!commits(&step_at(&mut core, at, Input::Tick)));
            assert!(core.wake_at() > Some(Moment(at)));
            // It was restored.
            let outputs = step_at(&mut core, at, Input::Polled(Ok(head(log.head()))));
            let repeated = committed(&outputs).map(|batch| batch.repeated);
            assert_eq!(repeated, Some(unknown));
        }
    }

    /// Before a head poll, or between two.
    #[test]
    fn replica_with_entries_commits_to_no_empty_journal() {
        let refuses = |core: &mut Core| {
            let outputs = submit(core);
            committed(&outputs).expect("nothing holds it").refuses_empty
        };
        assert!(refuses(&mut replica().0));
        // Those of its checkpoint may be about to come.
        let mut begun = core(Some(Duration::from_secs(1)));
        step(&mut begun, Input::Tick);
        assert!(refuses(&mut begun));
        let mut new = core(Some(Duration::from_secs(1)));
        step(&mut new, Input::Tick);
        step(&mut new, Input::CheckpointLoaded(None));
        assert!(!refuses(&mut new));
        let (mut anew, _) = replica();
        anew.settings.takes_new_journal = true;
        assert!(!refuses(&mut anew));
    }

    /// It would have none then, and write to it.
    #[test]
    fn abandoned_state_is_not_replaced_by_an_empty_one() {
        let (mut core, log) = replica();
        core.give_up(RestoreCause::Fork);
        step(&mut core, Input::Tick);
        step(&mut core, Input::Restored(Some(Box::new(Engine::new()))));
        assert!(core.has_entries() && core.phase() == Phase::Restoring);
        polled(&mut core, head(Position::START));
        assert!(core.is_emptied() && !commits(&submit(&mut core)));
        assert_eq!(core.heartbeat().status.state, EMPTIED);
        // Nor is it restored repeatedly while the journal is empty.
        core.restore_due = START;
        let outputs = step(&mut core, Input::Tick);
        assert!(!outputs.iter().any(|output| matches!(output, Output::Restore)), "{outputs:?}");
        assert_ne!(core.wake_at(), Some(START));
        polled(&mut core, head(log.head()));
        assert!(!core.is_emptied());
    }
}
