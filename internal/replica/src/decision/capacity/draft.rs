//! The moves of one entry in the making: what it gives and closes, and the balances that this leaves.

use std::collections::{BTreeMap, HashSet};

use placard_model::capacity::{
    After, Balance, CloseReason, Closed, Counted, Hold, Moves, Pool, Refusal,
};
use placard_model::command::Outcome;
use placard_model::planted::Planted;
use placard_model::{Timestamp, limits};
use uuid::Uuid;

use super::clocks::Clocks;
use super::state::State;

/// Units that are asked for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Asked {
    /// Of which pool.
    pub(super) pool: Uuid,
    /// The fewest that will do, 1 at least.
    pub(super) least: u64,
    /// The most.
    pub(super) most: u64,
    /// Who asks.
    pub(super) owner: Option<Uuid>,
}

/// The moves so far.
pub(super) struct Draft<'s> {
    pub(super) state: &'s State<'s>,
    moves: Moves,
    balances: BTreeMap<Uuid, Balance>,
    /// The holds that are given or closed by it, and whether they are there after it.
    touched: HashSet<Uuid>,
    lapsed: usize,
}

impl<'s> Draft<'s> {
    pub(super) fn new(state: &'s State<'s>) -> Self {
        let (moves, balances, touched) = Default::default();
        Self { state, moves, balances, touched, lapsed: 0 }
    }

    /// Returns the moves, with the balances that they leave.
    pub(super) fn finish(mut self) -> Moves {
        let after = self.balances.into_iter();
        self.moves.after = after.map(|(pool, balance)| After { pool, balance }).collect();
        self.moves
    }

    /// Returns true if this entry has already given or closed a hold of this id. It does either only once.
    pub(super) fn touches(&self, hold: Uuid) -> bool {
        self.touched.contains(&hold)
    }

