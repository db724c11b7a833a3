//! What a client does with pools and reservations, and what it knows of them.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use placard_model::capacity::{Books, Command, Expires, Hold, Pacing, PoolSpec, ReservationSaid};
use placard_model::command::{Conditions, Outcome};
use placard_model::{Fields, Timestamp};
use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use uuid::Uuid;

use crate::ledger::Ledger;

/// All clients share these pools.
const POOLS: std::ops::RangeInclusive<u128> = 1..=3;
/// An id of a pool or a hold says which, and a hold's whose.
const POOL: u128 = 1 << 120;
const HOLD: u128 = 2 << 120;

/// A reservation as its client knows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Known {
    Held { pool: Uuid, amount: u64, lasts: bool },
    Closed,
}

#[derive(Debug, Default)]
pub(crate) struct Buying {
    number: u128,
    drawn: u128,
    /// The reservations of which it knows the state.
    pub(crate) known: BTreeMap<Uuid, Known>,
    /// Those of which it will never know it.
    pub(crate) unknown: BTreeSet<Uuid>,
    /// Those that it has released before the request that reserves them has arrived.
    overtaken: BTreeSet<Uuid>,
    /// What an earlier try has named and used that may be under way for long after a later one was answered.
    tried: Vec<(Uuid, Option<(Uuid, u64)>)>,
}

/// Draws one of the pools.
pub(crate) fn draw_pool(rng: &mut ChaCha8Rng) -> Uuid {
    Uuid::from_u128(POOL | rng.random_range(POOLS))
}

/// Returns the number of the client whose reservation this would be.
pub(crate) fn client_of(hold: Uuid) -> u128 {
    (hold.as_u128() & !HOLD) >> 64
}

/// Names the hold of a client.
pub(crate) fn hold_of(client: u128, nth: u128) -> Uuid {
    Uuid::from_u128(HOLD | client << 64 | nth)
}

impl Buying {
    pub(crate) fn new(number: u128) -> Self {
        Self { number, ..Self::default() }
    }

    /// Thinks of something to do. Returns the command, and one that is sent later and was meant to come before it.
    pub(crate) fn think(
        &mut self,
        rng: &mut ChaCha8Rng,
        truly: Timestamp,
    ) -> (Command, Option<Command>) {
        let (only_if, said) = (Conditions::default(), ReservationSaid::default());
        let command = match rng.random_range(0..100) {
            0..9 => Command::CreatePool { id: draw_pool(rng), spec: spec(rng, truly) },
            9..17 => patch(rng),
            17..19 => {
                let (id, spec) = (draw_pool(rng), spec(rng, truly));
                Command::ReplacePool { id, only_if, said: said.of_any, spec }
            }
            19..21 => Command::DeletePool { id: draw_pool(rng), only_if },
            21..56 => self.reserve(rng),
            56..70 => {
                let amount = rng.random_ratio(3, 5).then(|| rng.random_range(1..8));
                let expires = match rng.random_range(0..3) {
                    0 => None,
                    1 => Some(Expires::Never),
                    _ => Some(Expires::In(soon(rng))),
                };
                Command::Change { hold: self.own(rng), only_if, said, amount, expires }
            }
            70..90 => {
                let hold = self.own(rng);
                let used = match self.known.get(&hold) {
                    Some(Known::Held { amount, .. }) => rng.random_range(0..=*amount),
                    _ => 0,
                };
                Command::Close { hold, only_if, used }
            }
            _ => {
                let reserve = self.reserve(rng);
                let Command::Reserve { hold, .. } = reserve else { return (reserve, None) };
                self.overtaken.insert(hold);
                return (Command::Close { hold, only_if, used: 0 }, Some(reserve));
            }
        };
        (command, None)
    }

    fn reserve(&mut self, rng: &mut ChaCha8Rng) -> Command {
        self.drawn += 1;
        let (hold, pool) = (hold_of(self.number, self.drawn), draw_pool(rng));
        let expires_in = rng.random_ratio(2, 3).then(|| soon(rng));
        Command::Reserve { hold, pool, amount: rng.random_range(1..5), expires_in }
    }

    /// Draws a reservation that it knows, mostly one that it holds; otherwise a new id.
    fn own(&mut self, rng: &mut ChaCha8Rng) -> Uuid {
        let of_any = rng.random_ratio(1, 6);
        let is_held = |known: &Known| matches!(known, Known::Held { .. });
        let known = self.known.iter().filter(|(_, known)| of_any || is_held(known));
        let ids: Vec<_> = known.map(|(id, _)| *id).collect();
        if ids.is_empty() {
            self.drawn += 1;
            return hold_of(self.number, self.drawn);
        }
        ids[rng.random_range(0..ids.len())]
    }

