//! What the ports do with the outputs of a replica, and how they fail.

use std::time::Duration;

use placard_engine::Builder;
use placard_replica::core::{Input, Output};
use placard_replica::ports::{Appended, CommitError, Unavailable};
use placard_replica::{Batch, Plan};

use crate::world::{Event, World};

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
        let input = match output {
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
                let records = self.stream(of).read(after, 16);
                if self.chance(2.0) {
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
                let records = self.journal.log(after, max);
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
                let engine = self.checkpoints[replica].clone().map(|(position, ads)| {
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
                    self.checkpoints[replica] = Some((snapshot.position(), snapshot.collect()));
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

    fn commit(&mut self, batch: &Batch) -> Result<Plan, CommitError> {
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
        let before = self.journal.head;
        let plan = self.journal.commit(batch)?;
        self.committed(before, &plan);
        if self.chance(6.0) {
            return Err(CommitError::Unknown("simulated, after".into()));
        }
        Ok(plan)
    }
}
