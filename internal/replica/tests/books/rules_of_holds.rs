//! Reservations: given while there is room, changed, closed once, and lapsed; and holds that replicas leave behind.

use std::time::Duration;

use placard_model::capacity::{
    CloseReason, Command, Expires, Giving, PoolSpec, Refusal, Report, ReservationSaid,
};
use placard_model::command::{Conditions, Outcome};
use placard_model::entry::Change;
use placard_model::limits;

use crate::ledger::{Ledger, at, change, close, id, lapse, replace, reserve, spec};

const KEPT: i64 = 86_400;

fn refused(hold: u128, refusal: Refusal) -> Outcome {
    Outcome::Refused { id: id(hold), refusal }
}

fn exhausted(available: u64) -> Outcome {
    Outcome::Exhausted { pool: id(1), available }
}

fn renew(seconds: u64) -> Option<Expires> {
    Some(Expires::In(Duration::from_secs(seconds)))
}

/// The replica 90 gets hold 9 of pool 1.
fn allot(ledger: &mut Ledger, amount: u64) {
    let gives = vec![Giving { hold: id(9), pool: id(1), least: 1, most: amount }];
    ledger.accepts(Command::Report(Report { owner: id(90), gives, ..Report::default() }));
}

#[test]
fn units_are_reserved_while_there_is_room() {
    let mut ledger = Ledger::with_pool(5);
    let outcome = ledger.reserves(7, 3, Some(60));
    assert!(matches!(outcome, Outcome::Recorded { version: 2, is_new: true, .. }), "{outcome:?}");
    let hold = ledger.hold(7);
    assert_eq!((hold.version, hold.amount, hold.owner), (2, 3, None));
    assert_eq!((hold.created_at, hold.expires_at), (at(0), Some(at(60))));
    // The two that are left are less than what is asked for: all or nothing.
    assert_eq!(ledger.refuses(reserve(8, 3, None)), exhausted(2));
    ledger.reserves(8, 2, None);
    assert_eq!(ledger.refuses(reserve(9, 1, None)), exhausted(0));
    assert_eq!((ledger.balance(), ledger.hold(8).expires_at), ([5, 0, 0, 0], None));
}

#[test]
fn a_repeated_reservation_is_the_same_one() {
    let mut ledger = Ledger::with_pool(5);
    ledger.accepts(Command::CreatePool { id: id(2), spec: spec(5) });
    ledger.reserves(7, 3, Some(60));
    let again = ledger.refuses(reserve(7, 3, Some(90)));
    assert!(matches!(again, Outcome::Recorded { version: 3, is_new: false, .. }), "{again:?}");
    let exists = Outcome::Exists { id: id(7), version: 3 };
    assert_eq!(ledger.refuses(reserve(7, 2, Some(60))), exists);
    let elsewhere = Command::Reserve { hold: id(7), pool: id(2), amount: 3, expires_in: None };
    assert_eq!(ledger.refuses(elsewhere), exists);
    ledger.at(60);
    assert_eq!(ledger.refuses(reserve(7, 3, Some(60))), refused(7, Refusal::Lapsed));
    allot(&mut ledger, 1);
    let exists = Outcome::Exists { id: id(9), version: 4 };
    assert_eq!(ledger.refuses(reserve(9, 1, None)), exists);
}

#[test]
fn nothing_is_reserved_of_a_paused_or_ended_pool() {
    let mut ledger = Ledger::with_pool(5);
    ledger.accepts(replace(PoolSpec { paused: true, ..spec(5) }));
    assert_eq!(ledger.refuses(reserve(7, 1, None)), refused(1, Refusal::Paused));
    ledger.accepts(replace(PoolSpec { start_at: Some(at(50)), end_at: Some(at(90)), ..spec(5) }));
    // A slot is booked before it begins.
    ledger.reserves(7, 1, None);
    ledger.at(90);
    assert_eq!(ledger.refuses(reserve(8, 1, None)), refused(1, Refusal::Ended));
}

#[test]
fn a_reservation_shrinks_grows_and_is_renewed_or_confirmed() {
    let mut ledger = Ledger::with_pool(5);
    ledger.reserves(7, 3, Some(60));
    ledger.at(10).accepts(change(7, Some(1), None));
    assert_eq!((ledger.balance(), ledger.hold(7).amount), ([1, 0, 0, 0], 1));
    assert_eq!((ledger.hold(7).version, ledger.hold(7).expires_at), (3, Some(at(60))));
    ledger.accepts(change(7, Some(5), renew(60)));
    assert_eq!((ledger.balance(), ledger.hold(7).expires_at), ([5, 0, 0, 0], Some(at(70))));
    assert_eq!(ledger.refuses(change(7, Some(6), None)), exhausted(0));
    ledger.at(69).accepts(change(7, None, Some(Expires::Never)));
    assert_eq!((ledger.hold(7).expires_at, ledger.hold(7).created_at), (None, at(0)));
    let same = ledger.at(1_000).refuses(change(7, Some(5), Some(Expires::Never)));
    assert!(matches!(same, Outcome::Recorded { version: 5, is_new: false, .. }), "{same:?}");
}

