//! How a state is discarded, and how it is restored: from the journal's ads, or from the checkpoint.

use placard_engine::{Engine, Refusal};
use placard_model::limits;

use super::io::{Moment, Output, Phase, START};
use super::restores::RestoreCause;
use super::state::Core;

impl Core {
    /// Gives the state up because of what was refused; it is built again from the journal.
    pub(super) fn discard(&mut self, refusal: &Refusal) {
        self.counts.forks += u64::from(matches!(refusal, Refusal::Fork(_)));
        self.give_up(RestoreCause::of(refusal));
    }

    pub(super) fn give_up(&mut self, cause: RestoreCause) {
        self.phase =
            if cause == RestoreCause::Digest { Phase::Quarantined } else { Phase::Restoring };
        self.restore_cause = cause;
        self.history += 1;
        if cause == RestoreCause::Fork {
            self.waiting.lose();
        }
        self.lookup_for = None;
        self.poll.sent = None;
        self.poll.compared = false;
        self.poll.due = START;
    }

    /// Begins to build a state, when one may be built.
    pub(super) fn restore(&mut self, now: Moment, outputs: &mut Vec<Output>) {
        // Registered first: from then on the others wait for this replica before they call a write confirmed by all.
        let registered = self.target.is_some();
        if self.checkpoint.begin_reading() {
            outputs.push(Output::LoadCheckpoint);
        }
        let reading = self.checkpoint.is_being_read();
        if registered && !reading && !self.restoring && !self.emptied && now >= self.restore_due {
            self.restoring = true;
            self.restored_blindly = self.lease.has_ended();
            outputs.push(Output::Restore);
        }
    }

    /// Tries at once to build a state, if the replica lacks one: the journal is reached again, or is another one, and that
    /// restores have failed before says nothing of it.
    pub(super) fn restore_at_once(&mut self) {
        self.restore_pause = limits::RETRY_PAUSE_MAX / 2;
        self.restore_due = START;
    }

    pub(super) fn restored(&mut self, engine: Option<Box<Engine>>, outputs: &mut Vec<Output>) {
        self.restoring = false;
        let Some(engine) = engine else { return };
        // The journal was emptied meanwhile. With that state the replica would write to it as if there never was another.
        if engine.applied().version == 0 && self.has_entries() && !self.settings.takes_new_journal {
            return;
        }
        self.counts.restores.count(self.restore_cause);
        self.checkpoint.forget();
        self.lookup_for = None;
        let replaced = self.engine.replace_with(*engine);
        outputs.push(Output::Free(replaced));
        self.phase = Phase::CatchingUp;
        self.publish(outputs);
    }

    pub(super) fn checkpoint_loaded(
        &mut self,
        engine: Option<Box<Engine>>,
        outputs: &mut Vec<Output>,
    ) {
        let Some(engine) = engine else { return };
        // One that is as old as an empty log says nothing.
        if engine.applied().version == 0 {
            return;
        }
        self.counts.checkpoints_loaded += 1;
        self.checkpoint.used(engine.applied().version);
        self.lookup_for = None;
        let replaced = self.engine.replace_with(*engine);
        outputs.push(Output::Free(replaced));
        self.phase = Phase::CatchingUp;
        self.publish(outputs);
    }

