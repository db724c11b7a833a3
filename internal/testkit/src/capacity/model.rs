//! A model of pools and holds: lists and whole numbers, and no balances. What is out of a pool is added up from its holds
//! each time.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use placard_model::capacity::{Command, Expires, Pacing, PoolSpec, Report};
use placard_model::{Version, limits};
use placard_replica::capacity::Clocks;
use uuid::Uuid;

const SECOND: i64 = 1_000_000;
const DAY: i64 = 86_400 * SECOND;

#[derive(Debug, Clone)]
struct Held {
    pool: Uuid,
    amount: u64,
    owner: Option<Uuid>,
    end: Option<i64>,
    version: Version,
}

/// What a command is decided on, beside what the model knows.
#[derive(Debug, Clone, Copy)]
pub struct Facts<'f> {
    /// The clocks of the command.
    pub clocks: Clocks,
    /// The version that its entry gets.
    pub next: Version,
    /// The replicas that are registered.
    pub registered: &'f HashSet<Uuid>,
    /// The ads that exist.
    pub ads: &'f HashSet<Uuid>,
    /// The pools that ads name.
    pub named: &'f HashSet<Uuid>,
}

/// What is now so, in the model. Times are in microseconds.
#[derive(Debug, Clone, Default)]
pub struct Model {
    pools: BTreeMap<Uuid, PoolSpec>,
    holds: BTreeMap<Uuid, Held>,
    /// Until when each is kept, and the version of the entry that has left it.
    tombstones: BTreeMap<Uuid, (i64, Version)>,
    used: BTreeMap<Uuid, u64>,
    lost: BTreeMap<Uuid, u64>,
    lower: i64,
    /// By which windows are over.
    over: i64,
    higher: i64,
    next: Version,
}

impl Model {
    /// Decides and does what a command asks for. Returns whether anything is written, and the holds that it gives, with
    /// their amounts.
    pub fn run(&mut self, facts: Facts<'_>, command: &Command) -> (bool, Vec<(Uuid, u64)>) {
        let journal = facts.clocks.journal.micros();
        let own = facts.clocks.own.map(|own| own.micros());
        self.lower = own.map_or(i64::MIN, |own| journal.min(own + SECOND));
        self.over = own.map_or(journal, |_| self.lower);
        self.higher = own.map_or(journal, |own| journal.max(own));
        self.next = facts.next;
        let mut given = Vec::new();
        let written = match command {
            Command::CreatePool { id, spec } => {
                let fits = !self.pools.contains_key(id) && !ends_by(spec, journal);
                fits && self.put(*id, spec)
            }
            Command::ReplacePool { id, spec, .. } => {
                let old = self.pools.get(id).map(|old| old.end_at);
                let fits = old.is_some_and(|end| end == spec.end_at || !ends_by(spec, journal));
                fits && self.put(*id, spec)
            }
            Command::DeletePool { id, .. } => {
                let is_idle = self.holds.values().all(|held| held.pool != *id);
                let is_paused = self.pools.get(id).is_some_and(|spec| spec.paused);
                let goes = is_paused && is_idle && !facts.named.contains(id);
                goes && self.drop_pool(*id)
            }
            Command::Reserve { hold, pool, amount, expires_in } => {
                let is_known = self.knows(hold);
                let taken = if is_known { None } else { self.take(*pool, [*amount; 2], None) };
                let end = expires_in.map(|time| self.higher + time.as_micros() as i64);
                taken.is_some_and(|amount| {
                    given.push((*hold, amount));
                    let version = self.next;
                    let held = Held { pool: *pool, amount, owner: None, end, version };
                    self.holds.insert(*hold, held).is_none()
                })
            }
            Command::Change { hold, amount, expires, .. } => {
                self.change(*hold, *amount, *expires, &mut given)
            }
            Command::Close { hold, used, .. } => self.close(*hold, *used),
            Command::Lapse { id, version } => self.lapse(*id, *version),
            Command::Forfeit { hold } => self.forfeit(*hold, facts),
            Command::Report(report) => self.report(report, facts, &mut given),
            Command::PatchPool { id, patch, .. } => {
                let old = self.pools.get(id).filter(|_| !patch.is_empty());
                let new = old.and_then(|old| Some((old.end_at, patch.merged(old).ok()?)));
                new.is_some_and(|(end, spec)| {
                    let fits = end == spec.end_at || !ends_by(&spec, journal);
                    fits && self.put(*id, &spec)
                })
            }
        };
        (written, given)
    }

