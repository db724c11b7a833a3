//! A reservation is given once for each id, a release wins over a reservation that comes after it, nothing lapses that lives,
//! and what has lapsed can be reserved at once.

use std::collections::BTreeSet;

use placard_model::capacity::{CloseReason, Command};
use placard_model::entry::Change;
use placard_model::limits::CLOCK_OFF_MAX;
use uuid::Uuid;

use crate::ledger::{at, id};
use crate::random::{Step, Time, sequences};

/// The ids that were given, or released, since they were last forgotten.
type Seen = BTreeSet<Uuid>;

#[test]
fn each_id_is_given_once_until_forgotten() {
    sequences("each_id_is_given_once_until_forgotten", Time::AllJumps, Seen::new, given_once);
}

#[test]
fn journals_clock_alone_lets_nothing_lapse() {
    let name = "journals_clock_alone_lets_nothing_lapse";
    sequences(name, Time::JournalJumps, || (), |(), step| lapses_in_time(&step));
}

#[test]
fn what_has_lapsed_is_reserved_at_once() {
    let name = "what_has_lapsed_is_reserved_at_once";
    sequences(name, Time::AllJumps, || (), |(), step| room_is_given(&step));
}

fn given_once(seen: &mut Seen, step: Step<'_>) {
    let Some(Change::Move(moves)) = &step.decision.change else { return };
    for hold in &moves.given {
        let is_changed = matches!(step.command, Command::Change { .. });
        let is_seen = !seen.insert(hold.id);
        assert_eq!(is_seen, is_changed, "{:?} gave {hold:?}", step.command);
    }
    for closed in &moves.closed {
        let hold = step.before.books.hold(closed.hold);
        // A replica draws the id of each of its holds, and draws none twice; here it may.
        let is_a_replicas = hold.is_some_and(|hold| hold.owner.is_some());
        if is_a_replicas || closed.reason == CloseReason::Forgotten {
            seen.remove(&closed.hold);
        } else {
            seen.insert(closed.hold);
        }
    }
}

fn lapses_in_time(step: &Step<'_>) {
    let Some(Change::Move(moves)) = &step.decision.change else { return };
    let latest = at(step.now + CLOCK_OFF_MAX.as_secs() as i64);
    for closed in moves.closed.iter().filter(|closed| closed.reason == CloseReason::Expired) {
        let hold = step.before.books.hold(closed.hold).expect("it was there");
        let has_come = hold.expires_at.is_some_and(|end| end <= latest);
        assert!(has_come, "{:?} let {hold:?} lapse at {latest}", step.command);
    }
}

fn room_is_given(step: &Step<'_>) {
    let ledger = step.after;
    let lower = ledger.clocks.lower();
    let over = ledger.clocks.own.map_or(ledger.clocks.journal, |_| lower);
    for pool in ledger.books.pools() {
        let is_open = !pool.spec.paused && pool.spec.end_at.is_none_or(|end| end > over);
        let out = pool.balance.out() - ledger.books.lapsed_units(pool.id, lower);
        let room = pool.spec.capacity.saturating_sub(out);
        for (amount, is_given) in [(room, is_open && room > 0), (room + 1, false)] {
            let (hold, pool, expires_in) = (id(1_000), pool.id, None);
            let decision = ledger.decide(&Command::Reserve { hold, pool, amount, expires_in });
            assert_eq!(decision.change.is_some(), is_given, "{amount} of {pool}: {decision:?}");
        }
    }
}
