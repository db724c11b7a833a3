//! The decisions on pools, which are as those on ads. A capacity that is lowered, and a pause, bind what is given from then
//! on.

use placard_model::capacity::{Balance, Pool, PoolPatch, PoolSpec, Refusal};
use placard_model::command::{Conditions, Outcome};
use placard_model::entry::Change;
use placard_model::records::EncodedRecord;
use placard_model::{Said, Violation};
use uuid::Uuid;

use super::state::{Decided, Decision, State, invalid, require};

pub(super) fn create(state: &State<'_>, id: Uuid, spec: &PoolSpec) -> Decided {
    if let Some(pool) = state.books.pool(id) {
        return Err(Outcome::Exists { id, version: pool.version });
    }
    not_past(state, None, spec).map_err(|violations| invalid(id, violations))?;
    let (version, created_at) = (state.next, state.clocks.journal);
    let (spec, balance) = (spec.clone(), Balance::default());
    Ok(put(Pool { id, version, created_at, spec, balance }, true))
}

pub(super) fn replace(
    state: &State<'_>,
    id: Uuid,
    only_if: &Conditions,
    said: &Said,
    spec: &PoolSpec,
) -> Decided {
    let pool = existing(state, id, only_if)?;
    changed(state, pool, said, Ok(spec.clone()))
}

pub(super) fn patch(
    state: &State<'_>,
    id: Uuid,
    only_if: &Conditions,
    said: &Said,
    patch: &PoolPatch,
) -> Decided {
    let pool = existing(state, id, only_if)?;
    if patch.is_empty() && untrue(said, pool).is_empty() {
        return Err(recorded(pool, false));
    }
    changed(state, pool, said, patch.merged(&pool.spec))
}

pub(super) fn delete(state: &State<'_>, id: Uuid, only_if: &Conditions) -> Decided {
    let pool = existing(state, id, only_if)?;
    let Balance { reserved, allotted, .. } = pool.balance;
    let refusal = if !pool.spec.paused {
        Some(Refusal::NotPaused)
    } else if reserved > 0 || allotted > 0 {
        Some(Refusal::Held)
    } else if state.named.contains(&id) {
        Some(Refusal::Named)
    } else {
        None
    };
    if let Some(refusal) = refusal {
        return Err(Outcome::Refused { id, refusal });
    }
    let version = state.next;
    Ok(Decision::write(Change::DeletePool(id), Outcome::Deleted { id, version }))
}

fn existing<'s>(state: &State<'s>, id: Uuid, only_if: &Conditions) -> Result<&'s Pool, Outcome> {
    let pool = state.books.pool(id);
    require(id, only_if, pool.map(|pool| pool.version))?;
    pool.ok_or(Outcome::NotFound { id })
}

/// Writes a change, if what the command says of the pool is true. Otherwise names all violations at once.
fn changed(
    state: &State<'_>,
    pool: &Pool,
    said: &Said,
    spec: Result<PoolSpec, Vec<Violation>>,
) -> Decided {
    let mut violations = untrue(said, pool);
    let spec = spec.and_then(|spec| not_past(state, Some(pool), &spec).map(|()| spec));
    match spec {
        Ok(spec) if violations.is_empty() => {
            Ok(put(Pool { version: state.next, spec, ..pool.clone() }, false))
        }
        Ok(_) => Err(invalid(pool.id, violations)),
        Err(more) => {
            violations.extend(more);
            Err(invalid(pool.id, violations))
        }
    }
}

fn untrue(said: &Said, pool: &Pool) -> Vec<Violation> {
    said.untrue(pool.id, pool.version, pool.created_at)
}

/// Refuses an end that is past, unless the pool has it already: one that has ended can still be paused.
fn not_past(
    state: &State<'_>,
    current: Option<&Pool>,
    spec: &PoolSpec,
) -> Result<(), Vec<Violation>> {
    let now = state.clocks.journal;
    let is_new = current.is_none_or(|pool| pool.spec.end_at != spec.end_at);
    if is_new && spec.end_at.is_some_and(|end| end <= now) {
        return Err(vec![Violation::field("end_at", format!("is past: it is {now}"))]);
    }
    Ok(())
}

fn put(pool: Pool, is_new: bool) -> Decision {
    let outcome = recorded(&pool, is_new);
    Decision::write(Change::PutPool(pool), outcome)
}

fn recorded(pool: &Pool, is_new: bool) -> Outcome {
    let (id, version, record) = (pool.id, pool.version, EncodedRecord::of_pool(pool));
    Outcome::Recorded { id, version, record, is_new }
}
