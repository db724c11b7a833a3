//! Commands on pools and holds, drawn and made, for tests that talk to a committer directly.

use std::sync::Arc;
use std::time::Duration;

use placard_model::capacity::{
    Books, Closing, Command as Asked, Expires, Giving, Overrun, PoolSpec, Report, ReservationSaid,
};
use placard_model::command::{Command, Conditions, Request};
use placard_model::{Targeting, Timestamp};
use placard_replica::Batch;
use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use uuid::Uuid;

use crate::requests::request;

pub mod model;

/// A batch of one request, from a replica that believes the journal's clock to be `now`.
pub fn batch(id: u128, commands: Vec<Asked>, now: Timestamp, format_level: u8) -> Batch {
    let own_clock = Some(now);
    let capacity = |command| Command::Capacity { command: Box::new(command), own_clock };
    let request: Request = request(id, commands.into_iter().map(capacity).collect());
    let (requests, repeated) = (vec![Arc::new(request)], false);
    Batch { requests, repeated, format_level, refuses_empty: false }
}

/// The id of a pool, a hold or a replica.
pub fn id(id: u128) -> Uuid {
    Uuid::from_u128(id)
}

/// A pool without a window.
pub fn spec(capacity: u64) -> PoolSpec {
    PoolSpec {
        name: "Slots".to_owned(),
        capacity,
        start_at: None,
        end_at: None,
        pacing: Default::default(),
        paused: false,
        targeting: Targeting::default(),
    }
}

/// Reserves units of a pool.
pub fn reserve(hold: u128, of: u128, amount: u64, seconds: Option<u64>) -> Asked {
    let expires_in = seconds.map(Duration::from_secs);
    Asked::Reserve { hold: id(hold), pool: id(of), amount, expires_in }
}

/// Returns a random command on few pools and holds, mostly of what the books have.
pub fn command(rng: &mut ChaCha8Rng, books: &Books) -> Asked {
    let only_if = Conditions::default();
    let (of, hold) = (rng.random_range(1..=3), rng.random_range(10..=25));
    let amount = rng.random_range(1..8);
    match rng.random_range(0..100) {
        0..10 => Asked::CreatePool { id: id(of), spec: spec(rng.random_range(0..30)) },
        10..18 => {
            let paused = rng.random_ratio(1, 4);
            let spec = PoolSpec { paused, ..spec(rng.random_range(0..30)) };
            Asked::ReplacePool { id: id(of), only_if, said: Default::default(), spec }
        }
        18..24 => Asked::DeletePool { id: id(of), only_if },
        24..54 => {
            let seconds = [None, Some(0), Some(3_600)][rng.random_range(0..3)];
            reserve(hold, of, amount, seconds)
        }
        54..64 => {
            let said = ReservationSaid::default();
            let expires = [
                None,
                Some(Expires::Never),
                Some(Expires::In(Duration::ZERO)),
                Some(Expires::In(Duration::from_secs(3_600))),
            ];
            let expires = expires[rng.random_range(0..4)];
            let (hold, amount) = (id(hold), Some(amount));
            Asked::Change { hold, only_if, said, amount, expires }
        }
        64..74 => Asked::Close { hold: id(hold), only_if, used: rng.random_range(0..4) },
        74..84 => {
            let id = id(hold);
            let version = books.hold(id).map(|hold| hold.version);
            Asked::Lapse { id, version: version.unwrap_or(1) }
        }
        _ => report(rng),
    }
}

fn report(rng: &mut ChaCha8Rng) -> Asked {
    let mut hold = || id(rng.random_range(10..=25));
    let (one, two, three) = (hold(), hold(), hold());
    let of = id(rng.random_range(1..=3));
    let owner = id(rng.random_range(90..=91));
    let overrun = Overrun { hold: two, pool: of, used: 2 };
    Asked::Report(Report {
        owner,
        closes: vec![Closing { hold: one, used: rng.random_range(0..4) }],
        overruns: rng.random_ratio(1, 8).then_some(overrun).into_iter().collect(),
        gives: vec![Giving { hold: three, pool: of, least: 1, most: rng.random_range(1..9) }],
        counts: Vec::new(),
    })
}
