//! Pools, holds and tombstones at one version, and what entries do to them. Applying an entry never fails: it states what
//! is now so. Whether the statement adds up is for [`Books::audit`].

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::Arc;

use imbl::{HashMap, OrdMap, OrdSet};
use uuid::Uuid;

use super::hold::{Hold, Tombstone};
use super::moves::Moves;
use super::pool::{Balance, Pool};
use crate::entry::{Change, Digest};
use crate::format::Undecodable;
use crate::records::{EncodedRecord, Key, Kind, Row};
use crate::{Timestamp, Version};

/// All pools, holds and tombstones, or as many of them as a decision touches. A clone shares what neither changes, so that
/// it takes no time that grows with their number.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Books {
    pools: OrdMap<Uuid, Arc<Pool>>,
    holds: HashMap<Uuid, Hold>,
    tombstones: HashMap<Uuid, Tombstone>,
    /// The holds that can lapse, by pool and time.
    ends: OrdSet<(Uuid, Timestamp, Uuid)>,
}

/// A pool whose balance is not what its holds say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// The pool. It may be missing.
    pub pool: Uuid,
    /// What its balance says is reserved and allotted.
    pub stated: (u64, u64),
    /// What its holds sum to.
    pub held: (u64, u64),
}

impl Books {
    /// Returns a pool.
    pub fn pool(&self, id: Uuid) -> Option<&Pool> {
        self.pools.get(&id).map(Arc::as_ref)
    }

    /// Returns a hold.
    pub fn hold(&self, id: Uuid) -> Option<&Hold> {
        self.holds.get(&id)
    }

    /// Returns a tombstone.
    pub fn tombstone(&self, id: Uuid) -> Option<&Tombstone> {
        self.tombstones.get(&id)
    }

    /// Returns all pools, in the order of their ids.
    pub fn pools(&self) -> impl Iterator<Item = &Pool> {
        self.pools.values().map(Arc::as_ref)
    }

    /// Returns the numbers of pools, holds and tombstones.
    pub fn len(&self) -> (usize, usize, usize) {
        (self.pools.len(), self.holds.len(), self.tombstones.len())
    }

    /// Returns all holds, in no order.
    pub fn holds(&self) -> impl Iterator<Item = &Hold> {
        self.holds.values()
    }

    /// Returns all tombstones, in no order.
    pub fn tombstones(&self) -> impl Iterator<Item = &Tombstone> {
        self.tombstones.values()
    }

    /// Returns the holds of a pool that have lapsed by this clock, in the order in which they lapsed.
    pub fn lapsed(&self, pool: Uuid, by: Timestamp) -> impl Iterator<Item = &Hold> {
        let range = (pool, Timestamp::MIN, Uuid::nil())..=(pool, by, Uuid::max());
        self.ends.range(range).filter_map(|(_, _, hold)| self.holds.get(hold))
    }

    /// Returns how many units of a pool have lapsed by this clock and are still in its balance.
    pub fn lapsed_units(&self, pool: Uuid, by: Timestamp) -> u64 {
        self.lapsed(pool, by).fold(0, |sum, hold| sum.saturating_add(hold.amount))
    }

    /// Returns how many holds have lapsed by this clock and are still there, counted up to `most`, and when the first of them
    /// lapsed. It looks at as many holds, and once at each pool of which a hold can lapse.
    pub fn overdue(&self, by: Timestamp, most: usize) -> (usize, Option<Timestamp>) {
        let (mut count, mut first, mut from) = (0, None, Bound::Unbounded);
        while let Some((pool, end, _)) = self.ends.range((from, Bound::Unbounded)).next() {
            if *end <= by {
                count += self.lapsed(*pool, by).take(most - count).count();
                first = Some(first.map_or(*end, |first: Timestamp| first.min(*end)));
            }
            from = Bound::Excluded((*pool, Timestamp::MAX, Uuid::max()));
        }
        (count, first)
    }