    pub(super) fn save_checkpoint(&mut self, now: Moment, outputs: &mut Vec<Output>) {
        let applied = self.engine.applied().version;
        let fit = (self.phase == Phase::Ready).then_some(applied);
        if self.checkpoint.begin_writing(now, fit) {
            outputs.push(Output::SaveCheckpoint(self.engine.snapshot()));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use placard_engine::Reader;
    use placard_model::{Ad, Timestamp};
    use placard_testkit::log::Log;
    use placard_testkit::requests::spec;
    use uuid::Uuid;

    use super::*;
    use crate::core::Input;
    use crate::core::test_support::{core, head, step, step_at};
    use crate::ports::{Head, PollError, Unavailable};

    const ID: Uuid = Uuid::from_u128(1);

    /// An engine with one ad, and the log that holds the ad's entry.
    fn engine() -> (Box<Engine>, Log) {
        let (mut engine, mut log) = (Engine::new(), Log::default());
        let (version, created_at) = (0, Timestamp::EPOCH);
        let record = log.put(&mut Ad { id: ID, version, created_at, spec: spec("An ad") });
        engine.apply(&record).expect("it follows");
        engine.publish();
        (Box::new(engine), log)
    }

    fn is_unshared(reader: &Reader) -> bool {
        let ad = reader.ad(ID).expect("it is published");
        ad.encoded.bytes().is_unique()
    }

    /// Cloning a million ads kept all entries waiting for a tenth of a second, once a minute.
    #[test]
    fn checkpoint_clones_no_ad_within_the_step() {
        let mut core = core(Some(Duration::from_secs(1)));
        let (engine, log) = engine();
        step(&mut core, Input::Tick);
        step(&mut core, Input::CheckpointLoaded(None));
        step(&mut core, Input::Polled(Ok(head(log.head()))));
        let outputs = step(&mut core, Input::Restored(Some(engine)));
        let save = outputs.into_iter().find_map(|output| match output {
            Output::SaveCheckpoint(snapshot) => Some(snapshot),
            _ => None,
        });
        let snapshot = save.expect("a state that was restored is written down");
        assert!(is_unshared(&core.reader()));
        assert_eq!(snapshot.position(), log.head());
        let collected = snapshot.collect();
        assert!(collected.len() == 1 && !is_unshared(&core.reader()));
    }

    /// It waited for the rest of its pause, up to half a minute, although head polls succeeded again.
    #[test]
    fn restore_is_tried_at_once_when_journal_is_back() {
        let found = || head(engine().1.head());
        let another = || {
            let mut head = found();
            head.incarnation.started = head.now.saturating_add_micros(1);
            head
        };
        let restores =
            |outputs: &[Output]| outputs.iter().any(|output| matches!(output, Output::Restore));
        let mut core = core(None);
        let mut moment = Duration::ZERO;
        let polled = |core: &mut Core, moment, result: Result<Head, PollError>| {
            core.poll.due = START;
            step_at(core, moment, Input::Tick);
            step_at(core, moment, Input::Polled(result))
        };
        step(&mut core, Input::Tick);
        assert!(restores(&step(&mut core, Input::Polled(Ok(found())))));
        for is_another in [false, true, false] {
            // Many restores fail, as while the journal is restored itself.
            while core.restore_pause < limits::RESTORE_PAUSE_MAX {
                assert!(!restores(&step_at(&mut core, moment, Input::Restored(None))));
                moment += core.restore_pause;
                assert!(restores(&step_at(&mut core, moment, Input::Tick)));
            }
            step_at(&mut core, moment, Input::Restored(None));
            moment += Duration::from_secs(1);
            let outputs = if is_another {
                polled(&mut core, moment, Ok(another()))
            } else {
                let gone = Unavailable("reach it", "a test".into());
                assert!(!restores(&polled(&mut core, moment, Err(gone.into()))));
                let back =
                    if core.stream == Some(found().incarnation) { found() } else { another() };
                polled(&mut core, moment, Ok(back))
            };
            assert!(restores(&outputs), "{outputs:?}");
        }
    }

    /// Else a restore that is too much for the journal would be repeated without a pause.
    #[test]
    fn a_restore_that_fails_beside_good_polls_waits() {
        let (mut core, log) = (core(None), engine().1);
        let found = || Ok(head(log.head()));
        let at = Duration::from_millis;
        let restores =
            |outputs: Vec<Output>| outputs.iter().any(|output| matches!(output, Output::Restore));
        step(&mut core, Input::Tick);
        assert!(restores(step(&mut core, Input::Polled(found()))));
        assert!(!restores(step_at(&mut core, at(100), Input::Restored(None))));
        step_at(&mut core, at(200), Input::Tick);
        let gone = Unavailable("reach it", "a test".into());
        assert!(!restores(step_at(&mut core, at(300), Input::Polled(Err(gone.into())))));
        core.poll.due = START;
        assert!(!restores(step_at(&mut core, at(400), Input::Tick)));
        assert!(!restores(step_at(&mut core, at(500), Input::Polled(found()))));
        assert!(restores(step_at(&mut core, at(601), Input::Tick)));
    }

    /// Freeing a million ads did the same, after each restore.
    #[test]
    fn a_replaced_state_is_not_freed_in_the_step() {
        let mut core = core(None);
        let (first, log) = engine();
        let ad = first.reader().ad(ID).expect("it is published");
        step(&mut core, Input::Tick);
        step(&mut core, Input::Polled(Ok(head(log.head()))));
        step(&mut core, Input::Restored(Some(first)));
        let held = Arc::strong_count(&ad);
        core.give_up(RestoreCause::Gap);
        let mut outputs = step(&mut core, Input::Restored(Some(engine().0)));
        assert_eq!(Arc::strong_count(&ad), held);
        let free = |output: &Output| matches!(output, Output::Free(_));
        let at = outputs.iter().position(free).expect("it is to be freed");
        let Output::Free(replaced) = outputs.swap_remove(at) else { unreachable!() };
        assert!(replaced.free().is_ok());
        assert_eq!(Arc::strong_count(&ad), 1);
    }
}
