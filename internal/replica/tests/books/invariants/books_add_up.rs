//! What is reserved and allotted is what the holds sum to. What is out is at most the capacity, and never rises while a
//! lowered capacity is below it, whatever the clocks say. Only units of a hold that the journal has lost are counted beyond.

use placard_model::capacity::CloseReason;
use placard_model::entry::Change;

use crate::random::{Step, Time, sequences};

#[test]
fn books_add_up_after_any_command() {
    sequences("books_add_up_after_any_command", Time::AllJumps, || (), |(), step| check(&step));
}

fn check(step: &Step<'_>) {
    let Step { before, command, decision, after, .. } = step;
    assert_eq!(after.books.audit(), [], "after {command:?}");
    let overrun: u64 = match &decision.change {
        Some(Change::Move(moves)) => {
            let overruns = moves.closed.iter();
            overruns.filter(|one| one.reason == CloseReason::Overrun).map(|one| one.used).sum()
        }
        _ => 0,
    };
    for pool in after.books.pools() {
        let out_before = before.books.pool(pool.id).map_or(0, |pool| pool.balance.out());
        let most = pool.spec.capacity.max(out_before) + overrun;
        assert!(pool.balance.out() <= most, "{command:?} left {pool:?}, and {out_before} were out");
    }
}