/// A pause binds what is given from then on: what is held already can be renewed and shrunk, and cannot grow.
#[test]
fn a_reservation_of_a_paused_pool_cannot_grow() {
    let mut ledger = Ledger::with_pool(5);
    ledger.reserves(7, 3, Some(60));
    ledger.accepts(replace(PoolSpec { paused: true, ..spec(5) }));
    assert_eq!(ledger.refuses(change(7, Some(4), None)), refused(1, Refusal::Paused));
    ledger.accepts(change(7, Some(2), renew(90)));
    ledger.accepts(close(7, 2));
    assert_eq!(ledger.balance(), [0, 0, 2, 0]);
}

#[test]
fn change_of_what_is_not_a_clients_is_refused() {
    let mut ledger = Ledger::with_pool(5);
    assert_eq!(ledger.refuses(change(7, Some(1), None)), Outcome::NotFound { id: id(7) });
    allot(&mut ledger, 2);
    assert_eq!(ledger.refuses(change(9, Some(1), None)), refused(9, Refusal::Foreign));
    assert_eq!(ledger.refuses(close(9, 0)), refused(9, Refusal::Foreign));
    assert_eq!(ledger.refuses(lapse(9, 2)), refused(9, Refusal::Foreign));
    ledger.reserves(7, 1, Some(60));
    let only_if = Conditions::at([2]);
    let (said, amount) = (ReservationSaid::default(), Some(2));
    let stale = Command::Change { hold: id(7), only_if, said, amount, expires: None };
    let mismatch = Outcome::VersionMismatch { id: id(7), version: 3 };
    assert_eq!(ledger.refuses(stale), mismatch);
    let stale = Command::Close { hold: id(7), only_if: Conditions::at([2]), used: 0 };
    assert_eq!(ledger.refuses(stale), mismatch);
    let said = ReservationSaid { pool: Some(id(2)), ..said };
    let only_if = Conditions::default();
    let untrue = Command::Change { hold: id(7), only_if, said, amount, expires: None };
    assert!(matches!(ledger.refuses(untrue), Outcome::Invalid { .. }));
    assert!(matches!(ledger.refuses(change(7, Some(0), None)), Outcome::Invalid { .. }));
    ledger.at(60);
    assert_eq!(ledger.refuses(change(7, Some(2), renew(9))), refused(7, Refusal::Lapsed));
    ledger.accepts(close(7, 0));
    assert_eq!(ledger.refuses(change(7, Some(2), None)), refused(7, Refusal::Closed));
}

#[test]
fn a_reservation_is_closed_once() {
    let mut ledger = Ledger::with_pool(5);
    ledger.reserves(7, 3, Some(60));
    assert!(matches!(ledger.refuses(close(7, 4)), Outcome::Invalid { .. }));
    let closed = Outcome::Deleted { id: id(7), version: 3 };
    assert_eq!(ledger.at(10).accepts(close(7, 2)), closed);
    assert_eq!((ledger.balance(), ledger.pool(1).available()), ([0, 0, 2, 0], 3));
    let tombstone = *ledger.books.tombstone(id(7)).expect("it leaves one");
    assert_eq!((tombstone.used, tombstone.until), (2, at(10 + KEPT)));
    // The same again has the same answer; another use of it is refused.
    assert_eq!(ledger.refuses(close(7, 2)), closed);
    assert_eq!(ledger.refuses(close(7, 0)), refused(7, Refusal::Closed));
    assert_eq!(ledger.refuses(reserve(7, 3, Some(60))), refused(7, Refusal::Closed));
    assert_eq!(ledger.balance(), [0, 0, 2, 0]);
}

#[test]
fn a_release_wins_over_a_reservation_that_comes_after_it() {
    let mut ledger = Ledger::with_pool(5);
    assert_eq!(ledger.refuses(close(7, 1)), Outcome::NotFound { id: id(7) });
    let released = Outcome::Deleted { id: id(7), version: 2 };
    assert_eq!(ledger.accepts(close(7, 0)), released);
    assert_eq!(ledger.refuses(close(7, 0)), released);
    assert_eq!(ledger.refuses(reserve(7, 3, Some(60))), refused(7, Refusal::Closed));
    assert_eq!(ledger.refuses(lapse(7, 2)), refused(7, Refusal::NotLapsed));
    // A day later nothing can be under way any more.
    ledger.at(KEPT);
    assert_eq!(ledger.refuses(lapse(7, 1)), Outcome::VersionMismatch { id: id(7), version: 2 });
    let decision = ledger.run(lapse(7, 2));
    let Some(Change::Move(moves)) = decision.change else { panic!("it is forgotten") };
    assert_eq!(moves.closed[0].reason, CloseReason::Forgotten);
    assert_eq!((moves.after, ledger.books.tombstone(id(7))), (Vec::new(), None));
    ledger.reserves(7, 3, Some(60));
}