    /// What is reserved, allotted, used and lost of a pool; `None` if there is no such pool.
    pub fn balance(&self, pool: Uuid) -> Option<[u64; 4]> {
        self.pools.get(&pool)?;
        let held = |by_replica: bool| {
            let of_it = self.holds.values().filter(|held| held.pool == pool);
            of_it.filter(|held| held.owner.is_some() == by_replica).map(|held| held.amount).sum()
        };
        let counted = |sums: &BTreeMap<Uuid, u64>| sums.get(&pool).copied().unwrap_or(0);
        Some([held(false), held(true), counted(&self.used), counted(&self.lost)])
    }

    /// The ids of all holds.
    pub fn holds(&self) -> BTreeSet<Uuid> {
        self.holds.keys().copied().collect()
    }

    fn put(&mut self, id: Uuid, spec: &PoolSpec) -> bool {
        self.pools.insert(id, spec.clone());
        true
    }

    fn drop_pool(&mut self, id: Uuid) -> bool {
        self.used.remove(&id);
        self.lost.remove(&id);
        self.pools.remove(&id).is_some()
    }

    fn knows(&self, hold: &Uuid) -> bool {
        self.holds.contains_key(hold) || self.tombstones.contains_key(hold)
    }

    /// Takes units, at least the first and at most the second number of them.
    fn take(&mut self, pool: Uuid, units: [u64; 2], owner: Option<Uuid>) -> Option<u64> {
        let spec = self.pools.get(&pool)?.clone();
        let is_early = owner.is_some() && spec.start_at.is_some_and(|at| at.micros() > self.lower);
        if spec.paused || is_early || ends_by(&spec, self.over) {
            return None;
        }
        let [reserved, allotted, used, lost] = self.balance(pool)?.map(i128::from);
        let mut most = i128::from(units[1]);
        if owner.is_some() {
            most = most.min(line(&spec, self.lower) - allotted - used - lost);
        }
        let mut free = i128::from(spec.capacity) - reserved - allotted - used - lost;
        let mut lapsed: Vec<_> = self
            .holds
            .iter()
            .filter(|(_, held)| held.pool == pool && held.end.is_some_and(|end| end <= self.lower))
            .map(|(id, held)| (held.end, *id, i128::from(held.amount)))
            .collect();
        lapsed.sort_unstable();
        let mut going = Vec::new();
        for (_, id, amount) in lapsed {
            if free < most {
                free += amount;
                going.push(id);
            }
        }
        let room = most.min(free);
        if room < i128::from(units[0]) {
            return None;
        }
        for id in going {
            self.holds.remove(&id);
            self.bury(id);
        }
        u64::try_from(room).ok()
    }

    fn change(
        &mut self,
        id: Uuid,
        amount: Option<u64>,
        expires: Option<Expires>,
        given: &mut Vec<(Uuid, u64)>,
    ) -> bool {
        let Some(held) = self.holds.get(&id).cloned() else { return false };
        if held.owner.is_some() || held.end.is_some_and(|end| end <= self.lower) {
            return false;
        }
        let wanted = amount.unwrap_or(held.amount);
        let end = match expires {
            None => held.end,
            Some(Expires::Never) => None,
            Some(Expires::In(time)) => Some(self.higher + time.as_micros() as i64),
        };
        if (wanted, end) == (held.amount, held.end) {
            return false;
        }
        let more = wanted.saturating_sub(held.amount);
        if more > 0 && self.take(held.pool, [more; 2], None).is_none() {
            return false;
        }
        given.push((id, wanted));
        self.holds.insert(id, Held { amount: wanted, end, version: self.next, ..held }).is_some()
    }