    /// Puts a pool in place of what has its id.
    fn put_pool(&mut self, pool: Pool) {
        self.pools.insert(pool.id, Arc::new(pool));
    }

    /// Takes a pool out.
    fn remove_pool(&mut self, id: Uuid) {
        self.pools.remove(&id);
    }

    /// Puts a hold in place of what has its id.
    fn put_hold(&mut self, hold: Hold) {
        if let Some(end) = hold.expires_at {
            self.ends.insert((hold.pool, end, hold.id));
        }
        let (pool, end, id) = (hold.pool, hold.expires_at, hold.id);
        let old = self.holds.insert(id, hold);
        if let Some(old) = old.filter(|old| (old.pool, old.expires_at) != (pool, end)) {
            self.forget_end(&old);
        }
    }

    /// Takes a hold out.
    fn remove_hold(&mut self, id: Uuid) {
        if let Some(old) = self.holds.remove(&id) {
            self.forget_end(&old);
        }
    }

    /// Puts a tombstone in place of what has its id.
    fn put_tombstone(&mut self, tombstone: Tombstone) {
        self.tombstones.insert(tombstone.id, tombstone);
    }

    fn forget_end(&mut self, hold: &Hold) {
        if let Some(end) = hold.expires_at {
            self.ends.remove(&(hold.pool, end, hold.id));
        }
    }

    /// Puts a record.
    ///
    /// # Errors
    /// Its bytes are not a record of its kind.
    pub fn put(&mut self, record: &EncodedRecord) -> Result<(), Undecodable> {
        match record.kind() {
            Kind::Pool => self.put_pool(record.pool()?),
            Kind::Hold => self.put_hold(record.hold()?),
            Kind::Tombstone => self.put_tombstone(record.tombstone()?),
        }
        Ok(())
    }

    /// Returns a record as a table has it.
    pub fn row(&self, key: Key) -> Option<Row> {
        match key.kind {
            Kind::Pool => self.pool(key.id).map(Row::from),
            Kind::Hold => self.hold(key.id).map(Row::from),
            Kind::Tombstone => self.tombstone(key.id).map(Row::from),
        }
    }

    /// Returns the keys of the records that moves write or remove, each once: of a closed
    /// hold its key and that of its tombstone.
    fn touched(moves: &Moves) -> BTreeSet<Key> {
        let key = |kind| move |id| Key { kind, id };
        let given = moves.given.iter().map(|hold| hold.id).map(key(Kind::Hold));
        let closed = moves.closed.iter().map(|closed| closed.hold);
        let graves = closed.clone().map(key(Kind::Tombstone));
        let pools = moves.after.iter().map(|after| after.pool).map(key(Kind::Pool));
        given.chain(closed.map(key(Kind::Hold))).chain(graves).chain(pools).collect()
    }

    /// Applies the change of an entry, unless it is of an ad. Returns what that takes out of the digest, and what it adds.
    pub fn enter(&mut self, change: &Change, version: Version) -> (Digest, Digest) {
        let keys = Self::keys(change);
        let before = self.sum(&keys);
        match change {
            Change::PutPool(pool) => self.put_pool(pool.clone()),
            Change::DeletePool(id) => self.remove_pool(*id),
            Change::Move(moves) => self.apply(moves, version),
            Change::Put(_) | Change::Delete(_) => {}
        }
        (before, self.sum(&keys))
    }

    /// Returns the keys of the records that a change writes or removes, each once.
    pub fn keys(change: &Change) -> BTreeSet<Key> {
        let pool = |id| BTreeSet::from([Key { kind: Kind::Pool, id }]);
        match change {
            Change::PutPool(put) => pool(put.id),
            Change::DeletePool(id) => pool(*id),
            Change::Move(moves) => Self::touched(moves),
            Change::Put(_) | Change::Delete(_) => BTreeSet::new(),
        }
    }

    fn sum(&self, keys: &BTreeSet<Key>) -> Digest {
        let rows = keys.iter().filter_map(|key| self.row(*key));
        rows.fold(Digest::default(), |sum, row| sum.plus(Digest::of_record(&row.encoded)))
    }

