//! Reports of replicas: item by item, in one entry, and one that no longer holds is left out.

use placard_model::capacity::{
    CloseReason, Closing, Command, Counted, Giving, Overrun, Pacing, PoolSpec, Refusal, Report,
};
use placard_model::command::Outcome;
use placard_model::entry::{Change, Reason};
use placard_model::{Violation, limits};

use crate::ledger::{Ledger, at, id, replace, reserve, spec};

const OWNER: u128 = 90;

fn report(closes: Vec<Closing>, gives: Vec<Giving>) -> Report {
    Report { owner: id(OWNER), closes, gives, ..Report::default() }
}

fn giving(hold: u128, least: u64, most: u64) -> Giving {
    Giving { hold: id(hold), pool: id(1), least, most }
}

fn closing(hold: u128, used: u64) -> Closing {
    Closing { hold: id(hold), used }
}

fn reported(version: Option<u64>, left_out: Vec<(usize, Outcome)>) -> Outcome {
    Outcome::Reported { version, left_out }
}

fn not_found(missing: u128) -> Outcome {
    Outcome::NotFound { id: id(missing) }
}

#[test]
fn a_replica_gets_what_there_is_up_to_what_it_asks_for() {
    let mut ledger = Ledger::with_pool(10);
    let gives = vec![giving(7, 1, 4), giving(8, 1, 100), giving(9, 1, 1)];
    let outcome = ledger.accepts(Command::Report(report(vec![], gives)));
    let exhausted = Outcome::Exhausted { pool: id(1), available: 0 };
    assert_eq!(outcome, reported(Some(2), vec![(2, exhausted)]));
    assert_eq!([7, 8].map(|hold| ledger.hold(hold).amount), [4, 6]);
    let hold = ledger.hold(7);
    assert_eq!((hold.owner, hold.expires_at, hold.version), (Some(id(OWNER)), None, 2));
    assert_eq!(ledger.balance(), [0, 10, 0, 0]);
}

#[test]
fn what_a_report_closes_makes_room_for_what_it_is_given() {
    let mut ledger = Ledger::with_pool(10);
    ledger.accepts(Command::Report(report(vec![], vec![giving(7, 10, 10)])));
    let next = report(vec![closing(7, 4)], vec![giving(8, 6, 6)]);
    assert_eq!(ledger.accepts(Command::Report(next)), reported(Some(3), vec![]));
    assert_eq!(ledger.balance(), [0, 6, 4, 0]);
    // A replica's hold leaves no tombstone: there would be one for each of thousands.
    assert_eq!((ledger.books.hold(id(7)), ledger.books.tombstone(id(7))), (None, None));
    assert_eq!(ledger.books.audit(), []);
}

#[test]
fn items_that_do_not_hold_are_left_out_with_their_reason() {
    let mut ledger = Ledger::with_pool(10);
    ledger.accepts(Command::Report(report(vec![], vec![giving(7, 5, 5), giving(8, 1, 1)])));
    ledger.accepts(reserve(20, 2, None));
    let foreign = Report { owner: id(91), ..report(vec![closing(7, 1)], vec![]) };
    let refusal = |hold, refusal| Outcome::Refused { id: id(hold), refusal };
    let left_out = vec![(0, refusal(7, Refusal::Foreign))];
    assert_eq!(ledger.refuses(Command::Report(foreign)), reported(None, left_out));
    ledger.ads.insert(id(50));
    let count = |ad| Counted { ad: id(ad), decisions: 3, impressions: 2, clicks: 1 };
    let mixed = Report {
        counts: vec![count(50), count(51)],
        ..report(
            vec![closing(7, 6), closing(7, 5), closing(7, 5), closing(5, 0), closing(20, 0)],
            vec![
                giving(8, 1, 1),
                giving(9, 1, 1),
                giving(9, 1, 1),
                Giving { pool: id(2), ..giving(10, 1, 1) },
            ],
        )
    };
    let outcome = ledger.accepts(Command::Report(mixed));
    let above = "must not be above the amount, which is 5";
    let left_out = vec![
        (0, Outcome::Invalid { id: id(7), violations: vec![Violation::field("used", above)] }),
        (2, not_found(7)),
        (3, not_found(5)),
        (4, refusal(20, Refusal::Foreign)),
        (5, Outcome::Exists { id: id(8), version: 2 }),
        (7, refusal(9, Refusal::Closed)),
        (8, not_found(2)),
        (10, not_found(51)),
    ];
    assert_eq!(outcome, reported(Some(4), left_out));
    assert_eq!(ledger.balance(), [2, 2, 5, 0]);
    assert_eq!(ledger.books.audit(), []);
}

#[test]
fn a_report_is_one_entry_of_its_replica() {
    let mut ledger = Ledger::with_pool(10);
    ledger.accepts(Command::CreatePool { id: id(2), spec: spec(3) });
    let other = Giving { pool: id(2), ..giving(8, 1, 2) };
    let command = Command::Report(report(vec![], vec![other, giving(7, 1, 4)]));
    assert_eq!(command.reason(), Reason::Replica);
    let Some(Change::Move(moves)) = ledger.run(command).change else { panic!("it gives") };
    assert_eq!(moves.given.iter().map(|hold| hold.id).collect::<Vec<_>>(), [id(8), id(7)]);
    // The balances are in the order of the pools' ids, so that every replica encodes the same.
    let after: Vec<_> =
        moves.after.iter().map(|after| (after.pool, after.balance.allotted)).collect();
    assert_eq!(after, [(id(1), 4), (id(2), 2)]);
}

