//! What the ports do with the outputs of a replica, and how they fail.

use std::sync::Arc;
use std::time::Duration;

use placard_engine::Builder;
use placard_model::Version;
use placard_model::entry::{Incarnation, Record};
use placard_replica::core::{Input, Output};
use placard_replica::ports::{Appended, CommitError, Unavailable};
use placard_replica::{Batch, Plan};
use rand::RngExt;

use crate::expected::Decided;
use crate::invariants::records_are_in_the_digest;
use crate::world::{Event, World};

/// Checkpoints at versions that are a multiple of this are summed up.
const SUMMED: Version = 4;

/// A transaction of which its replica has given up to learn the outcome, before it is executed. It is void if anything was
/// written since it was decided, or if its connection has gone.
pub(crate) struct Late {
    decided: Decided,
    journal: Incarnation,
    writes: u64,
}

fn unavailable() -> Unavailable {
    Unavailable("reach it", "simulated".into())
}

impl World {
    /// Does what a port does with a replica's output, now; the result travels back for a while.
    pub(crate) fn act(&mut self, replica: usize, run: u64, output: Output) {
        // All but head polls is bound to a run of the journal's server.
        let is_of_another_run = self.runs[replica] == run
            && self.replicas[replica].as_ref().is_some_and(|running| {
                running.followed.is_some_and(|followed| followed != self.journal.incarnation)
            });
        let level = self.levels[replica];
        let is_too_new = self.journal.level > level;
        let input = match output {
            Output::Commit(_) if is_too_new => {
                Input::Committed(Err(CommitError::NotCommitted("a newer build's journal".into())))
            }
            Output::Restore if is_too_new => Input::Restored(None),
            Output::Commit(_) if is_of_another_run => {
                Input::Committed(Err(CommitError::NotCommitted("another server".into())))
            }
            Output::ReadLog(purpose, ..) if is_of_another_run => {
                Input::LogRead(purpose, Err(unavailable()))
            }
            Output::Restore if is_of_another_run => Input::Restored(None),
            Output::Commit(batch) => Input::Committed(self.commit(&batch)),
            Output::Append(of, records) => {
                let lost = self.chance(4.0);
                let appended = if lost { Appended::Done } else { self.stream(of).append(&records) };
                let failed = lost || self.chance(4.0);
                Input::Appended(if failed { Err(unavailable()) } else { Ok(appended) })
            }
            Output::ReadStream(of, after) => {
                let (records, is_cut) = readable(self.stream(of).read(after, 16), level);
                if self.chance(2.0) || is_cut && records.is_empty() {
                    Input::StreamRead(Err(unavailable()))
                } else if records.is_empty() && self.runs[replica] == run && !self.chance(0.2) {
                    let again = Event::Act(replica, run, Output::ReadStream(of, after));
                    return self.after(Duration::from_millis(2), again);
                } else {
                    Input::StreamRead(Ok(records))
                }
            }
            Output::ReadLog(purpose, after, max) => {
                let failed = self.chance(5.0);
                let (records, is_cut) = readable(self.journal.log(after, max), level);
                let failed = failed || is_cut && records.is_empty();
                Input::LogRead(purpose, if failed { Err(unavailable()) } else { Ok(records) })
            }
            Output::Poll(heartbeat, at) => {
                let failed = self.chance(5.0);
                let head = self.journal.poll(heartbeat, at);
                if let (true, Some(running)) =
                    (self.runs[replica] == run, &mut self.replicas[replica])
                {
                    running.polled = self.now;
                }
                Input::Polled(if failed { Err(unavailable().into()) } else { Ok(head) })
            }
            Output::InspectStream(of) => {
                let failed = self.chance(5.0);
                let status = self.stream(of).status();
                Input::StreamInspected(if failed { Err(unavailable()) } else { Ok(status) })
            }
            Output::ResetStream(of, top, chain) => {
                self.stream(of).reset(top, chain);
                let failed = self.chance(5.0);
                Input::StreamReset(if failed { Err(unavailable()) } else { Ok(()) })
            }
            Output::LoadCheckpoint => {
                let checkpoint = self.checkpoints[replica].clone();
                let is_readable =
                    checkpoint.filter(|(_, all)| all.iter().all(|one| one.level() <= level));
                let engine = is_readable.map(|(position, ads)| {
                    let mut builder = Builder::default();
                    builder.extend(ads).expect("our own ads");
                    Box::new(builder.finish(position, self.journal.now).expect("our own digest"))
                });
                Input::CheckpointLoaded(engine)
            }
            // Collected when its replica may have gone on, or have crashed.
            Output::SaveCheckpoint(snapshot) => {
                let failed = self.chance(10.0);
                if !failed {
                    let (position, all) = (snapshot.position(), snapshot.collect());
                    if position.version.is_multiple_of(SUMMED) {
                        records_are_in_the_digest::check(position, &all);
                    }
                    self.checkpoints[replica] = Some((position, all));
                }
                Input::CheckpointSaved(if failed { Err(unavailable()) } else { Ok(()) })
            }
            Output::TrimStream(of, keep, max, _) => {
                self.stream(of).trim(keep, max);
                Input::StreamTrimmed(Ok(()))
            }
            Output::Restore => {
                let mut builder = Builder::default();
                let ads = self.journal.contents();
                records_are_in_the_digest::check(self.journal.head, &ads);
                builder.extend(ads).expect("our own ads");
                let engine =
                    builder.finish(self.journal.head, self.journal.now).expect("our own digest");
                Input::Restored((!self.chance(20.0)).then(|| Box::new(engine)))
            }
            Output::Answer(..) | Output::Published(_) | Output::Follow(_) | Output::Free(_) => {
                unreachable!("not a port's: {output:?}")
            }
        };
        let latency = self.latency();
        self.after(latency, Event::Deliver(replica, run, input));
    }

