//! Applies entries to the engine, wherever they come from, and publishes them.

use placard_engine::Refusal;
use placard_model::entry::{Position, Record};
use placard_model::{Timestamp, Undecodable, limits};

use super::io::{Moment, Output, Phase, Purpose};
use super::state::Core;
use crate::decision::Plan;
use crate::ports::Unavailable;

/// Returns true if a page has about as much as it may have, so that there is likely more behind it. One that was cut
/// for its bytes lacks less than one entry.
fn is_full(page: &[Record]) -> bool {
    let bytes: usize = page.iter().map(|record| record.bytes.len()).sum();
    page.len() >= limits::READ_ENTRIES_MAX || bytes >= limits::READ_BYTES_MAX / 2
}

impl Core {
    /// Applies what this replica has just committed, without waiting for the stream to bring it, if it has everything
    /// before.
    pub(super) fn apply_own(&mut self, plan: &Plan, outputs: &mut Vec<Output>) {
        let first = plan.log.first().map(|row| row.record.version);
        if first != Some(self.engine.applied().version + 1) {
            return;
        }
        let records: Vec<_> = plan.log.iter().map(|row| row.record.clone()).collect();
        // A refusal for any other reason is looked into when the stream or a poll brings the same.
        if let Err(refusal @ Refusal::Diverged(_)) = self.apply(&records, outputs) {
            self.discard(&refusal);
        }
    }

    pub(super) fn stream_read(
        &mut self,
        result: Result<Vec<Record>, Unavailable>,
        outputs: &mut Vec<Output>,
    ) {
        self.reading_stream = false;
        if std::mem::take(&mut self.stale_work.read) {
            return;
        }
        match result {
            Err(_) => self.stream_suspect = true,
            Ok(records) => {
                match self.apply(&records, outputs) {
                    Ok(()) => {}
                    Err(refusal @ Refusal::Diverged(_)) => self.discard(&refusal),
                    // What was forgotten is not wrong; the journal has it.
                    Err(Refusal::Gap { .. }) => {
                        self.stream_gap = true;
                        self.counts.stream_gaps += 1;
                        self.heal(outputs);
                    }
                    Err(refusal) => {
                        self.stream_suspect = true;
                        self.counts.stream_rejects += 1;
                        // A poison entry is the journal's own; anything else is not.
                        if !matches!(refusal, Refusal::Poison(..)) {
                            self.relay.suspect();
                        }
                        self.heal(outputs);
                    }
                }
            }
        }
    }

    pub(super) fn log_read(
        &mut self,
        result: Result<Vec<Record>, Unavailable>,
        outputs: &mut Vec<Output>,
    ) {
        self.healing = false;
        let stale_work = std::mem::take(&mut self.stale_work.heal);
        let gap = std::mem::take(&mut self.stream_gap);
        let Ok(records) = result else {
            self.log_suspect = true;
            return;
        };
        let applied = self.engine.applied().version;
        let more = is_full(&records) || records.last().is_some_and(|last| last.version < self.head);
        let result = self.apply(&records, outputs);
        // The stream does not bring to others what it did not bring here: each replica that notices relays it.
        let upto = self.engine.applied().version;
        // A stream that is ahead of the journal is not read again at once, and neither is a journal that has
        // nothing more.
        self.stream_suspect |= gap && upto == applied;
        self.log_suspect |= upto == applied;
        if !stale_work {
            self.relay.push(records.into_iter().filter(|record| record.version <= upto));
        }
        match result {
            Ok(()) if more && upto > applied => self.heal(outputs),
            Ok(()) => {}
            // Written before this replica was on the register. A snapshot is behind it, and from now on nothing
            // is written that this replica cannot read.
            Err(refusal @ Refusal::Poison(_, Undecodable::TooNew(_))) => self.discard(&refusal),
            // Whatever is wrong is wrong in every copy: stay before it, keep serving, ask again at the next poll.
            Err(Refusal::Poison(..)) => self.log_suspect = true,
            Err(refusal) => self.discard(&refusal),
        }
    }

    /// Applies what follows, skips what is old, and publishes, whether or not all could be applied.
    fn apply(&mut self, records: &[Record], outputs: &mut Vec<Output>) -> Result<(), Refusal> {
        if !self.phase.has_state() {
            return Ok(());
        }
        // Readers see entries soon while a few come at a time; a catch-up publishes once for each page that is read.
        let catching_up = records.len() >= limits::READ_ENTRIES_MAX;
        let most = if catching_up { records.len() } else { limits::PUBLISH_ENTRIES_MAX };
        let refused = records.chunks(most.max(1)).find_map(|some| {
            let before = self.engine.applied().version;
            let refused = self.engine.apply_all(some).err();
            let applied = self.engine.applied().version - before;
            self.counts.applied += applied;
            if applied > 0 {
                self.publish(outputs);
                let new = before + 1..=before + applied;
                let new = some.iter().filter(|record| new.contains(&record.version));
                self.waiting.published(new, |ticket, reply| {
                    outputs.push(Output::Answer(ticket, reply));
                });
            }
            refused
        });
        match refused {
            None => Ok(()),
            Some(refusal) => {
                self.counts.diverged += u64::from(matches!(refusal, Refusal::Diverged(_)));
                self.counts.poison += u64::from(matches!(refusal, Refusal::Poison(..)));
                Err(refusal)
            }
        }
    }

