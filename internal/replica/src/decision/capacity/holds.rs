//! The decisions on single holds: those of clients, and the ones that a replica has left behind.

use std::time::Duration;

use placard_model::capacity::{CloseReason, Expires, Hold, Refusal, ReservationSaid, Tombstone};
use placard_model::command::{Conditions, Outcome};
use placard_model::entry::Change;
use placard_model::planted::Planted;
use placard_model::records::EncodedRecord;
use placard_model::{Version, Violation};
use uuid::Uuid;

use super::draft::{Asked, Draft};
use super::state::{Decided, Decision, State, invalid, require, within};

/// What a reservation is to become.
#[derive(Debug, Clone, Copy)]
pub(super) struct Wanted {
    pub(super) amount: Option<u64>,
    pub(super) expires: Option<Expires>,
}

pub(super) fn reserve(
    state: &State<'_>,
    id: Uuid,
    pool: Uuid,
    amount: u64,
    expires_in: Option<Duration>,
) -> Decided {
    if state.books.tombstone(id).is_some() {
        return refused(id, Refusal::Closed);
    }
    if let Some(hold) = state.books.hold(id) {
        let is_this = hold.owner.is_none() && (hold.pool, hold.amount) == (pool, amount);
        return Err(match is_this {
            true if hold.has_lapsed(state.clocks.lower()) => {
                Outcome::Refused { id, refusal: Refusal::Lapsed }
            }
            true => recorded(hold, false),
            false => Outcome::Exists { id, version: hold.version },
        });
    }
    let mut draft = Draft::new(state);
    let amount = draft.take(Asked { pool, least: amount, most: amount, owner: None })?;
    let expires_at = expires_in.map(|duration| state.clocks.after(duration));
    let (version, created_at) = (state.next, state.clocks.journal);
    let hold = Hold { id, version, created_at, pool, amount, owner: None, expires_at };
    Ok(written(draft, hold, true))
}

pub(super) fn change(
    state: &State<'_>,
    id: Uuid,
    only_if: &Conditions,
    said: &ReservationSaid,
    wanted: Wanted,
) -> Decided {
    let hold = reservation(state, id, only_if)?;
    if hold.has_lapsed(state.clocks.lower()) {
        return refused(id, Refusal::Lapsed);
    }
    let mut violations = said.violations(hold);
    if wanted.amount == Some(0) {
        violations.push(Violation::field("amount", "must not be 0"));
    }
    if !violations.is_empty() {
        return Err(invalid(id, violations));
    }
    let amount = wanted.amount.unwrap_or(hold.amount);
    let expires_at = match wanted.expires {
        None => hold.expires_at,
        Some(Expires::Never) => None,
        Some(Expires::In(duration)) => Some(state.clocks.after(duration)),
    };
    if (amount, expires_at) == (hold.amount, hold.expires_at) {
        return Err(recorded(hold, false));
    }
    let mut draft = Draft::new(state);
    if amount > hold.amount && !Planted::ShrinkGrows.is_there() {
        let more = amount - hold.amount;
        draft.take(Asked { pool: hold.pool, least: more, most: more, owner: None })?;
    } else {
        let pool = draft.pool(hold.pool)?;
        draft.shrink(pool, hold.amount.saturating_sub(amount));
    }
    let version = state.next;
    Ok(written(draft, Hold { version, amount, expires_at, ..hold.clone() }, false))
}

