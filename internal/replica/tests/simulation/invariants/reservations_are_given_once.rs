//! Units are given once for each id, a release wins over a reservation that comes after it, and nothing lapses that lives,
//! whatever the journal's clock says.

use std::collections::BTreeSet;

use placard_model::Timestamp;
use placard_model::capacity::{Books, CloseReason};
use placard_model::entry::Change;
use placard_model::limits::CLOCK_OFF_MAX;
use uuid::Uuid;

use crate::clock::AHEAD_MAX;

/// `known` are the ids that were given or released before, and are not forgotten.
pub(crate) fn check(known: &mut BTreeSet<Uuid>, before: &Books, change: &Change, truly: Timestamp) {
    let Change::Move(moves) = change else { return };
    for hold in &moves.given {
        let is_changed = before.hold(hold.id).is_some();
        let is_known = !known.insert(hold.id);
        assert_eq!(is_known, is_changed, "{hold:?} was given or released before");
    }
    let latest = truly.saturating_add_micros(AHEAD_MAX + CLOCK_OFF_MAX.as_micros() as i64);
    for closed in &moves.closed {
        match closed.reason {
            CloseReason::Forgotten => drop(known.remove(&closed.hold)),
            CloseReason::Expired => {
                let hold = before.hold(closed.hold).expect("what lapses was there");
                let has_come = hold.expires_at.is_some_and(|end| end <= latest);
                assert!(has_come, "{hold:?} has lapsed, and it was {truly}");
            }
            _ => drop(known.insert(closed.hold)),
        }
    }
}
