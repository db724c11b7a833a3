//! The decision on a replica's report: item by item, in one entry. An item that no longer holds is left out with its
//! reason, so that it cannot stop the reports after it.

use placard_model::capacity::{
    CloseReason, Closing, Counted, Giving, Hold, Overrun, Refusal, Report,
};
use placard_model::command::Outcome;
use placard_model::entry::Change;
use placard_model::limits;
use placard_model::planted::Planted;
use uuid::Uuid;

use super::draft::{Asked, Draft};
use super::state::{Decided, Decision, State, within};

/// The items are decided in this order, so that what is closed makes room for what is given.
pub(super) fn decide(state: &State<'_>, report: &Report) -> Decided {
    if report.items() > limits::REPORT_ITEMS_MAX {
        return Err(Outcome::Failed);
    }
    let (mut draft, owner) = (Draft::new(state), report.owner);
    let mut decided = Vec::with_capacity(report.items());
    decided.extend(report.closes.iter().map(|closing| close(&mut draft, owner, *closing)));
    decided.extend(report.overruns.iter().map(|overrun| overran(&mut draft, *overrun)));
    decided.extend(report.gives.iter().map(|giving| give(&mut draft, owner, *giving)));
    decided.extend(report.counts.iter().map(|counted| count(&mut draft, *counted)));
    let left_out = decided.into_iter().enumerate();
    let left_out = left_out.filter_map(|(nth, item)| Some((nth, item.err()?))).collect();
    let moves = draft.finish();
    if moves.is_empty() {
        return Err(Outcome::Reported { version: None, left_out });
    }
    let outcome = Outcome::Reported { version: Some(state.next), left_out };
    Ok(Decision::write(Change::Move(moves), outcome))
}

fn close(draft: &mut Draft<'_>, owner: Uuid, closing: Closing) -> Result<(), Outcome> {
    let id = closing.hold;
    let is_closed = draft.touches(id) && !Planted::CloseTwice.is_there();
    let hold = draft.state.books.hold(id).filter(|_| !is_closed);
    let hold = hold.ok_or(Outcome::NotFound { id })?;
    if hold.owner != Some(owner) {
        return Err(Outcome::Refused { id, refusal: Refusal::Foreign });
    }
    within(hold, closing.used)?;
    draft.close(hold, closing.used, CloseReason::Closed);
    Ok(())
}

/// The tombstone that it leaves ensures that it is counted once.
fn overran(draft: &mut Draft<'_>, overrun: Overrun) -> Result<(), Outcome> {
    let id = overrun.hold;
    unknown(draft, id)?;
    let pool = draft.pool(overrun.pool)?;
    draft.overrun(pool, id, overrun.used);
    Ok(())
}

fn give(draft: &mut Draft<'_>, owner: Uuid, giving: Giving) -> Result<(), Outcome> {
    let Giving { hold: id, pool, least, most } = giving;
    unknown(draft, id)?;
    let amount = draft.take(Asked { pool, least, most, owner: Some(owner) })?;
    let (version, created_at) = (draft.state.next, draft.state.clocks.journal);
    let (owner, expires_at) = (Some(owner), None);
    draft.give(Hold { id, version, created_at, pool, amount, owner, expires_at });
    Ok(())
}

fn count(draft: &mut Draft<'_>, counted: Counted) -> Result<(), Outcome> {
    if !draft.state.ads.contains(&counted.ad) {
        return Err(Outcome::NotFound { id: counted.ad });
    }
    draft.count(counted);
    Ok(())
}

/// Refuses the id of a hold that was given or closed before.
fn unknown(draft: &Draft<'_>, id: Uuid) -> Result<(), Outcome> {
    let books = draft.state.books;
    if let Some(hold) = books.hold(id) {
        return Err(Outcome::Exists { id, version: hold.version });
    }
    if books.tombstone(id).is_some() || draft.touches(id) {
        return Err(Outcome::Refused { id, refusal: Refusal::Closed });
    }
    Ok(())
}
