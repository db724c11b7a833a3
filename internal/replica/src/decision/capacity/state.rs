//! What a command on pools and holds is decided on, and the decision.

use std::collections::HashSet;

use placard_model::capacity::{Books, Hold};
use placard_model::command::{Conditions, Outcome};
use placard_model::entry::Change;
use placard_model::{Version, Violation};
use uuid::Uuid;

use super::clocks::Clocks;

/// What a command is decided on: the state that its transaction has read.
#[derive(Debug, Clone, Copy)]
pub struct State<'s> {
    /// The pools, holds and tombstones that the command names. Of each pool that it takes units of, they must have the
    /// lapsed reservations too: the first [`LAPSED_MAX`](placard_model::limits::LAPSED_MAX) at least.
    pub books: &'s Books,
    /// The time.
    pub clocks: Clocks,
    /// The version that its entry gets.
    pub next: Version,
    /// The replicas that are registered; `None` if that was not read.
    pub registered: Option<&'s HashSet<Uuid>>,
    /// The ads that there are, of those that the command names.
    pub ads: &'s HashSet<Uuid>,
    /// The pools that ads name, of those that the command names.
    pub named: &'s HashSet<Uuid>,
}

/// A decision, or the outcome of a command that changes nothing.
pub(super) type Decided = Result<Decision, Outcome>;

/// The decision on a command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    /// What its entry does; `None` if nothing changes, and no entry is written.
    pub change: Option<Change>,
    /// What the client or the replica gets.
    pub outcome: Outcome,
}

impl Decision {
    pub(super) fn write(change: Change, outcome: Outcome) -> Self {
        Self { change: Some(change), outcome }
    }

    pub(super) fn answer(outcome: Outcome) -> Self {
        Self { change: None, outcome }
    }
}

/// Refuses a command whose precondition does not hold for what is at this version, or does not exist.
pub(super) fn require(
    id: Uuid,
    only_if: &Conditions,
    version: Option<Version>,
) -> Result<(), Outcome> {
    if only_if.hold(version) {
        return Ok(());
    }
    Err(Outcome::VersionMismatch { id, version: version.unwrap_or(0) })
}

pub(super) fn invalid(id: Uuid, mut violations: Vec<Violation>) -> Outcome {
    violations.sort();
    Outcome::Invalid { id, violations }
}

/// Refuses a use of more units than a hold has.
pub(super) fn within(hold: &Hold, used: u64) -> Result<(), Outcome> {
    if used <= hold.amount {
        return Ok(());
    }
    let detail = format!("must not be above the amount, which is {}", hold.amount);
    Err(invalid(hold.id, vec![Violation::field("used", detail)]))
}
