//! A journal of nothing but pools and holds: commands are decided on its books and applied to them, one by one.

use std::collections::HashSet;
use std::time::Duration;

use placard_model::capacity::{
    Balance, Books, Command, Expires, Hold, Pacing, Pool, PoolSpec, ReservationSaid,
};
use placard_model::command::{Conditions, Outcome};
use placard_model::{Targeting, Timestamp, Version};
use placard_replica::capacity::{Clocks, Decision, State, decide};
use uuid::Uuid;

/// What is decided on, and the clocks.
#[derive(Debug, Clone)]
pub(crate) struct Ledger {
    pub(crate) books: Books,
    pub(crate) clocks: Clocks,
    pub(crate) version: Version,
    pub(crate) registered: HashSet<Uuid>,
    pub(crate) ads: HashSet<Uuid>,
    pub(crate) named: HashSet<Uuid>,
}

impl Ledger {
    /// Nothing, at second 0.
    pub(crate) fn new() -> Self {
        let (books, registered, ads, named) = Default::default();
        let clocks = Clocks { journal: at(0), own: Some(at(0)) };
        Self { books, clocks, version: 0, registered, ads, named }
    }

    /// Pool 1, with a capacity.
    pub(crate) fn with_pool(capacity: u64) -> Self {
        let mut ledger = Self::new();
        ledger.accepts(Command::CreatePool { id: id(1), spec: spec(capacity) });
        ledger
    }

    /// Sets both clocks.
    pub(crate) fn at(&mut self, second: i64) -> &mut Self {
        self.clocks = Clocks { journal: at(second), own: Some(at(second)) };
        self
    }

    /// Decides a command, and changes nothing.
    pub(crate) fn decide(&self, command: &Command) -> Decision {
        decide(
            command,
            &State {
                books: &self.books,
                clocks: self.clocks,
                next: self.version + 1,
                registered: Some(&self.registered),
                ads: &self.ads,
                named: &self.named,
            },
        )
    }

    /// Decides a command, and applies what it changes.
    pub(crate) fn run(&mut self, command: Command) -> Decision {
        let decision = self.decide(&command);
        if let Some(change) = &decision.change {
            self.version += 1;
            self.books.enter(change, self.version);
        }
        decision
    }

    /// Runs a command that has to write an entry. Returns what it came to.
    #[track_caller]
    pub(crate) fn accepts(&mut self, command: Command) -> Outcome {
        let told = format!("{command:?}");
        let Decision { change, outcome } = self.run(command);
        assert!(change.is_some(), "{told} came to {outcome:?}");
        outcome
    }

    /// Runs a command that must change nothing. Returns what it came to.
    #[track_caller]
    pub(crate) fn refuses(&mut self, command: Command) -> Outcome {
        let told = format!("{command:?}");
        let Decision { change, outcome } = self.run(command);
        assert_eq!(change, None, "{told} was accepted");
        outcome
    }

    /// Reserves units of pool 1 under an id.
    pub(crate) fn reserves(&mut self, hold: u128, amount: u64, seconds: Option<u64>) -> Outcome {
        self.accepts(reserve(hold, amount, seconds))
    }

    #[track_caller]
    pub(crate) fn pool(&self, pool: u128) -> &Pool {
        self.books.pool(id(pool)).expect("the pool is there")
    }

    #[track_caller]
    pub(crate) fn hold(&self, hold: u128) -> &Hold {
        self.books.hold(id(hold)).expect("the hold is there")
    }

    /// The balance of pool 1: reserved, allotted, used, lost.
    pub(crate) fn balance(&self) -> [u64; 4] {
        let Balance { reserved, allotted, used, lost } = self.pool(1).balance;
        [reserved, allotted, used, lost]
    }
}

pub(crate) fn id(id: u128) -> Uuid {
    Uuid::from_u128(id)
}

pub(crate) fn at(second: i64) -> Timestamp {
    Timestamp::EPOCH.saturating_add_micros(second * 1_000_000)
}

/// A pool without a window.
pub(crate) fn spec(capacity: u64) -> PoolSpec {
    PoolSpec {
        name: "Slots".to_owned(),
        capacity,
        start_at: None,
        end_at: None,
        pacing: Pacing::Asap,
        paused: false,
        targeting: Targeting::default(),
    }
}

/// Replaces pool 1.
pub(crate) fn replace(spec: PoolSpec) -> Command {
    let (only_if, said) = Default::default();
    Command::ReplacePool { id: id(1), only_if, said, spec }
}

pub(crate) fn delete() -> Command {
    Command::DeletePool { id: id(1), only_if: Conditions::default() }
}

/// Reserves units of pool 1.
pub(crate) fn reserve(hold: u128, amount: u64, seconds: Option<u64>) -> Command {
    let expires_in = seconds.map(Duration::from_secs);
    Command::Reserve { hold: id(hold), pool: id(1), amount, expires_in }
}

pub(crate) fn change(hold: u128, amount: Option<u64>, expires: Option<Expires>) -> Command {
    let (only_if, said) = (Conditions::default(), ReservationSaid::default());
    Command::Change { hold: id(hold), only_if, said, amount, expires }
}

pub(crate) fn close(hold: u128, used: u64) -> Command {
    Command::Close { hold: id(hold), only_if: Conditions::default(), used }
}

pub(crate) fn lapse(hold: u128, version: Version) -> Command {
    Command::Lapse { id: id(hold), version }
}
