//! Pools are created, changed and deleted as ads are. What is lowered or paused binds what is given from then on.

use placard_model::capacity::{Command, PoolSpec, Refusal};
use placard_model::command::{Conditions, Outcome};
use placard_model::entry::Change;
use placard_model::{Fields, Said};

use crate::ledger::{Ledger, at, close, delete, id, replace, reserve, spec};

fn refused(refusal: Refusal) -> Outcome {
    Outcome::Refused { id: id(1), refusal }
}

fn patch(json: &str, only_if: Conditions) -> Command {
    let fields = Fields::from_json(json.as_bytes()).and_then(Fields::into_pool_patch);
    let (patch, said) = fields.expect("the test's own patch");
    Command::PatchPool { id: id(1), only_if, said, patch }
}

#[test]
fn a_pool_is_created_once() {
    let mut ledger = Ledger::with_pool(5);
    let outcome = ledger.refuses(Command::CreatePool { id: id(1), spec: spec(6) });
    assert_eq!(outcome, Outcome::Exists { id: id(1), version: 1 });
    assert_eq!((ledger.pool(1).version, ledger.pool(1).created_at), (1, at(0)));
}

#[test]
fn a_change_keeps_what_is_out_and_when_it_was_created() {
    let mut ledger = Ledger::with_pool(5);
    ledger.reserves(7, 2, None);
    ledger.at(10).accepts(replace(spec(8)));
    let pool = ledger.pool(1);
    assert_eq!((pool.version, pool.created_at, pool.spec.capacity), (3, at(0), 8));
    assert_eq!(ledger.balance(), [2, 0, 0, 0]);
    // Holds change no version, so that a client that has read the pool can still change it.
    ledger.reserves(8, 1, None);
    ledger.accepts(patch(r#"{"paused": true}"#, Conditions::at([3])));
    assert!(ledger.pool(1).spec.paused);
    assert_eq!((ledger.pool(1).spec.capacity, ledger.balance()), (8, [3, 0, 0, 0]));
}

#[test]
fn precondition_on_another_version_is_refused() {
    let mut ledger = Ledger::with_pool(5);
    let stale = || Conditions::at([9]);
    let mismatch = Outcome::VersionMismatch { id: id(1), version: 1 };
    let said = Said::default();
    for command in [
        Command::ReplacePool { id: id(1), only_if: stale(), said, spec: spec(6) },
        patch("{}", stale()),
        Command::DeletePool { id: id(1), only_if: stale() },
    ] {
        assert_eq!(ledger.refuses(command), mismatch);
    }
    let unknown = Command::DeletePool { id: id(2), only_if: stale() };
    let nothing = Outcome::VersionMismatch { id: id(2), version: 0 };
    assert_eq!(ledger.refuses(unknown), nothing);
}

#[test]
fn unknown_pool_is_not_found() {
    let mut ledger = Ledger::new();
    let missing = Outcome::NotFound { id: id(1) };
    assert_eq!(ledger.refuses(replace(spec(6))), missing);
    assert_eq!(ledger.refuses(patch("{}", Conditions::default())), missing);
    assert_eq!(ledger.refuses(delete()), missing);
    assert_eq!(ledger.refuses(reserve(7, 1, None)), missing);
}

#[test]
fn empty_patch_writes_nothing() {
    let mut ledger = Ledger::with_pool(5);
    let outcome = ledger.refuses(patch(r#"{"reserved": 4}"#, Conditions::default()));
    assert!(matches!(outcome, Outcome::Recorded { version: 1, is_new: false, .. }), "{outcome:?}");
}

#[test]
fn untrue_fields_and_broken_rules_are_refused_together() {
    let mut ledger = Ledger::with_pool(5);
    let json =
        r#"{"version": 9, "start_at": "2026-01-02T00:00:00Z", "end_at": "2026-01-01T00:00:00Z"}"#;
    let Outcome::Invalid { violations, .. } = ledger.refuses(patch(json, Conditions::default()))
    else {
        panic!("it is invalid")
    };
    let told: Vec<_> = violations.iter().map(ToString::to_string).collect();
    assert_eq!(told, ["/end_at: must be after start_at", "/version: is read-only, and is 1"]);
}

/// One that has ended can be paused, and so be deleted; but none is made with an end that is past.
#[test]
fn an_end_that_is_past_is_refused_unless_it_was_there() {
    let mut ledger = Ledger::new();
    let ends = |end| PoolSpec { end_at: Some(at(end)), ..spec(5) };
    ledger.accepts(Command::CreatePool { id: id(1), spec: ends(100) });
    ledger.at(100);
    let new = Command::CreatePool { id: id(2), spec: ends(100) };
    assert!(matches!(ledger.refuses(new), Outcome::Invalid { .. }));
    assert!(matches!(ledger.refuses(replace(ends(99))), Outcome::Invalid { .. }));
    ledger.accepts(replace(PoolSpec { paused: true, ..ends(100) }));
    ledger.accepts(replace(ends(101)));
}

#[test]
fn only_a_paused_pool_without_holds_and_ads_is_deleted() {
    let mut ledger = Ledger::with_pool(5);
    assert_eq!(ledger.refuses(delete()), refused(Refusal::NotPaused));
    ledger.reserves(7, 1, None);
    ledger.accepts(replace(PoolSpec { paused: true, ..spec(5) }));
    assert_eq!(ledger.refuses(delete()), refused(Refusal::Held));
    ledger.accepts(close(7, 1));
    ledger.named.insert(id(1));
    assert_eq!(ledger.refuses(delete()), refused(Refusal::Named));
    ledger.named.clear();
    let version = ledger.version + 1;
    assert_eq!(ledger.accepts(delete()), Outcome::Deleted { id: id(1), version });
    assert_eq!(ledger.books.pool(id(1)), None);
    // Its reservations are gone for good.
    assert_eq!(ledger.refuses(close(7, 1)), Outcome::Deleted { id: id(7), version: 4 });
}

#[test]
fn lowered_capacity_binds_what_is_given_from_then_on() {
    let mut ledger = Ledger::with_pool(5);
    ledger.reserves(7, 4, None);
    ledger.accepts(replace(spec(2)));
    assert_eq!((ledger.pool(1).available(), ledger.balance()), (0, [4, 0, 0, 0]));
    let exhausted = |available| Outcome::Exhausted { pool: id(1), available };
    assert_eq!(ledger.refuses(reserve(8, 1, None)), exhausted(0));
    ledger.accepts(close(7, 1));
    assert_eq!((ledger.pool(1).available(), ledger.balance()), (1, [0, 0, 1, 0]));
    assert_eq!(ledger.refuses(reserve(8, 2, None)), exhausted(1));
    ledger.reserves(8, 1, None);
}

#[test]
fn a_change_of_a_pool_is_an_entry_that_has_all_of_it() {
    let mut ledger = Ledger::with_pool(5);
    ledger.reserves(7, 2, None);
    let decision = ledger.run(replace(spec(9)));
    let Some(Change::PutPool(pool)) = decision.change else { panic!("it is a pool") };
    assert_eq!((&pool, pool.balance.reserved), (ledger.pool(1), 2));
}