    /// Returns the pool and the number of the units that a command uses.
    pub(crate) fn uses(&self, command: &Command) -> Option<(Uuid, u64)> {
        let Command::Close { hold, used, .. } = command else { return None };
        match self.known.get(hold) {
            Some(Known::Held { pool, .. }) if *used > 0 => Some((*pool, *used)),
            _ => None,
        }
    }

    /// Takes what a command of its own came to.
    pub(crate) fn answered(&mut self, command: &Command, outcome: &Outcome, ledger: &mut Ledger) {
        match (command, outcome) {
            (
                Command::Reserve { hold, .. } | Command::Change { hold, .. },
                Outcome::Recorded { record, .. },
            ) => {
                let state = record.hold().expect("it is of a reservation");
                self.known.insert(*hold, Known::of(&state));
            }
            (Command::Close { hold, .. }, Outcome::Deleted { version, .. }) => {
                if let Some((pool, used)) = self.uses(command) {
                    ledger.close((*hold, *version), pool, used);
                }
                self.known.insert(*hold, Known::Closed);
            }
            // What it was to release may still arrive.
            (Command::Close { hold, .. }, _) if self.overtaken.contains(hold) => {
                self.unknown.insert(*hold);
            }
            _ => {}
        }
    }

    /// What a command came to is never known.
    pub(crate) fn left_in_doubt(&mut self, command: &Command, ledger: &mut Ledger) {
        if let Some((pool, used)) = self.uses(command) {
            ledger.doubt(pool, used);
        }
        if let Some(hold) = names(command) {
            self.known.remove(&hold);
            self.unknown.insert(hold);
        }
    }

    /// A command is sent again, and what it came to is not known yet.
    pub(crate) fn tries_again(&mut self, command: &Command) {
        let uses = self.uses(command);
        self.tried.extend(names(command).map(|hold| (hold, uses)));
    }

    /// The tombstones are gone, and may be so before the requests that were overtaken arrive.
    pub(crate) fn forget_overtaken(&mut self) {
        let overtaken = std::mem::take(&mut self.overtaken);
        self.known.retain(|id, _| !overtaken.contains(id));
        self.unknown.extend(overtaken);
    }

    /// The journal was restored to an older state: what the client knows is what is there.
    pub(crate) fn rolled_back(&mut self, books: &Books, ledger: &mut Ledger) {
        self.forget_overtaken();
        for (hold, uses) in self.tried.drain(..) {
            self.unknown.insert(hold);
            uses.into_iter().for_each(|(pool, used)| ledger.doubt(pool, used));
        }
        let own = |id: &Uuid| client_of(*id) == self.number && !self.unknown.contains(id);
        let holds = books.holds().filter(|hold| own(&hold.id));
        let mut known: BTreeMap<_, _> = holds.map(|hold| (hold.id, Known::of(hold))).collect();
        let closed = books.tombstones().map(|tombstone| tombstone.id).filter(own);
        known.extend(closed.map(|id| (id, Known::Closed)));
        self.known = known;
    }
}

impl Known {
    fn of(hold: &Hold) -> Self {
        Self::Held { pool: hold.pool, amount: hold.amount, lasts: hold.expires_at.is_none() }
    }
}

/// Returns the reservation that a command names.
fn names(command: &Command) -> Option<Uuid> {
    match command {
        Command::Reserve { hold, .. }
        | Command::Change { hold, .. }
        | Command::Close { hold, .. } => Some(*hold),
        _ => None,
    }
}

/// A time that passes within a run, mostly.
fn soon(rng: &mut ChaCha8Rng) -> Duration {
    Duration::from_millis(rng.random_range(20..6_000))
}

fn spec(rng: &mut ChaCha8Rng, truly: Timestamp) -> PoolSpec {
    let mut spec = placard_testkit::capacity::spec(rng.random_range(0..25));
    if rng.random_ratio(1, 4) {
        let second = 1_000_000;
        let start = truly.saturating_add_micros(rng.random_range(-5 * second..second));
        spec.start_at = Some(start);
        spec.end_at = Some(start.saturating_add_micros(rng.random_range(second..30 * second)));
        spec.pacing = if rng.random_ratio(1, 2) { Pacing::Even } else { Pacing::Asap };
    }
    spec
}

fn patch(rng: &mut ChaCha8Rng) -> Command {
    let json = match rng.random_range(0..4) {
        0 => r#"{"paused": true}"#.to_owned(),
        1 => r#"{"paused": false}"#.to_owned(),
        _ => format!(r#"{{"capacity": {}}}"#, rng.random_range(0..25)),
    };
    let fields = Fields::from_json(json.as_bytes()).and_then(Fields::into_pool_patch);
    let (patch, said) = fields.expect("the client's own patch");
    Command::PatchPool { id: draw_pool(rng), only_if: Conditions::default(), said, patch }
}
