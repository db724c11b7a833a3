//! A client: it owns a few ads, does one thing at a time, and knows what the answer to it must be. Most use an
//! idempotency key, and repeat what they do on any replica until there is a definite answer. The others give up for
//! good when they do not learn the outcome.

use std::collections::BTreeMap;

use placard_model::command::{Answer, Command, Outcome, Request};
use placard_testkit::requests::{create, delete, keyed, replace, request};
use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use uuid::Uuid;

/// Ads that each client owns.
const ADS: u128 = 6;

#[derive(Debug)]
pub(crate) struct Client {
    number: u128,
    operations: u128,
    /// The titles of those of its ads that there must be.
    pub(crate) ads: BTreeMap<Uuid, String>,
    /// What it is doing.
    commands: Vec<Command>,
    keyed: bool,
    /// It does not know the outcome of its last request, and has no key to find out; or its request was under way when
    /// the journal was restored to an older state.
    pub(crate) lost: bool,
}

impl Client {
    pub(crate) fn new(number: u128, keyed: bool) -> Self {
        let (ads, commands) = Default::default();
        Self { number, operations: 0, ads, commands, keyed, lost: false }
    }

    /// Returns true if an ad is its own.
    pub(crate) fn owns(&self, id: Uuid) -> bool {
        id.as_u128() / 1_000 == self.number
    }

    /// Notes that the outcome of its request is unknown. Returns whether it asks again.
    pub(crate) fn left_in_doubt(&mut self) -> bool {
        self.lost |= !self.keyed;
        self.keyed
    }

    /// Thinks of something new to do.
    pub(crate) fn begin(&mut self, rng: &mut ChaCha8Rng) {
        self.operations += 1;
        let commands = rng.random_range(1..=3);
        self.commands = (0..commands)
            .map(|item| {
                let id = self.number * 1_000 + rng.random_range(0..ADS);
                let title = format!("client {} did {}/{item}", self.number, self.operations);
                match rng.random_range(0..5) {
                    0 | 1 => create(id, &title),
                    2 | 3 => replace(id, &title),
                    _ => delete(id),
                }
            })
            .collect();
    }

    /// The request for what it is doing: another one each time, under the same key.
    pub(crate) fn request(&self, id: u128) -> Request {
        let request = request(id, self.commands.clone());
        if !self.keyed {
            return request;
        }
        let mut request = keyed(request, 0, 0);
        if let Some(key) = &mut request.idempotency {
            key.scope[..16].copy_from_slice(&self.number.to_be_bytes());
            key.scope[16..].copy_from_slice(&self.operations.to_be_bytes());
        }
        request
    }

    /// Takes a definite answer, and compares it with what it knows.
    pub(crate) fn answered(&mut self, answer: &Answer) {
        assert_eq!(answer.outcomes.len(), self.commands.len());
        if self.lost {
            return;
        }
        for (command, outcome) in self.commands.iter().zip(&answer.outcomes) {
            let there = command.ad().is_some_and(|id| self.ads.contains_key(&id));
            let expected = matches!(
                (command, outcome, there),
                (Command::Create { .. }, Outcome::Created { .. }, false)
                    | (Command::Create { .. }, Outcome::Exists { .. }, true)
                    | (Command::Replace { .. }, Outcome::Updated { .. }, true)
                    | (Command::Replace { .. }, Outcome::NotFound { .. }, false)
                    | (Command::Delete { .. }, Outcome::Deleted { .. }, true)
                    | (Command::Delete { .. }, Outcome::NotFound { .. }, false)
            );
            assert!(expected, "{command:?} was answered {outcome:?} (there: {there})");
            match (command, outcome) {
                (_, Outcome::Created { ad, .. } | Outcome::Updated { ad, .. }) => {
                    let ad = ad.decode().expect("our own ad");
                    self.ads.insert(ad.id, ad.spec.title);
                }
                (_, Outcome::Deleted { id, .. }) => {
                    self.ads.remove(id);
                }
                _ => {}
            }
        }
    }
}
