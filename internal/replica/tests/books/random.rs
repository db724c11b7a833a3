//! Random commands at random times, on few pools and few ids, so that they meet.

use std::time::Duration;

use placard_model::capacity::{
    Closing, Command, Counted, Expires, Giving, Overrun, Pacing, PoolSpec, Report, ReservationSaid,
};
use placard_model::command::Conditions;
use placard_replica::capacity::{Clocks, Decision};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use uuid::Uuid;

use crate::ledger::{Ledger, at, id, spec};

/// Sequences of a test, and commands of a sequence.
const SEQUENCES: u64 = 60;
const COMMANDS: usize = 400;

pub(crate) const POOLS: std::ops::RangeInclusive<u128> = 1..=3;
const HOLDS: std::ops::RangeInclusive<u128> = 10..=24;
const OWNERS: std::ops::RangeInclusive<u128> = 90..=91;
const HOUR: i64 = 3_600;

/// How the clocks are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Time {
    /// Replicas know the time, or are some seconds behind, or know none; the journal's clock jumps.
    JournalJumps,
    /// All clocks jump.
    AllJumps,
}

/// One step of a sequence.
pub(crate) struct Step<'s> {
    pub(crate) before: &'s Ledger,
    pub(crate) command: &'s Command,
    pub(crate) decision: &'s Decision,
    pub(crate) after: &'s Ledger,
    /// The true time, in seconds.
    pub(crate) now: i64,
}

