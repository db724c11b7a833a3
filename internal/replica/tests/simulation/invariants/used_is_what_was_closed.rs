//! Once all faults are over, used is what clients and replicas know to have closed with a use, and nothing is reserved that
//! nobody holds. What a client has confirmed is still there.

use crate::buying::{Known, client_of};
use crate::client::Work;
use crate::world::World;

pub(crate) fn check(world: &World) {
    let books = &world.expected.books;
    assert_eq!(books.audit(), []);
    for pool in books.pools() {
        let used = pool.balance.used;
        let (least, most) = world.ledger.used(pool.id, world.expected.born(pool.id));
        assert!((least..=most).contains(&used), "{used} used, {least} to {most} known: {pool:?}");
    }
    for (number, client) in (0..).zip(&world.clients) {
        let Work::Buying(buying) = &client.work else { continue };
        for hold in books.holds().filter(|hold| client_of(hold.id) == number) {
            let known = buying.known.get(&hold.id);
            let is_held =
                matches!(known, Some(Known::Held { amount, .. }) if *amount == hold.amount);
            assert!(is_held || buying.unknown.contains(&hold.id), "{hold:?} is {known:?}");
        }
        for (id, known) in &buying.known {
            if let Known::Held { amount, lasts: true, .. } = known {
                let held = books.hold(*id).map(|hold| hold.amount);
                assert_eq!(held, Some(*amount), "of {id}, which was confirmed");
            }
        }
    }
}