    /// Lets ads begin and end in the index, periodically; or takes that back, if the clock was set back.
    pub(super) fn advance(&mut self, now: Moment, time: Timestamp) {
        if !self.phase.has_state() {
            return;
        }
        let mut changed = self.engine.rewind(time);
        if now >= self.advance_due {
            changed |= self.engine.advance(time);
            // Entries have their turn in between.
            let is_behind = self.engine.is_behind(time);
            let pause = if is_behind { limits::INDEX_ADVANCE_MORE } else { limits::INDEX_ADVANCE };
            self.advance_due = now + pause;
        }
        if changed {
            self.engine.publish();
        }
    }

    pub(super) fn publish(&mut self, outputs: &mut Vec<Output>) {
        let position = self.engine.publish();
        self.head = self.head.max(position.version);
        outputs.push(Output::Published(position));
        if self.phase == Phase::CatchingUp
            && self.target.is_some_and(|target| position.version >= target)
        {
            self.phase = Phase::Ready;
        }
    }

    /// Reads what comes next: from the stream, or from the journal while the stream does not bring it.
    pub(super) fn follow(&mut self, outputs: &mut Vec<Output>) {
        if let Some(stream) = self.stream
            && !self.stream_suspect
            && !self.reading_stream
            && !self.healing
        {
            self.reading_stream = true;
            outputs.push(Output::ReadStream(stream, self.engine.applied().version));
        }
        let stream_fails = self.relay.is_down() || self.stream_suspect;
        if stream_fails && !self.log_suspect && self.head > self.engine.applied().version {
            self.heal(outputs);
        }
    }

    /// Reads in the log whether what clients wait for has been passed over. Neither a restore, nor a state that was
    /// beyond a write when that was committed, tells the chain at the versions before its own.
    pub(super) fn look_up(&mut self, outputs: &mut Vec<Output>) {
        let applied = self.engine.applied();
        let passed = self.waiting.first().filter(|first| *first <= applied.version);
        if let Some(version) = passed
            && !self.looking_up
            && !self.lookup_suspect
        {
            self.looking_up = true;
            self.lookup_for = Some(applied);
            let max = limits::READ_ENTRIES_MAX;
            outputs.push(Output::ReadLog(Purpose::LookUp, version - 1, max));
        }
    }

    pub(super) fn looked_up(&mut self, records: Option<Vec<Record>>, outputs: &mut Vec<Output>) {
        self.looking_up = false;
        // The state may have been given up, or replaced, meanwhile.
        let Some(state) = self.lookup_for.take() else { return };
        let passed = self.waiting.first().filter(|first| *first <= state.version);
        let Some(version) = passed else { return };
        let Some(records) = records else {
            self.lookup_suspect = true;
            return;
        };
        let mut answer = |ticket, reply| outputs.push(Output::Answer(ticket, reply));
        if records.first().is_none_or(|first| first.version > version) {
            self.waiting.missing(version, &mut answer);
        }
        if self.is_told_by(&records, state) {
            let visible = records.iter().filter(|record| record.version <= state.version);
            self.waiting.published(visible, &mut answer);
        } else {
            self.lookup_suspect = true;
        }
    }

    /// Returns true if a state is of the history that these records tell. A state that is not is given up after the
    /// next poll; until then nothing of that history is visible. If the state is beyond a whole page, the last poll's
    /// word is taken.
    fn is_told_by(&self, records: &[Record], state: Position) -> bool {
        match records.iter().find(|record| record.version == state.version) {
            Some(record) => record.chain == state.chain,
            None if is_full(records) => self.poll.compared,
            // The log ends before the state does, or has been trimmed beyond it.
            None => false,
        }
    }

    /// Reads from the journal what the stream did not bring.
    pub(super) fn heal(&mut self, outputs: &mut Vec<Output>) {
        if !self.healing && self.phase.has_state() {
            self.healing = true;
            self.counts.heals += 1;
            let applied = self.engine.applied().version;
            outputs.push(Output::ReadLog(Purpose::Heal, applied, limits::READ_ENTRIES_MAX));
        }
    }
}

#[cfg(test)]
mod tests {
    use placard_engine::Engine;
    use placard_model::entry::Position;
    use placard_model::{Ad, Spec, Version};
    use placard_testkit::log::Log;
    use placard_testkit::requests::spec;
    use uuid::Uuid;

    use super::*;
    use crate::core::Input;
    use crate::core::test_support::{core, head, step};

    /// The log is read on at once, not at the next head poll, if a page was cut for its bytes: with a head that is known,
    /// and with one that is not.
    #[test]
    fn a_page_cut_for_its_bytes_is_followed_by_the_next() {
        let large = Spec { content: "x".repeat(10_000), ..spec("a large ad") };
        let put = |log: &mut Log, id| {
            let (version, created_at) = (0, Timestamp::EPOCH);
            log.put(&mut Ad { id: Uuid::from_u128(id), version, created_at, spec: large.clone() })
        };
        let mut log = Log::default();
        let records: Vec<_> = (1..=60).map(|id| put(&mut log, id)).collect();
        for (known, page) in [(60, 10), (1, Record::page(&records, records.len()))] {
            let mut core = core(None);
            step(&mut core, Input::Tick);
            let position = Position { version: known, ..log.head() };
            step(&mut core, Input::Polled(Ok(head(position))));
            step(&mut core, Input::Restored(Some(Box::new(Engine::new()))));
            core.head = known;
            assert!(page < records.len());
            let read = Input::LogRead(Purpose::Heal, Ok(records[..page].to_vec()));
            let outputs = step(&mut core, read);
            let next = |output: &Output| match output {
                Output::ReadLog(Purpose::Heal, after, _) => Some(*after),
                _ => None,
            };
            assert_eq!(outputs.iter().find_map(next), Some(page as Version), "{outputs:?}");
        }
    }
}
