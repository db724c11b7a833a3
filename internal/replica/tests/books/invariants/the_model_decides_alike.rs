//! A model with whole numbers accepts and refuses the same commands, gives the same amounts, and has the same balances, in
//! the order of versions.

use placard_model::entry::Change;
use placard_testkit::capacity::model::{Facts, Model};

use crate::ledger::{Ledger, id};
use crate::random::{POOLS, Step, Time, sequences};

#[test]
fn model_of_whole_numbers_decides_alike() {
    let name = "model_of_whole_numbers_decides_alike";
    sequences(name, Time::AllJumps, Model::default, compare);
}

fn compare(model: &mut Model, step: Step<'_>) {
    let Step { before, command, decision, after, .. } = step;
    let Ledger { clocks, version, registered, ads, named, .. } = before;
    let facts = Facts { clocks: *clocks, next: version + 1, registered, ads, named };
    let expected = model.run(facts, command);
    let given = match &decision.change {
        Some(Change::Move(moves)) => {
            moves.given.iter().map(|hold| (hold.id, hold.amount)).collect()
        }
        _ => Vec::new(),
    };
    let decided = (decision.change.is_some(), given);
    assert_eq!(decided, expected, "{command:?} came to {:?}", decision.outcome);
    for pool in POOLS.map(id) {
        let balance = after.books.pool(pool).map(|pool| {
            let balance = pool.balance;
            [balance.reserved, balance.allotted, balance.used, balance.lost]
        });
        assert_eq!(balance, model.balance(pool), "pool {pool} after {command:?}");
    }
    assert!(
        after.books.holds().map(|hold| hold.id).collect::<std::collections::BTreeSet<_>>()
            == model.holds()
    );
}
