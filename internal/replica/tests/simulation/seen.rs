//! How often what happened: a path that no run takes is not tested.

use placard_model::capacity::{CloseReason, Refusal};
use placard_model::command::Outcome;
use placard_model::entry::Change;
use placard_replica::core::Counts;

use crate::expected::{Changes, Decided};

#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Seen {
    pub(crate) counts: Counts,
    /// Each verdict on reads.
    pub(crate) verdicts: [u64; 4],
    /// Writes that were found to be on all replicas.
    pub(crate) confirmed: u64,
    pub(crate) rollbacks: u64,
    /// Steps of replicas.
    pub(crate) steps: u64,
    /// Commits that the journal has executed after their replica had given them up.
    pub(crate) late: u64,
    /// Starts of an older build while the journal has pools.
    pub(crate) old_builds: u64,
    /// Reservations and allotments.
    pub(crate) given: u64,
    pub(crate) exhausted: u64,
    pub(crate) not_yet: u64,
    /// Reservations that came after their release.
    pub(crate) overtaken: u64,
    pub(crate) lapsed: u64,
    pub(crate) forgotten: u64,
}

impl Seen {
    /// Counts what a plan has come to.
    pub(crate) fn note(&mut self, decided: &Decided, changes: &Changes) {
        for outcome in decided.plan.answers.iter().flat_map(|answer| &answer.outcomes) {
            match outcome {
                Outcome::Exhausted { .. } => self.exhausted += 1,
                Outcome::Refused { refusal: Refusal::NotYet, .. } => self.not_yet += 1,
                Outcome::Refused { refusal: Refusal::Closed, .. } => self.overtaken += 1,
                _ => {}
            }
        }
        for (_, change) in changes.values() {
            let Change::Move(moves) = change else { continue };
            self.given += moves.given.len() as u64;
            for closed in &moves.closed {
                self.lapsed += u64::from(closed.reason == CloseReason::Expired);
                self.forgotten += u64::from(closed.reason == CloseReason::Forgotten);
            }
        }
    }
}
