//! The one way in which ended ads are deleted and reservations lapse: ask the journal what has ended, and propose that it goes,
//! a batch at a time, until nothing is left. No matter which replicas propose it, and how often, each of them goes once:
//! its version is the condition.

#![expect(
    clippy::disallowed_methods,
    reason = "it compares clocks for the brake, and makes the ids of its requests"
)]

use placard_model::capacity;
use placard_model::command::{Answer, Command, Outcome, Request};
use placard_model::{Timestamp, limits};
use placard_replica::expiry::Brake;
use placard_replica::{Expiry, Handle, Outage, Reading, Reply, Uptime};
use tokio::sync::Mutex;
use uuid::Uuid;

use crate::brake::{Look, Verdict, Watch};
use crate::ports::{Expirations, Expired, Unavailable};

/// The reason why a round failed; the next one tries again.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    #[error(transparent)]
    Journal(#[from] Unavailable),
    #[error("cannot propose that what has ended is deleted: {0}")]
    Refused(&'static str),
}

pub(crate) struct Expirer<J> {
    journal: J,
    replica: Handle,
    expiry: Expiry,
    own_clock: fn() -> Timestamp,
    /// Held for a whole round: two rounds of one replica would only propose the same.
    rounds: Mutex<Rounds>,
}

/// What is known from earlier rounds.
struct Rounds {
    watch: Watch,
    outage: Outage,
}

impl<J: Expirations> Expirer<J> {
    pub(crate) fn new(
        journal: J,
        replica: Handle,
        expiry: Expiry,
        own_clock: fn() -> Timestamp,
    ) -> Self {
        let outage =
            Outage::of("what has ended is not deleted yet").tried_every(limits::EXPIRY_SWEEP);
        let rounds = Mutex::new(Rounds { watch: Watch::default(), outage });
        Self { journal, replica, expiry, own_clock, rounds }
    }

    /// Deletes all that has ended, unless a clock cannot be trusted.
    pub(crate) async fn expire(&self) {
        let mut rounds = self.rounds.lock().await;
        let done = self.round(&mut rounds.watch).await;
        if done.is_err() {
            self.expiry.note(|account| account.counts.failures += 1);
        }
        rounds.outage.is(&done);
    }

    async fn round(&self, watch: &mut Watch) -> Result<(), Failure> {
        let mut last = None;
        loop {
            let asked = Uptime::now();
            let expired = self.journal.expired(limits::EXPIRED_MAX).await?;
            self.expiry.note(|account| account.counts.looks += 1);
            if !self.may_propose(watch, asked, &expired) || expired.items().next().is_none() {
                return Ok(());
            }
            // What was proposed and is still there will not go this time either: the journal's clock was set back, or this
            // replica does not see what it has committed.
            if last.is_some_and(|last: Expired| last.items().eq(expired.items())) {
                return Ok(());
            }
            self.propose(&expired).await?;
            last = Some(expired);
        }
    }

    /// Looks at the clocks, and at the replica: one that is not ready leaves the deletions to others.
    fn may_propose(&self, watch: &mut Watch, asked: Uptime, expired: &Expired) -> bool {
        let (answered, own) = (Uptime::now(), (self.own_clock)());
        if let Some(first) = self.replica.clock().first_reading() {
            watch.start(first);
        }
        let reading = Reading { journal: expired.now, asked, answered };
        let verdict = watch.judge(Look { reading, own });
        let is_ready = self.replica.readiness(&self.replica.state()).is_ready;
        // The clock that readers go by does not matter here: ends are judged by the journal's.
        let off = matches!(verdict, Verdict::Off(_));
        let before = self.expiry.account();
        if let Verdict::Jumped(jump) = verdict {
            tracing::error!(
                jump_ms = jump / 1_000,
                "the journal's clock has jumped: ended ads are not deleted, and reservations do not lapse, until an \
                 operator releases the brake by POST /api/v1/admin/expiry/release"
            );
            let brake = Brake { jump, since: expired.now };
            self.expiry.note(|account| account.braked = Some(account.braked.unwrap_or(brake)));
        }
        if off != before.clock_off {
            if off {
                let by_ms = (own.micros() - expired.now.micros()) / 1_000;
                tracing::error!(
                    by_ms,
                    "this machine's clock and the journal's differ: it deletes nothing that has ended"
                );
            } else {
                tracing::info!("this machine's clock and the journal's agree again");
            }
            self.expiry.note(|account| account.clock_off = off);
        }
        let braked = before.braked.is_some() || matches!(verdict, Verdict::Jumped(_));
        if !braked && !off {
            self.expiry.accept(reading);
        }
        !braked && !off && is_ready
    }

    async fn propose(&self, expired: &Expired) -> Result<(), Failure> {
        let ads = expired.ads.iter().map(|&(id, version)| Command::Expire { id, version });
        let own_clock = self.expiry.own_clock();
        let records = expired.reservations.iter().chain(&expired.tombstones);
        let records = records.map(|&(id, version)| {
            let command = Box::new(capacity::Command::Lapse { id, version });
            Command::Capacity { command, own_clock }
        });
        let commands: Vec<_> = ads.chain(records).collect();
        let proposed = commands.len();
        let request = Request {
            id: Uuid::now_v7(),
            principal: String::new(),
            idempotency: None,
            trace: None,
            commands,
        };
        let reply = self.replica.write(request).await;
        let Answer { outcomes, .. } = match reply {
            Ok(Reply::Applied(answer) | Reply::Committed(answer)) => answer,
            Ok(Reply::Unavailable) => return Err(Failure::Refused("the journal is unavailable")),
            Ok(Reply::Unknown) => return Err(Failure::Refused("the outcome is not known")),
            Ok(Reply::Overloaded) | Err(_) => return Err(Failure::Refused("the queue is full")),
        };
        let mut gone = outcomes.iter().map(|one| matches!(one, Outcome::Deleted { .. }));
        let mut gone_of =
            |items: &[_]| gone.by_ref().take(items.len()).filter(|gone| *gone).count();
        let deleted = gone_of(&expired.ads);
        let lapsed = gone_of(&expired.reservations);
        let forgotten = gone_of(&expired.tombstones);
        tracing::debug!(proposed, deleted, lapsed, forgotten, "what had ended was deleted");
        self.expiry.note(|account| {
            account.counts.deleted += deleted as u64;
            account.counts.lapsed += lapsed as u64;
            account.counts.forgotten += forgotten as u64;
        });
        Ok(())
    }
}

#[cfg(test)]
mod tests;