    fn close(&mut self, id: Uuid, used: u64) -> bool {
        let fits = match self.holds.get(&id) {
            Some(held) => {
                let has_lapsed = held.end.is_some_and(|end| end <= self.lower);
                held.owner.is_none() && used <= held.amount && (used == 0 || !has_lapsed)
            }
            None => used == 0 && !self.tombstones.contains_key(&id),
        };
        if fits {
            if let Some(held) = self.holds.remove(&id) {
                *self.used.entry(held.pool).or_default() += used;
            }
            self.bury(id);
        }
        fits
    }

    fn bury(&mut self, id: Uuid) {
        self.tombstones.insert(id, (self.higher + DAY, self.next));
    }

    fn lapse(&mut self, id: Uuid, version: Version) -> bool {
        if let Some(held) = self.holds.get(&id) {
            let has_come = held.end.is_some_and(|end| end <= self.lower);
            let lapses = held.owner.is_none() && held.version == version && has_come;
            if lapses {
                self.holds.remove(&id);
                self.bury(id);
            }
            return lapses;
        }
        let is_over = |(until, of): &(i64, Version)| *until <= self.lower && *of == version;
        let goes = self.tombstones.get(&id).is_some_and(is_over);
        goes && self.tombstones.remove(&id).is_some()
    }

    fn forfeit(&mut self, id: Uuid, facts: Facts<'_>) -> bool {
        let Some(held) = self.holds.get(&id) else { return false };
        if held.owner.is_none_or(|owner| facts.registered.contains(&owner)) {
            return false;
        }
        *self.lost.entry(held.pool).or_default() += held.amount;
        self.holds.remove(&id).is_some()
    }

    fn report(&mut self, report: &Report, facts: Facts<'_>, given: &mut Vec<(Uuid, u64)>) -> bool {
        let mut written = report.counts.iter().any(|counted| facts.ads.contains(&counted.ad));
        let mut touched = BTreeSet::new();
        for closing in &report.closes {
            let held = self.holds.get(&closing.hold);
            let held =
                held.filter(|held| held.owner == Some(report.owner) && closing.used <= held.amount);
            if let Some(pool) = held.map(|held| held.pool) {
                *self.used.entry(pool).or_default() += closing.used;
                self.holds.remove(&closing.hold);
                touched.insert(closing.hold);
                written = true;
            }
        }
        for overrun in &report.overruns {
            let is_new = !self.knows(&overrun.hold) && !touched.contains(&overrun.hold);
            if is_new && self.pools.contains_key(&overrun.pool) {
                *self.used.entry(overrun.pool).or_default() += overrun.used;
                self.bury(overrun.hold);
                written = true;
            }
        }
        for giving in &report.gives {
            let (id, pool, owner) = (giving.hold, giving.pool, Some(report.owner));
            if self.knows(&id) || touched.contains(&id) {
                continue;
            }
            if let Some(amount) = self.take(pool, [giving.least, giving.most], owner) {
                given.push((id, amount));
                self.holds.insert(id, Held { pool, amount, owner, end: None, version: self.next });
                written = true;
            }
        }
        written
    }
}

fn ends_by(spec: &PoolSpec, now: i64) -> bool {
    spec.end_at.is_some_and(|end| end.micros() <= now)
}

fn line(spec: &PoolSpec, now: i64) -> i128 {
    let capacity = i128::from(spec.capacity);
    let (Pacing::Even, Some(start), Some(end)) = (spec.pacing, spec.start_at, spec.end_at) else {
        return capacity;
    };
    let flight = i128::from(end.micros() - start.micros());
    let seconds = |time: std::time::Duration| time.as_micros() as i128;
    let share = flight / i128::from(limits::ALLOTMENTS_OF_A_FLIGHT);
    let share = share.max(seconds(limits::ALLOTMENT_MIN)).min(seconds(limits::ALLOTMENT_MAX));
    let due = i128::from(now - start.micros()) + share;
    (capacity * due / flight).min(capacity)
}