#[test]
fn an_even_pool_gives_replicas_no_more_than_its_line() {
    let mut ledger = Ledger::new();
    let (start_at, end_at) = (Some(at(0)), Some(at(7_200)));
    let even = PoolSpec { start_at, end_at, pacing: Pacing::Even, ..spec(7_200) };
    ledger.at(-1).accepts(Command::CreatePool { id: id(1), spec: even.clone() });
    let give = |hold| Command::Report(report(vec![], vec![giving(hold, 1, 7_200)]));
    let early = (0, Outcome::Refused { id: id(1), refusal: Refusal::Scheduled });
    assert_eq!(ledger.refuses(give(7)), reported(None, vec![early]));
    // Clients may book before the start, and are not paced.
    ledger.accepts(reserve(20, 7_000, None));
    ledger.at(0).accepts(give(7));
    assert_eq!(ledger.hold(7).amount, 10);
    let exhausted = |available| (0, Outcome::Exhausted { pool: id(1), available });
    assert_eq!(ledger.refuses(give(8)), reported(None, vec![exhausted(0)]));
    ledger.at(100).accepts(give(8));
    assert_eq!(ledger.hold(8).amount, 100);
    // What is left of the capacity is less than the line allows.
    ledger.at(7_000).accepts(give(9));
    assert_eq!((ledger.hold(9).amount, ledger.pool(1).available()), (90, 0));
    ledger.accepts(replace(PoolSpec { paused: true, ..even }));
    let paused = (0, Outcome::Refused { id: id(1), refusal: Refusal::Paused });
    assert_eq!(ledger.refuses(give(10)), reported(None, vec![paused]));
    let ended = (0, Outcome::Refused { id: id(1), refusal: Refusal::Ended });
    let open = PoolSpec { start_at, end_at, pacing: Pacing::Even, ..spec(7_200) };
    ledger.at(7_199).accepts(replace(open));
    assert_eq!(ledger.at(7_200).refuses(give(10)), reported(None, vec![ended]));
}

/// The units were used, whatever the journal remembers: they are counted beyond the capacity, once.
#[test]
fn units_of_a_lost_hold_are_counted_once() {
    let mut ledger = Ledger::with_pool(10);
    ledger.accepts(reserve(20, 9, None));
    let overrun = |hold, pool| Overrun { hold: id(hold), pool: id(pool), used: 4 };
    let report =
        |overruns| Command::Report(Report { overruns, owner: id(OWNER), ..Report::default() });
    let twice = vec![overrun(7, 1), overrun(7, 1), overrun(8, 2), overrun(20, 1)];
    let closed = Outcome::Refused { id: id(7), refusal: Refusal::Closed };
    let exists = Outcome::Exists { id: id(20), version: 2 };
    let left_out = vec![(1, closed.clone()), (2, not_found(2)), (3, exists)];
    assert_eq!(ledger.accepts(report(twice)), reported(Some(3), left_out));
    assert_eq!((ledger.balance(), ledger.pool(1).available()), ([9, 0, 4, 0], 0));
    let tombstone = ledger.books.tombstone(id(7)).expect("it leaves one");
    assert_eq!((tombstone.used, tombstone.reason), (4, CloseReason::Overrun));
    let again = ledger.refuses(report(vec![overrun(7, 1)]));
    assert_eq!(again, reported(None, vec![(0, closed)]));
}

#[test]
fn a_report_of_too_many_items_is_refused() {
    let mut ledger = Ledger::with_pool(10);
    let many = |items| Command::Report(report(vec![closing(5, 0); items], vec![]));
    let most = limits::REPORT_ITEMS_MAX;
    assert_eq!(ledger.refuses(many(most + 1)), Outcome::Failed);
    let Outcome::Reported { left_out, .. } = ledger.refuses(many(most)) else {
        panic!("it is decided")
    };
    assert_eq!(left_out.len(), most);
}

/// Reservations that have lapsed are closed for a replica too, but not for units that the line does not allow.
#[test]
fn lapsed_reservations_make_room_below_the_line_only() {
    let mut ledger = Ledger::new();
    let (start_at, end_at) = (Some(at(0)), Some(at(7_200)));
    let even = PoolSpec { start_at, end_at, pacing: Pacing::Even, ..spec(7_200) };
    ledger.accepts(Command::CreatePool { id: id(1), spec: even });
    for nth in 0..3 {
        ledger.accepts(reserve(20 + nth, 2_400, Some(50)));
    }
    ledger.at(100).accepts(Command::Report(report(vec![], vec![giving(7, 1, 5_000)])));
    assert_eq!(ledger.hold(7).amount, 110);
    assert_eq!(ledger.balance(), [4_800, 110, 0, 0]);
    assert_eq!(ledger.books.lapsed_units(id(1), at(100)), 4_800);
}