    /// Returns a pool.
    ///
    /// # Errors
    /// It does not exist.
    pub(super) fn pool(&self, id: Uuid) -> Result<&'s Pool, Outcome> {
        self.state.books.pool(id).ok_or(Outcome::NotFound { id })
    }

    fn balance(&mut self, pool: &Pool) -> &mut Balance {
        self.balances.entry(pool.id).or_insert(pool.balance)
    }

    /// Takes units out of a pool, as many as there are up to the most that is asked for, and closes lapsed reservations for
    /// them if it must. Returns how many; the caller makes a hold of them.
    ///
    /// # Errors
    /// Nothing is given from the pool now, or fewer units than the least. Then nothing has changed.
    pub(super) fn take(&mut self, asked: Asked) -> Result<u64, Outcome> {
        let pool = self.pool(asked.pool)?;
        let lower = self.state.clocks.lower();
        if let Some(refusal) = closed_to(pool, asked.owner, &self.state.clocks) {
            return Err(Outcome::Refused { id: pool.id, refusal });
        }
        let mut balance = self.balances.get(&pool.id).copied().unwrap_or(pool.balance);
        let most = match asked.owner {
            None => asked.most,
            Some(_) => asked.most.min(pool.spec.below_line(balance, lower)),
        };
        let before = pool.spec.available(balance);
        let lapsed = self.room_of_lapsed(pool, most, &mut balance);
        let early = Planted::RoomBeforeLapsing.is_there();
        let room = most.min(if early { before } else { pool.spec.available(balance) });
        if room < asked.least.max(1) {
            return Err(Outcome::Exhausted { pool: pool.id, available: room });
        }
        for hold in lapsed {
            self.lapsed += 1;
            self.close(hold, 0, CloseReason::Expired);
        }
        let balance = self.balance(pool);
        let held = match asked.owner {
            None => &mut balance.reserved,
            Some(_) => &mut balance.allotted,
        };
        *held = held.saturating_add(room);
        Ok(room)
    }

    /// Returns the lapsed reservations that make room for `units`, the first to lapse first, and takes them out of a
    /// balance.
    fn room_of_lapsed(&self, pool: &Pool, units: u64, balance: &mut Balance) -> Vec<&'s Hold> {
        let mut making_room = Vec::new();
        let lapsed = self.state.books.lapsed(pool.id, self.state.clocks.lower());
        let mut lapsed = lapsed.filter(|hold| hold.owner.is_none() && !self.touches(hold.id));
        while self.lapsed + making_room.len() < limits::LAPSED_MAX
            && pool.spec.available(*balance) < units
            && let Some(hold) = lapsed.next()
        {
            balance.reserved = balance.reserved.saturating_sub(hold.amount);
            making_room.push(hold);
        }
        making_room
    }

    /// Puts a hold in place of what has its id. Its units were taken.
    pub(super) fn give(&mut self, hold: Hold) {
        self.touched.insert(hold.id);
        self.moves.given.push(hold);
    }

    /// Gives units of a reservation back, which it has no longer.
    pub(super) fn shrink(&mut self, pool: &Pool, units: u64) {
        let balance = self.balance(pool);
        balance.reserved = balance.reserved.saturating_sub(units);
    }

    /// Closes a hold of which `used` units were used. A client's leaves a tombstone; what a replica may have used is lost
    /// if it is forfeited.
    pub(super) fn close(&mut self, hold: &Hold, used: u64, reason: CloseReason) {
        let lost = if reason == CloseReason::Forfeited { hold.amount } else { 0 };
        let until = hold.owner.is_none().then(|| self.tombstone_until());
        if let Some(pool) = self.state.books.pool(hold.pool) {
            let balance = self.balance(pool);
            let held = match hold.owner {
                None => &mut balance.reserved,
                Some(_) => &mut balance.allotted,
            };
            *held = held.saturating_sub(hold.amount);
            balance.used = balance.used.saturating_add(used);
            balance.lost = balance.lost.saturating_add(lost);
        }
        self.closed(Closed { hold: hold.id, used, lost, reason, until });
    }

    /// Counts units that were used of a hold that does not exist any more.
    pub(super) fn overrun(&mut self, pool: &Pool, hold: Uuid, used: u64) {
        let balance = self.balance(pool);
        balance.used = balance.used.saturating_add(used);
        let (reason, until) = (CloseReason::Overrun, Some(self.tombstone_until()));
        self.closed(Closed { hold, used, lost: 0, reason, until });
    }

    /// Leaves a tombstone under the id of a reservation that was never given.
    pub(super) fn bury(&mut self, hold: Uuid) {
        let (reason, until) = (CloseReason::Closed, Some(self.tombstone_until()));
        self.closed(Closed { hold, used: 0, lost: 0, reason, until });
    }

    /// Drops a tombstone.
    pub(super) fn forget(&mut self, hold: Uuid) {
        let reason = CloseReason::Forgotten;
        self.closed(Closed { hold, used: 0, lost: 0, reason, until: None });
    }

    /// Adds what was counted of an ad.
    pub(super) fn count(&mut self, counted: Counted) {
        self.moves.counted.push(counted);
    }

    fn closed(&mut self, closed: Closed) {
        let until = closed.until.filter(|_| !Planted::NoTombstone.is_there());
        self.touched.insert(closed.hold);
        self.moves.closed.push(Closed { until, ..closed });
    }

    fn tombstone_until(&self) -> Timestamp {
        self.state.clocks.after(limits::TOMBSTONE_KEPT)
    }
}

/// Returns why nothing is given from a pool to a client, or to a replica if there is an owner. The end of its window is judged
/// by the lower clock, like all that has come, if the replica has one.
fn closed_to(pool: &Pool, owner: Option<Uuid>, clocks: &Clocks) -> Option<Refusal> {
    let (spec, lower) = (&pool.spec, clocks.lower());
    if spec.paused {
        Some(Refusal::Paused)
    } else if spec.end_at.is_some_and(|end| end <= clocks.of_windows()) {
        Some(Refusal::Ended)
    } else if owner.is_some() && spec.start_at.is_some_and(|start| lower < start) {
        Some(Refusal::Scheduled)
    } else {
        None
    }
}