    /// Returns all records in their stored form, in no order.
    pub fn encoded(&self) -> impl Iterator<Item = EncodedRecord> {
        let pools = self.pools().map(EncodedRecord::of_pool);
        let holds = self.holds().map(EncodedRecord::of_hold);
        pools.chain(holds).chain(self.tombstones().map(EncodedRecord::of_tombstone))
    }

    /// Applies what the entry of a version does to holds.
    pub fn apply(&mut self, moves: &Moves, version: Version) {
        for hold in &moves.given {
            self.put_hold(hold.clone());
        }
        for closed in &moves.closed {
            let (id, used, reason) = (closed.hold, closed.used, closed.reason);
            self.remove_hold(id);
            match closed.until {
                Some(until) => self.put_tombstone(Tombstone { id, version, until, used, reason }),
                None => drop(self.tombstones.remove(&id)),
            }
        }
        for after in &moves.after {
            if let Some(pool) = self.pools.get_mut(&after.pool) {
                Arc::make_mut(pool).balance = after.balance;
            }
        }
    }

    /// Returns every pool whose balance is not what its holds sum to, by id. It is for books that hold everything.
    pub fn audit(&self) -> Vec<Fault> {
        let mut held: BTreeMap<Uuid, (u64, u64)> = BTreeMap::new();
        for hold in self.holds.values() {
            let (reserved, allotted) = held.entry(hold.pool).or_default();
            let sum = if hold.owner.is_some() { allotted } else { reserved };
            *sum = sum.saturating_add(hold.amount);
        }
        let stated = |pool: &Uuid| {
            let Balance { reserved, allotted, .. } =
                self.pools.get(pool).map(|pool| pool.balance).unwrap_or_default();
            (reserved, allotted)
        };
        let ids: BTreeSet<_> = held.keys().chain(self.pools.keys()).copied().collect();
        let compared = ids.into_iter().map(|pool| Fault {
            pool,
            stated: stated(&pool),
            held: held.get(&pool).copied().unwrap_or_default(),
        });
        compared
            .filter(|one| one.stated != one.held || !self.pools.contains_key(&one.pool))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::capacity::{After, CloseReason, Closed, PoolSpec};

    const POOL: Uuid = Uuid::from_u128(1);

    fn at(second: i64) -> Timestamp {
        Timestamp::EPOCH.saturating_add_micros(second * 1_000_000)
    }

    fn pool() -> Pool {
        let spec = PoolSpec {
            name: "Slots".to_owned(),
            capacity: 10,
            start_at: None,
            end_at: None,
            pacing: crate::capacity::Pacing::Asap,
            paused: false,
            targeting: crate::Targeting::default(),
        };
        Pool { id: POOL, version: 1, created_at: at(0), spec, balance: Balance::default() }
    }

    fn hold(id: u128, amount: u64, end: Option<i64>) -> Hold {
        let (id, expires_at) = (Uuid::from_u128(id), end.map(at));
        Hold { id, version: 2, created_at: at(0), pool: POOL, amount, owner: None, expires_at }
    }

    fn after(reserved: u64, used: u64) -> Vec<After> {
        let balance = Balance { reserved, used, ..Balance::default() };
        vec![After { pool: POOL, balance }]
    }

    fn closed(id: u128, used: u64, until: Option<Timestamp>) -> Closed {
        let reason = CloseReason::Closed;
        Closed { hold: Uuid::from_u128(id), used, lost: 0, reason, until }
    }

    #[test]
    fn lapsed_holds_come_in_the_order_of_their_ends() {
        let mut books = Books::default();
        books.put_pool(pool());
        let given = vec![hold(5, 1, Some(30)), hold(6, 2, Some(10)), hold(7, 3, None)];
        books.apply(&Moves { given, after: after(6, 0), ..Moves::default() }, 2);
        let lapsed = |books: &Books, by| -> Vec<_> {
            books.lapsed(POOL, at(by)).map(|hold| hold.id.as_u128()).collect()
        };
        assert_eq!([9, 10, 30].map(|by| lapsed(&books, by)), [vec![], vec![6], vec![6, 5]]);
        assert_eq!(books.lapsed_units(POOL, at(30)), 3);
        assert_eq!(books.lapsed_units(Uuid::nil(), at(30)), 0);
        // Renewed, and confirmed.
        let given = vec![hold(6, 2, Some(40)), hold(5, 1, None)];
        books.apply(&Moves { given, ..Moves::default() }, 3);
        assert_eq!([39, 40].map(|by| lapsed(&books, by)), [vec![], vec![6]]);
        assert_eq!(books.audit(), []);
    }

    #[test]
    fn overdue_holds_of_all_pools_are_counted() {
        let mut books = Books::default();
        let of = |pool: u128, id, end| Hold { pool: Uuid::from_u128(pool), ..hold(id, 1, end) };
        // The second pool has none that can lapse, and the third none that has lapsed.
        let given = [(1, 5, Some(10)), (1, 6, Some(20)), (1, 7, Some(40)), (2, 8, None)];
        let given =
            given.into_iter().chain([(3, 9, Some(50)), (4, 10, Some(5)), (4, 11, Some(30))]);
        let given = given.map(|(pool, id, end)| of(pool, id, end)).collect();
        books.apply(&Moves { given, ..Moves::default() }, 2);
        let overdue = |by, most| books.overdue(at(by), most);
        let first = Some(at(5));
        assert_eq!([4, 5, 20, 30, 60].map(|by| overdue(by, 99).0), [0, 1, 3, 4, 6]);
        assert_eq!([4, 5, 60].map(|by| overdue(by, 99).1), [None, first, first]);
        assert_eq!([0, 1, 3, 4].map(|most| overdue(30, most)), [0, 1, 3, 4].map(|n| (n, first)));
        assert_eq!(Books::default().overdue(at(60), 99), (0, None));
    }

    #[test]
    fn closed_hold_leaves_its_tombstone_until_it_is_forgotten() {
        let mut books = Books::default();
        books.put_pool(pool());
        let given = vec![hold(5, 4, Some(30))];
        books.apply(&Moves { given, after: after(4, 0), ..Moves::default() }, 2);
        let done = vec![closed(5, 3, Some(at(90)))];
        books.apply(&Moves { closed: done, after: after(0, 3), ..Moves::default() }, 3);
        let (id, reason) = (Uuid::from_u128(5), CloseReason::Closed);
        let tombstone = Tombstone { id, version: 3, until: at(90), used: 3, reason };
        assert_eq!((books.hold(id), books.tombstone(id)), (None, Some(&tombstone)));
        assert_eq!(books.lapsed(POOL, at(90)).count(), 0);
        assert_eq!(books.pool(POOL).map(Pool::available), Some(7));
        books.apply(&Moves { closed: vec![closed(5, 0, None)], ..Moves::default() }, 4);
        assert_eq!(books.tombstone(id), None);
        assert_eq!(books.audit(), []);
    }

    #[test]
    fn audit_finds_balances_that_do_not_add_up() {
        let mut books = Books::default();
        books.put_pool(pool());
        books.put_hold(hold(5, 4, None));
        let mut of_a_replica = hold(6, 1, None);
        of_a_replica.owner = Some(Uuid::from_u128(9));
        books.put_hold(of_a_replica);
        let fault = |stated, held| vec![Fault { pool: POOL, stated, held }];
        assert_eq!(books.audit(), fault((0, 0), (4, 1)));
        books.apply(&Moves { after: after(4, 0), ..Moves::default() }, 3);
        assert_eq!(books.audit(), fault((4, 0), (4, 1)));
        books.remove_hold(Uuid::from_u128(6));
        assert_eq!(books.audit(), []);
        books.remove_pool(POOL);
        assert_eq!(books.audit(), fault((0, 0), (4, 0)));
    }
}
