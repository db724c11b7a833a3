//! How a state is given up, and how it is had again: from the journal's ads, or from the checkpoint.

use placard_engine::{Engine, Refusal};

use super::io::START;
use super::{Core, Moment, Output, Phase};
use crate::restores::Cause;

impl Core {
    /// Gives the state up because of what was refused; it is built anew from the journal.
    pub(super) fn discard(&mut self, refusal: &Refusal) {
        self.counts.forks += u64::from(matches!(refusal, Refusal::Fork(_)));
        self.give_up(Cause::of(refusal));
    }

    pub(super) fn give_up(&mut self, cause: Cause) {
        self.phase = if cause == Cause::Digest { Phase::Quarantined } else { Phase::Restoring };
        self.restore_cause = cause;
        self.history += 1;
        if cause == Cause::Fork {
            self.waiting.lose();
        }
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
        if registered && !reading && !self.restoring && now >= self.restore_due {
            self.restoring = true;
            outputs.push(Output::Restore);
        }
    }

    pub(super) fn restored(&mut self, engine: Option<Box<Engine>>, outputs: &mut Vec<Output>) {
        self.restoring = false;
        let Some(engine) = engine else { return };
        self.counts.restores.count(self.restore_cause);
        self.checkpoint.forget();
        self.engine.replace_with(*engine);
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
        self.engine.replace_with(*engine);
        self.phase = Phase::CatchingUp;
        self.publish(outputs);
    }

    pub(super) fn save_checkpoint(&mut self, now: Moment, outputs: &mut Vec<Output>) {
        let applied = self.engine.applied();
        let fit = (self.phase == Phase::Ready).then_some(applied.version);
        if self.checkpoint.begin_writing(now, fit) {
            outputs.push(Output::SaveCheckpoint(applied, self.engine.snapshot()));
        }
    }
}