/// Runs sequences of commands, and has each step checked. `begin` makes what a sequence's checks remember.
pub(crate) fn sequences<C>(
    name: &str,
    time: Time,
    begin: impl Fn() -> C,
    check: impl Fn(&mut C, Step<'_>),
) {
    let first = placard_testkit::seed::seed("placard-replica", name);
    for nth in 0..SEQUENCES {
        let mut random = Random::new(first.wrapping_add(nth), time);
        let mut checks = begin();
        for _ in 0..COMMANDS {
            random.pass_time();
            let (before, command) = (random.ledger.clone(), random.command());
            let decision = random.ledger.run(command.clone());
            let (command, decision, after) = (&command, &decision, &random.ledger);
            check(&mut checks, Step { before: &before, command, decision, after, now: random.now });
        }
    }
}

struct Random {
    rng: ChaCha8Rng,
    ledger: Ledger,
    time: Time,
    now: i64,
    jump: i64,
    own_jump: i64,
}

impl Random {
    fn new(seed: u64, time: Time) -> Self {
        let mut ledger = Ledger::new();
        ledger.registered.insert(id(*OWNERS.start()));
        ledger.ads.insert(id(50));
        let rng = ChaCha8Rng::seed_from_u64(seed);
        Self { rng, ledger, time, now: 100_000, jump: 0, own_jump: 0 }
    }

    fn pass_time(&mut self) {
        if self.rng.random_ratio(1, 2) {
            self.now += self.rng.random_range(0..40);
        }
        // A day, now and again: tombstones go.
        if self.rng.random_ratio(1, 100) {
            self.now += 86_400;
        }
        let jump = |rng: &mut ChaCha8Rng| [0, 0, HOUR, -HOUR][rng.random_range(0..4)];
        if self.rng.random_ratio(1, 15) {
            self.jump = jump(&mut self.rng);
        }
        if self.time == Time::AllJumps && self.rng.random_ratio(1, 15) {
            self.own_jump = jump(&mut self.rng);
        }
        let behind = self.rng.random_range(0..6);
        let own = self.now + self.own_jump - behind;
        let own = self.rng.random_ratio(19, 20).then(|| at(own));
        self.ledger.clocks = Clocks { journal: at(self.now + self.jump), own };
        self.ledger.named.clear();
        if self.rng.random_ratio(1, 3) {
            let named = self.pool();
            self.ledger.named.insert(named);
        }
    }

    fn pool(&mut self) -> Uuid {
        id(self.rng.random_range(POOLS))
    }

    fn hold(&mut self) -> Uuid {
        id(self.rng.random_range(HOLDS))
    }

    fn amount(&mut self) -> u64 {
        self.rng.random_range(1..12)
    }

    fn spec(&mut self) -> PoolSpec {
        let mut spec = spec(self.rng.random_range(0..40));
        spec.paused = self.rng.random_ratio(1, 5);
        if self.rng.random_ratio(1, 2) {
            let start = self.now + self.rng.random_range(-200..100);
            spec.start_at = Some(at(start));
            spec.end_at = Some(at(start + self.rng.random_range(1..2_000)));
            spec.pacing = if self.rng.random_ratio(1, 2) { Pacing::Even } else { Pacing::Asap };
        }
        spec
    }

    fn command(&mut self) -> Command {
        let only_if = Conditions::default();
        match self.rng.random_range(0..100) {
            0..8 => Command::CreatePool { id: self.pool(), spec: self.spec() },
            8..16 => {
                let (id, spec, said) = (self.pool(), self.spec(), Default::default());
                Command::ReplacePool { id, only_if, said, spec }
            }
            16..20 => Command::DeletePool { id: self.pool(), only_if },
            20..50 => {
                let (hold, pool, amount) = (self.hold(), self.pool(), self.amount());
                let seconds = self.rng.random_range(1..120);
                let expires_in = self.rng.random_ratio(4, 5).then(|| Duration::from_secs(seconds));
                Command::Reserve { hold, pool, amount, expires_in }
            }
            50..60 => {
                let (hold, said) = (self.hold(), ReservationSaid::default());
                let amount = self.rng.random_ratio(2, 3).then(|| self.rng.random_range(1..12));
                let expires = match self.rng.random_range(0..3) {
                    0 => None,
                    1 => Some(Expires::Never),
                    _ => Some(Expires::In(Duration::from_secs(self.rng.random_range(1..120)))),
                };
                Command::Change { hold, only_if, said, amount, expires }
            }
            60..70 => {
                let used = if self.rng.random_ratio(1, 2) { 0 } else { self.amount() };
                Command::Close { hold: self.hold(), only_if, used }
            }
            70..80 => self.lapse(),
            80..84 => Command::Forfeit { hold: self.hold() },
            _ => Command::Report(self.report()),
        }
    }

    /// Mostly of what is there, at its version, or at the one before.
    fn lapse(&mut self) -> Command {
        let id = self.hold();
        let books = &self.ledger.books;
        let hold = books.hold(id).map(|hold| hold.version);
        let version = hold.or(books.tombstone(id).map(|tombstone| tombstone.version));
        let behind = u64::from(self.rng.random_ratio(1, 8));
        Command::Lapse { id, version: version.unwrap_or(1) - behind }
    }

    fn report(&mut self) -> Report {
        let mut items = || self.rng.random_range(0..3);
        let (closes, overruns, gives) = (items(), items() / 2, items());
        let (owner, ad) = (self.rng.random_range(OWNERS), self.rng.random_range(49..52));
        let closing = |random: &mut Self| {
            let used = random.rng.random_range(0..8);
            Closing { hold: random.hold(), used }
        };
        let overrun = |random: &mut Self| {
            let (hold, pool, used) = (random.hold(), random.pool(), random.amount());
            Overrun { hold, pool, used }
        };
        let giving = |random: &mut Self| {
            let (hold, pool, least) = (random.hold(), random.pool(), random.amount());
            Giving { hold, pool, least, most: least + random.amount() }
        };
        Report {
            owner: id(owner),
            closes: (0..closes).map(|_| closing(self)).collect(),
            overruns: (0..overruns).map(|_| overrun(self)).collect(),
            gives: (0..gives).map(|_| giving(self)).collect(),
            counts: vec![Counted { ad: id(ad), decisions: 1, impressions: 1, clicks: 0 }],
        }
    }
}
