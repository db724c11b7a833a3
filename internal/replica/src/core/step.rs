//! One step: what the core does with an input, and what it starts then.

use placard_model::limits;

use super::committer::Pending;
use super::histogram::{COMMIT_ENTRIES_BOUNDS, COMMIT_MICROS_BOUNDS};
use super::io::{Input, Moment, Now, Output, Purpose, Reply};
use super::relay::Work;
use super::state::Core;
use crate::decision::Plan;
use crate::ports::CommitError;

impl Core {
    /// Takes one input and adds what is to be done to `outputs`.
    pub fn step(&mut self, at: Now, input: Input, outputs: &mut Vec<Output>) {
        let Now { moment: now, time, poll_after } = at;
        // Before what the journal has answered meanwhile: a replica that was held has been silent all the same.
        self.counts.lease_ends += u64::from(self.lease.ends(now));
        match input {
            Input::Submit(submitted, deadline) => {
                for (ticket, request) in submitted {
                    self.submit(Pending { ticket, request, deadline, answered: false }, outputs);
                }
            }
            Input::Committed(result) => self.committed(now, result, outputs),
            Input::Appended(result) => self.relay.appended(result.ok()),
            Input::StreamRead(result) => self.stream_read(result, outputs),
            Input::LogRead(Purpose::Relay, result) => {
                self.counts.relayed += self.relay.read(result.ok()) as u64;
            }
            Input::LogRead(Purpose::Heal, result) => self.log_read(result, outputs),
            Input::LogRead(Purpose::LookUp, result) => self.looked_up(result.ok(), outputs),
            Input::Polled(result) => {
                self.poll.due = now + poll_after;
                let told = self.not_emptied(result);
                let head = told.as_ref().map(|head| head.position.version);
                self.polled(now, told, outputs);
                match head {
                    Some(head) => {
                        self.gate.polled(self.poll.sent_at, now, head, self.poll.compared);
                    }
                    None => self.gate.failed(),
                }
            }
            Input::StreamInspected(result) => self.inspected(result.ok()),
            Input::StreamReset(result) => {
                self.counts.stream_resets += u64::from(result.is_ok());
                self.relay.reset(result.ok());
            }
            Input::StreamTrimmed(Ok(())) => self.counts.stream_trims += 1,
            Input::StreamTrimmed(Err(_)) => self.counts.stream_trims_failed += 1,
            Input::ClockCompared(ahead) => self.clock_ahead = ahead,
            Input::Restored(engine) => {
                self.poll.due = now;
                self.restore_pause = match &engine {
                    Some(_) => limits::RETRY_PAUSE_MAX,
                    None => (self.restore_pause * 2).min(limits::RESTORE_PAUSE_MAX),
                };
                self.restore_due = now + self.restore_pause;
                self.restored(engine, outputs);
            }
            Input::CheckpointLoaded(engine) => {
                self.checkpoint.read();
                // To be compared with the journal.
                self.poll.due = now;
                self.checkpoint_loaded(engine, outputs);
            }
            Input::CheckpointSaved(result) => self.checkpoint.written(result.is_ok()),
            Input::Tick => {}
            Input::Drain => self.draining = true,
        }
        let mut answer = |ticket, reply| outputs.push(Output::Answer(ticket, reply));
        self.committer.expire(now, &mut answer);
        self.waiting.expire(now, self.head, &mut answer);
        self.advance(now, time);
        let version = self.engine.reader().published().version;
        self.gate.published(self.phase.has_state().then_some(version));
        self.proceed(now, outputs);
    }

    fn submit(&mut self, pending: Pending, outputs: &mut Vec<Output>) {
        if self.draining {
            outputs.push(Output::Answer(pending.ticket, Reply::Unavailable));
        } else if let Err(ticket) = self.committer.submit(pending) {
            outputs.push(Output::Answer(ticket, Reply::Overloaded));
        }
    }

    fn committed(
        &mut self,
        now: Moment,
        result: Result<Plan, CommitError>,
        outputs: &mut Vec<Output>,
    ) {
        match &result {
            Ok(plan) => {
                self.counts.commits += 1;
                let entries = plan.log.len() as u64;
                self.counts.entries += entries;
                self.counts.commit_entries.record(&COMMIT_ENTRIES_BOUNDS, entries);
                let took = self.committer.under_way_for(now).unwrap_or_default();
                let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
                self.counts.commit_micros.record(&COMMIT_MICROS_BOUNDS, micros);
            }
            Err(CommitError::NotCommitted(_)) => self.counts.commits_failed += 1,
            Err(CommitError::Unknown(_)) => self.counts.commits_unknown += 1,
            Err(CommitError::Refused(_)) => self.counts.commits_refused += 1,
        }
        if let Ok(plan) = &result {
            self.head = self.head.max(plan.head.version);
            self.apply_own(plan, outputs);
        }
        // A version's number says nothing: the engine may hold another history under it, until the replica has noticed and
        // has restored. What is not certain now is looked up by its chain.
        let applied = self.phase.has_state().then(|| self.engine.applied());
        for decided in self.committer.returned(now, &result) {
            let (pending, answer) = (decided.pending, decided.answer);
            if pending.answered {
                continue;
            }
            let Some(answer) = answer else {
                outputs.push(Output::Answer(pending.ticket, Reply::Unknown));
                continue;
            };
            let wrote = answer.outcomes.iter().any(|outcome| outcome.entry().is_some());
            if let Ok(plan) = &result
                && wrote
                && applied != Some(plan.head)
            {
                let awaited = plan.awaited(answer.version);
                self.waiting.insert(pending.ticket, answer, awaited, pending.deadline);
            } else {
                outputs.push(Output::Answer(pending.ticket, Reply::Applied(answer)));
            }
        }
        let stale_work = std::mem::take(&mut self.stale_work.commit);
        if let Ok(plan) = result
            && !stale_work
        {
            self.relay.push(plan.log.into_iter().map(|row| row.record));
        }
    }

    /// Starts what can be started.
    fn proceed(&mut self, now: Moment, outputs: &mut Vec<Output>) {
        if !self.emptied {
            let (level, refuses_empty) = (self.format_level(), self.refuses_empty());
            let batch = self.committer.next(now, level, refuses_empty);
            outputs.extend(batch.map(Output::Commit));
        }
        self.relay_next(now, outputs);
        self.poll_next(now, outputs);
        if self.phase.has_state() {
            self.save_checkpoint(now, outputs);
            self.follow(outputs);
            self.look_up(outputs);
        } else {
            self.restore(now, outputs);
        }
    }

    fn relay_next(&mut self, now: Moment, outputs: &mut Vec<Output>) {
        let Some(stream) = self.stream else { return };
        let output = match self.relay.next(now, self.engine.applied().version) {
            None => return,
            Some(Work::Append(records)) => Output::Append(stream, records),
            Some(Work::Read(after, max)) => Output::ReadLog(Purpose::Relay, after, max),
            Some(Work::Reset(top, chain)) => Output::ResetStream(stream, top, chain),
            // One under way for the poll will do.
            Some(Work::Inspect) if self.inspecting => return,
            Some(Work::Inspect) => {
                self.inspecting = true;
                Output::InspectStream(stream)
            }
        };
        outputs.push(output);
    }
}
