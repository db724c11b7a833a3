//! What has lapsed can be reserved at once, all of it and no more, although no lapse was proposed. A replica that shows the
//! head says that as many units are available.

use placard_model::Timestamp;
use placard_model::capacity::{Books, Command, Pool, PoolBody};
use placard_model::entry::CAPACITY_LEVEL;
use placard_replica::capacity::Clocks;
use placard_testkit::capacity;
use uuid::Uuid;

use crate::world::World;

pub(crate) fn check(world: &World) {
    let (journal, own) = (world.journal.now, world.truly());
    let lower = Clocks { journal, own: Some(own) }.lower();
    let books = &world.expected.books;
    for pool in books.pools() {
        let is_open = !pool.spec.paused && pool.spec.end_at.is_none_or(|end| end > lower);
        let room = room(books, pool, lower);
        assert_eq!(gives(world, pool.id, room, own), is_open && room > 0, "{room} of {pool:?}");
        assert!(!gives(world, pool.id, room + 1, own), "{room} and one more of {pool:?}");
        for replica in world.replicas.iter().flatten() {
            let reader = replica.core.reader();
            if reader.published() == world.journal.head {
                let (_, available) = reader.books(|books| available(books, pool.id, lower));
                assert_eq!(available, Some(room), "is available of {pool:?}");
            }
        }
    }
}

/// Counts what is left, hold by hold.
fn room(books: &Books, pool: &Pool, lower: Timestamp) -> u64 {
    let lives = |end: Option<Timestamp>| end.is_none_or(|end| end > lower);
    let held = books.holds().filter(|hold| hold.pool == pool.id && lives(hold.expires_at));
    let held: u64 = held.map(|hold| hold.amount).sum();
    pool.spec.capacity.saturating_sub(held + pool.balance.used + pool.balance.lost)
}

/// Returns what is available as an answer shows it.
fn available(books: &Books, pool: Uuid, lower: Timestamp) -> Option<u64> {
    let lapsed = books.lapsed_units(pool, lower);
    Some(PoolBody { pool: books.pool(pool)?, seen: Some((lower, lapsed)) }.available())
}

/// Returns whether the journal would give this number of units of a pool.
fn gives(world: &World, pool: Uuid, amount: u64, own: Timestamp) -> bool {
    let (hold, expires_in) = (Uuid::nil(), None);
    let reserve = Command::Reserve { hold, pool, amount, expires_in };
    let batch = capacity::batch(0, vec![reserve], own, CAPACITY_LEVEL);
    let plan = world.journal.plan(&batch).expect("it takes an empty journal");
    !plan.log.is_empty()
}