    fn commit(&mut self, batch: &Arc<Batch>) -> Result<Plan, CommitError> {
        if self.chance(5.0) {
            return Err(CommitError::NotCommitted("simulated".into()));
        }
        // A batch of one is never to blame here, so that every refused one is decided in the end.
        if batch.requests.len() > 1 && self.chance(5.0) {
            return Err(CommitError::Refused("simulated".into()));
        }
        if self.chance(4.0) {
            return Err(CommitError::Unknown("simulated, before".into()));
        }
        if !batch.repeated && self.chance(2.0) {
            let late = Event::Execute(Late {
                decided: self.decided(batch, self.journal.plan(batch)?),
                journal: self.journal.incarnation,
                writes: self.journal.writes,
            });
            let pause = Duration::from_micros(self.rng.random_range(100..1_000_000));
            self.after(pause, late);
            return Err(CommitError::Unknown("simulated, under way".into()));
        }
        let before = self.journal.head;
        let plan = self.journal.commit(batch)?;
        let decided = self.decided(batch, plan);
        self.committed(before, &decided);
        if self.chance(6.0) {
            return Err(CommitError::Unknown("simulated, after".into()));
        }
        Ok(decided.plan)
    }

    fn decided(&self, batch: &Arc<Batch>, plan: Plan) -> Decided {
        let registered = self.journal.members.keys().copied().collect();
        Decided { batch: Arc::clone(batch), plan, registered }
    }

    /// The journal executes what nobody waits for.
    pub(crate) fn execute(&mut self, late: Late) {
        if (late.journal, late.writes) != (self.journal.incarnation, self.journal.writes) {
            return;
        }
        let before = self.journal.head;
        self.journal.write(&late.decided.plan);
        self.committed(before, &late.decided);
        self.seen.late += u64::from(!late.decided.plan.log.is_empty());
    }
}

/// Returns the records before the first that a build of this level cannot read, and whether there is one.
fn readable(mut records: Vec<Record>, level: u8) -> (Vec<Record>, bool) {
    let first =
        records.iter().position(|record| record.bytes.first().is_some_and(|of| *of > level));
    records.truncate(first.unwrap_or(records.len()));
    (records, first.is_some())
}