pub(super) fn close(state: &State<'_>, id: Uuid, only_if: &Conditions, used: u64) -> Decided {
    let done = |version| Outcome::Deleted { id, version };
    let hold = match reservation(state, id, only_if) {
        Ok(hold) => hold,
        // It was closed before, and the client may not have had the answer.
        Err(Outcome::Refused { refusal: Refusal::Closed, .. }) => {
            let tombstone = state.books.tombstone(id);
            return Err(match tombstone.filter(|tombstone| tombstone.used == used) {
                Some(tombstone) => done(tombstone.version),
                None => Outcome::Refused { id, refusal: Refusal::Closed },
            });
        }
        // The request that reserves it may still be under way.
        Err(Outcome::NotFound { .. }) if used == 0 => {
            let mut draft = Draft::new(state);
            draft.bury(id);
            return Ok(Decision::write(Change::Move(draft.finish()), done(state.next)));
        }
        Err(refused) => return Err(refused),
    };
    within(hold, used)?;
    if used > 0 && hold.has_lapsed(state.clocks.lower()) {
        return refused(id, Refusal::Lapsed);
    }
    let mut draft = Draft::new(state);
    draft.close(hold, used, CloseReason::Closed);
    Ok(Decision::write(Change::Move(draft.finish()), done(state.next)))
}

pub(super) fn lapse(state: &State<'_>, id: Uuid, version: Version) -> Decided {
    let lower = state.clocks.lower();
    let (hold, tombstone) = (state.books.hold(id), state.books.tombstone(id));
    let (current, has_lapsed) = match (hold, tombstone) {
        (Some(hold), _) if hold.owner.is_some() => return refused(id, Refusal::Foreign),
        (Some(hold), _) => (hold.version, hold.has_lapsed(lower)),
        (None, Some(Tombstone { version, until, .. })) => (*version, *until <= lower),
        (None, None) => return Err(Outcome::NotFound { id }),
    };
    if current != version {
        return Err(Outcome::VersionMismatch { id, version: current });
    }
    if !has_lapsed {
        return refused(id, Refusal::NotLapsed);
    }
    let mut draft = Draft::new(state);
    match hold {
        Some(hold) => draft.close(hold, 0, CloseReason::Expired),
        None => draft.forget(id),
    }
    let outcome = Outcome::Deleted { id, version: state.next };
    Ok(Decision::write(Change::Move(draft.finish()), outcome))
}

/// Decides that a replica's hold is lost. Any replica proposes that, once the owner has been gone for so long that no replica
/// counts it any more. It is safe at any time: what was held stays out of the pool.
pub(super) fn forfeit(state: &State<'_>, id: Uuid) -> Decided {
    let hold = state.books.hold(id).ok_or(Outcome::NotFound { id })?;
    let Some(owner) = hold.owner else { return refused(id, Refusal::Foreign) };
    if state.registered.is_none_or(|registered| registered.contains(&owner)) {
        return refused(id, Refusal::Registered);
    }
    let mut draft = Draft::new(state);
    draft.close(hold, 0, CloseReason::Forfeited);
    let outcome = Outcome::Deleted { id, version: state.next };
    Ok(Decision::write(Change::Move(draft.finish()), outcome))
}

/// Returns a client's reservation.
fn reservation<'s>(state: &State<'s>, id: Uuid, only_if: &Conditions) -> Result<&'s Hold, Outcome> {
    let hold = state.books.hold(id);
    require(id, only_if, hold.map(|hold| hold.version))?;
    match hold {
        Some(hold) if hold.owner.is_some() => {
            Err(Outcome::Refused { id, refusal: Refusal::Foreign })
        }
        Some(hold) => Ok(hold),
        None if state.books.tombstone(id).is_some() => {
            Err(Outcome::Refused { id, refusal: Refusal::Closed })
        }
        None => Err(Outcome::NotFound { id }),
    }
}

fn refused(id: Uuid, refusal: Refusal) -> Decided {
    Err(Outcome::Refused { id, refusal })
}

fn written(mut draft: Draft<'_>, hold: Hold, is_new: bool) -> Decision {
    let outcome = recorded(&hold, is_new);
    draft.give(hold);
    Decision::write(Change::Move(draft.finish()), outcome)
}

fn recorded(hold: &Hold, is_new: bool) -> Outcome {
    let (id, version, record) = (hold.id, hold.version, EncodedRecord::of_hold(hold));
    Outcome::Recorded { id, version, record, is_new }
}
