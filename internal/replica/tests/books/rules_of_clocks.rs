//! A wrong clock lets nothing lapse that lives, and gives nothing a shorter life.

use std::time::Duration;

use placard_model::capacity::{Command, Expires, PoolSpec, Refusal};
use placard_model::command::Outcome;
use placard_replica::capacity::Clocks;

use crate::ledger::{Ledger, at, change, close, id, lapse, reserve, spec};

const HOUR: i64 = 3_600;

fn set(ledger: &mut Ledger, journal: i64, own: Option<i64>) {
    ledger.clocks = Clocks { journal: at(journal), own: own.map(at) };
}

#[test]
fn nothing_lapses_while_the_journals_clock_is_ahead() {
    let mut ledger = Ledger::with_pool(5);
    ledger.reserves(7, 5, Some(60));
    set(&mut ledger, HOUR, Some(10));
    let refused = Outcome::Refused { id: id(7), refusal: Refusal::NotLapsed };
    assert_eq!(ledger.refuses(lapse(7, 2)), refused);
    let exhausted = Outcome::Exhausted { pool: id(1), available: 0 };
    assert_eq!(ledger.refuses(reserve(8, 1, None)), exhausted);
    ledger.accepts(change(7, None, Some(Expires::In(Duration::from_secs(90)))));
    ledger.accepts(close(7, 5));
}

#[test]
fn nothing_lapses_for_a_replica_that_has_no_clock() {
    let mut ledger = Ledger::with_pool(5);
    ledger.reserves(7, 5, Some(60));
    set(&mut ledger, 60, None);
    assert!(ledger.decide(&lapse(7, 2)).change.is_none());
    set(&mut ledger, 60, Some(58));
    assert!(ledger.decide(&lapse(7, 2)).change.is_none());
    // The brake allows a second.
    set(&mut ledger, 60, Some(59));
    assert!(ledger.decide(&lapse(7, 2)).change.is_some());
}

#[test]
fn reservation_made_while_the_clock_is_behind_lives_on() {
    let mut ledger = Ledger::with_pool(5);
    set(&mut ledger, 0, Some(HOUR));
    ledger.reserves(7, 1, Some(60));
    ledger.accepts(close(9, 0));
    set(&mut ledger, HOUR + 59, Some(HOUR + 59));
    assert!(ledger.decide(&lapse(7, 2)).change.is_none());
    set(&mut ledger, HOUR + 60, Some(HOUR + 60));
    assert!(ledger.decide(&lapse(7, 2)).change.is_some());
    let until = ledger.books.tombstone(id(9)).map(|tombstone| tombstone.until);
    assert_eq!(until, Some(at(HOUR + 86_400)));
}

#[test]
fn pool_does_not_end_while_the_journals_clock_is_ahead() {
    let mut ledger = Ledger::new();
    let spec = PoolSpec { end_at: Some(at(100)), ..spec(5) };
    ledger.accepts(Command::CreatePool { id: id(1), spec });
    set(&mut ledger, HOUR, Some(50));
    ledger.reserves(7, 1, None);
    set(&mut ledger, HOUR, Some(99));
    let ended = Outcome::Refused { id: id(1), refusal: Refusal::Ended };
    assert_eq!(ledger.refuses(reserve(8, 1, None)), ended);
    // Without an estimate of the replica's own the journal's clock says it.
    set(&mut ledger, 99, None);
    ledger.reserves(9, 1, None);
    set(&mut ledger, 100, None);
    assert_eq!(ledger.refuses(reserve(10, 1, None)), ended);
}