#[test]
fn a_reservation_lapses_at_its_end_and_not_before() {
    let mut ledger = Ledger::with_pool(5);
    ledger.reserves(7, 3, Some(60));
    ledger.reserves(8, 1, None);
    assert_eq!(ledger.at(59).refuses(lapse(7, 2)), refused(7, Refusal::NotLapsed));
    ledger.at(60);
    assert_eq!(ledger.refuses(lapse(7, 1)), Outcome::VersionMismatch { id: id(7), version: 2 });
    assert_eq!(ledger.refuses(lapse(8, 3)), refused(8, Refusal::NotLapsed));
    assert_eq!(ledger.refuses(lapse(5, 2)), Outcome::NotFound { id: id(5) });
    // Units of it cannot be used any more.
    assert_eq!(ledger.refuses(close(7, 1)), refused(7, Refusal::Lapsed));
    assert_eq!(ledger.accepts(lapse(7, 2)), Outcome::Deleted { id: id(7), version: 4 });
    assert_eq!(ledger.balance(), [1, 0, 0, 0]);
    assert_eq!(ledger.refuses(lapse(7, 4)), refused(7, Refusal::NotLapsed));
    // Its release is as if nothing had happened.
    assert_eq!(ledger.refuses(close(7, 0)), Outcome::Deleted { id: id(7), version: 4 });
}

/// What has lapsed is there for the next client, whatever has become of the sweep.
#[test]
fn a_reservation_takes_the_units_of_lapsed_ones() {
    let mut ledger = Ledger::with_pool(5);
    ledger.reserves(7, 2, Some(60));
    ledger.reserves(8, 2, Some(50));
    ledger.reserves(9, 1, Some(70));
    ledger.at(60);
    let decision = ledger.run(reserve(10, 1, None));
    let Some(Change::Move(moves)) = decision.change else { panic!("there is room") };
    // As many as it takes, the first to lapse first.
    let closed: Vec<_> = moves.closed.iter().map(|one| (one.hold, one.reason)).collect();
    assert_eq!(closed, [(id(8), CloseReason::Expired)]);
    assert_eq!(ledger.balance(), [4, 0, 0, 0]);
    // Nothing is closed for a reservation that is refused all the same.
    assert_eq!(ledger.refuses(reserve(11, 4, None)), exhausted(3));
    assert_eq!(ledger.books.lapsed_units(id(1), at(60)), 2);
    ledger.accepts(change(10, Some(4), None));
    assert_eq!((ledger.balance(), ledger.books.hold(id(7))), ([5, 0, 0, 0], None));
    assert_eq!(ledger.books.audit(), []);
}

#[test]
fn no_entry_closes_more_lapsed_ones_than_the_limit() {
    let most = limits::LAPSED_MAX as u64;
    let mut ledger = Ledger::with_pool(most + 1);
    (0..=most).for_each(|nth| drop(ledger.reserves(100 + u128::from(nth), 1, Some(60))));
    ledger.at(60);
    assert_eq!(ledger.refuses(reserve(7, most + 1, None)), exhausted(most));
    ledger.reserves(7, most, None);
    assert_eq!(ledger.books.holds().count(), 2);
    ledger.reserves(8, 1, None);
    assert_eq!(ledger.books.audit(), []);
}

/// What the lost replica has shown may be all of it: it stays out of the pool, and is not billed.
#[test]
fn hold_of_a_replica_that_is_gone_is_lost() {
    let mut ledger = Ledger::with_pool(5);
    allot(&mut ledger, 2);
    ledger.reserves(7, 1, None);
    let forfeit = |hold| Command::Forfeit { hold: id(hold) };
    ledger.registered.insert(id(90));
    assert_eq!(ledger.refuses(forfeit(9)), refused(9, Refusal::Registered));
    ledger.registered.clear();
    assert_eq!(ledger.refuses(forfeit(7)), refused(7, Refusal::Foreign));
    assert_eq!(ledger.refuses(forfeit(5)), Outcome::NotFound { id: id(5) });
    ledger.accepts(forfeit(9));
    assert_eq!((ledger.balance(), ledger.pool(1).available()), ([1, 0, 0, 2], 2));
    assert_eq!(ledger.refuses(forfeit(9)), Outcome::NotFound { id: id(9) });
}
