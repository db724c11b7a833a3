//! A model with whole numbers accepts and refuses the same commands, gives the same amounts and has the same balances, in the
//! order of versions. An answer is given again under a key only if it was final.

use std::collections::HashSet;

use placard_model::Version;
use placard_model::capacity::Refusal;
use placard_model::command::{Command, Outcome, Request};
use placard_model::entry::{CAPACITY_LEVEL, Change};
use placard_replica::capacity::Clocks;
use placard_testkit::capacity::model::Facts;

use crate::expected::{Changes, Decided, Expected};

/// `changes` are those of the plan's entries, by request and item.
pub(crate) fn check(expected: &mut Expected, decided: &Decided, changes: &Changes) {
    let mut is_of_capacity = false;
    for (request, answer) in decided.batch.requests.iter().zip(&decided.plan.answers) {
        // An earlier try has written it, and was compared.
        if !asks_for_capacity(request) || expected.written.contains(&request.id) {
            continue;
        }
        is_of_capacity = true;
        let key = request.idempotency.map(|key| key.scope);
        let is_repeated = key.is_some_and(|key| expected.answered.contains(&key));
        assert_eq!(answer.replayed, is_repeated, "{request:?} came to {answer:?}");
        if is_repeated {
            continue;
        }
        let (mut wrote, mut is_open) = (false, false);
        for (nth, (command, outcome)) in request.commands.iter().zip(&answer.outcomes).enumerate() {
            let change = changes.get(&(request.id, nth as u32));
            compare(expected, decided, command, (outcome, change));
            wrote |= change.is_some();
            let not_yet = matches!(outcome, Outcome::Refused { refusal: Refusal::NotYet, .. });
            is_open |=
                not_yet || matches!(outcome, Outcome::Exhausted { .. } | Outcome::Invalid { .. });
        }
        if wrote {
            expected.written.insert(request.id);
        }
        // There is one command under a key.
        expected.answered.extend(key.filter(|_| wrote || !is_open));
    }
    if is_of_capacity {
        for pool in expected.books.pools() {
            let balance = pool.balance;
            let balance = [balance.reserved, balance.allotted, balance.used, balance.lost];
            assert_eq!(Some(balance), expected.model.balance(pool.id), "pool {}", pool.id);
        }
    }
}

fn asks_for_capacity(request: &Request) -> bool {
    request.commands.iter().any(|command| matches!(command, Command::Capacity { .. }))
}

fn compare(
    expected: &mut Expected,
    decided: &Decided,
    command: &Command,
    (outcome, change): (&Outcome, Option<&(Version, Change)>),
) {
    let Command::Capacity { command, own_clock } = command else { return };
    let given: Vec<_> = match change {
        Some((_, Change::Move(moves))) => {
            moves.given.iter().map(|hold| (hold.id, hold.amount)).collect()
        }
        _ => Vec::new(),
    };
    let found = (change.is_some(), given);
    let expected = if decided.batch.format_level < CAPACITY_LEVEL {
        (false, Vec::new())
    } else {
        let clocks = Clocks { journal: decided.plan.now, own: *own_clock };
        let (ads, named) = (&HashSet::new(), &HashSet::new());
        let next = change.map_or(Version::MIN, |(version, _)| *version);
        let facts = Facts { clocks, next, registered: &decided.registered, ads, named };
        expected.model.run(facts, command)
    };
    assert_eq!(found, expected, "{command:?} came to {outcome:?}");
}
