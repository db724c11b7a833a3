//! A client: it does one thing at a time, and knows what the answer to it must be. Some own a few ads, some book what pools
//! have, and some report for a replica. Most use an idempotency key, and repeat what they do on any replica until there is a
//! definite answer. The others give up for good when they do not learn the outcome.

use std::collections::BTreeMap;
use std::time::Duration;

use placard_model::Timestamp;
use placard_model::capacity::{self, Books};
use placard_model::command::{Answer, Command, Outcome, Request};
use placard_testkit::requests::{create, delete, keyed, replace, request};
use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use uuid::Uuid;

use crate::buying::Buying;
use crate::ledger::Ledger;
use crate::reporting::Reporting;

/// Ads that each client owns.
const ADS: u128 = 6;

/// What a client does.
#[derive(Debug)]
pub(crate) enum Work {
    Ads,
    Buying(Buying),
    /// It reports for this replica.
    Reporting(usize, Reporting),
}

/// What a client may look at before it thinks of something to do.
pub(crate) struct View<'v> {
    pub(crate) truly: Timestamp,
    pub(crate) books: &'v Books,
    /// The replica for which it reports.
    pub(crate) owner: Uuid,
}

#[derive(Debug)]
pub(crate) struct Client {
    number: u128,
    operations: u128,
    pub(crate) work: Work,
    /// The titles of those of its ads that there must be.
    pub(crate) ads: BTreeMap<Uuid, String>,
    /// What it is doing.
    commands: Vec<Command>,
    /// What it has sent before, and what comes later.
    pub(crate) overtaken: Option<capacity::Command>,
    keyed: bool,
    /// It does not know the outcome of its last request, and has no key to find out; or its request was under way when
    /// the journal was restored to an older state.
    pub(crate) lost: bool,
    /// An earlier try of what it is doing may still be under way.
    tried: bool,
    /// When a try of its own was last left to itself.
    pub(crate) doubted: Option<Duration>,
    /// Its request was under way when the journal was restored, so that the answer may be of either history.
    in_doubt: bool,
}

impl Client {
    pub(crate) fn new(number: u128, work: Work, keyed: bool) -> Self {
        let (ads, commands, overtaken, doubted) = Default::default();
        let (operations, lost, tried, in_doubt) = (0, false, false, false);
        Self {
            number,
            operations,
            work,
            ads,
            commands,
            overtaken,
            keyed,
            lost,
            tried,
            doubted,
            in_doubt,
        }
    }

    /// Returns true if an ad is its own.
    pub(crate) fn owns(&self, id: Uuid) -> bool {
        id.as_u128() / 1_000 == self.number
    }

    /// Returns the replica for which it reports.
    pub(crate) fn reports_for(&self) -> Option<usize> {
        match self.work {
            Work::Reporting(replica, _) => Some(replica),
            _ => None,
        }
    }

    /// Notes that the outcome of its request is unknown. Returns whether it asks again.
    pub(crate) fn left_in_doubt(&mut self, now: Duration, ledger: &mut Ledger) -> bool {
        self.doubted = Some(now);
        if self.keyed {
            self.tried = true;
            if let Work::Buying(buying) = &mut self.work {
                of_capacity(&self.commands).for_each(|command| buying.tries_again(command));
            }
            return true;
        }
        self.lost = true;
        self.doubts(ledger);
        matches!(self.work, Work::Reporting(..))
    }

    /// What it is doing may have been done, or not.
    fn doubts(&mut self, ledger: &mut Ledger) {
        match &mut self.work {
            Work::Ads => {}
            Work::Reporting(_, reporting) => reporting.left_in_doubt(ledger),
            Work::Buying(buying) => {
                of_capacity(&self.commands)
                    .for_each(|command| buying.left_in_doubt(command, ledger));
            }
        }
    }

    /// The journal was restored to an older state. `is_waiting` says whether a request was under way, and `ads` are those
    /// that there are.
    pub(crate) fn rolled_back(
        &mut self,
        is_waiting: bool,
        ads: &[(Uuid, String)],
        books: &Books,
        ledger: &mut Ledger,
    ) {
        self.lost |= is_waiting;
        if is_waiting && !self.in_doubt {
            self.doubts(ledger);
            self.in_doubt = true;
        }
        self.ads = ads.iter().filter(|(id, _)| self.owns(*id)).cloned().collect();
        if let Work::Buying(buying) = &mut self.work {
            buying.rolled_back(books, ledger);
        }
    }

    /// Thinks of something new to do.
    pub(crate) fn begin(&mut self, rng: &mut ChaCha8Rng, view: &View<'_>) {
        self.operations += 1;
        (self.tried, self.in_doubt) = (false, false);
        self.commands = match &mut self.work {
            Work::Ads => {
                let commands = rng.random_range(1..=3);
                (0..commands).map(|item| self.of_an_ad(rng, item)).collect()
            }
            Work::Buying(buying) => {
                let (command, overtaken) = buying.think(rng, view.truly);
                self.overtaken = overtaken;
                vec![unclocked(command)]
            }
            Work::Reporting(_, reporting) => {
                vec![unclocked(reporting.think(rng, view.books, view.owner))]
            }
        };
    }

    fn of_an_ad(&self, rng: &mut ChaCha8Rng, item: usize) -> Command {
        let id = self.number * 1_000 + rng.random_range(0..ADS);
        let title = format!("client {} did {}/{item}", self.number, self.operations);
        match rng.random_range(0..5) {
            0 | 1 => create(id, &title),
            2 | 3 => replace(id, &title),
            _ => delete(id),
        }
    }

    /// The request for what it is doing: another one each time, under the same key.
    pub(crate) fn request(&self, id: u128, own: Option<Timestamp>) -> Request {
        let commands = self.commands.iter().cloned().map(|command| clocked(command, own));
        let request = request(id, commands.collect());
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

    /// Takes a definite answer, and compares it with what it knows. Returns true if it sends the same again: what there was
    /// no room for may have room later.
    pub(crate) fn answered(&mut self, answer: &Answer, ledger: &mut Ledger) -> bool {
        assert_eq!(answer.outcomes.len(), self.commands.len());
        match &mut self.work {
            Work::Ads => {
                if !self.lost {
                    compare(&mut self.ads, self.commands.iter().zip(&answer.outcomes));
                }
                false
            }
            _ if self.in_doubt => false,
            Work::Reporting(_, reporting) => {
                let outcomes = of_capacity(&self.commands).zip(&answer.outcomes);
                outcomes.for_each(|(command, outcome)| {
                    reporting.answered(command, outcome, ledger);
                });
                false
            }
            Work::Buying(buying) => {
                let outcomes = of_capacity(&self.commands).zip(&answer.outcomes);
                outcomes.for_each(|(command, outcome)| buying.answered(command, outcome, ledger));
                let is_short = |outcome: &Outcome| matches!(outcome, Outcome::Exhausted { .. });
                let is_short = answer.outcomes.iter().any(is_short);
                if self.keyed && is_short && answer.version.is_multiple_of(2) {
                    return true;
                }
                // Such a refusal is not kept under the key, so that an earlier try may find room yet.
                if self.tried && !answer.is_final() {
                    of_capacity(&self.commands)
                        .for_each(|command| buying.left_in_doubt(command, ledger));
                }
                false
            }
        }
    }
}

fn of_capacity(commands: &[Command]) -> impl Iterator<Item = &capacity::Command> {
    commands.iter().filter_map(|command| match command {
        Command::Capacity { command, .. } => Some(&**command),
        _ => None,
    })
}

/// The command before a replica has made it.
pub(crate) fn unclocked(command: capacity::Command) -> Command {
    Command::Capacity { command: Box::new(command), own_clock: None }
}

/// The command as a replica makes it that believes this to be the time.
pub(crate) fn clocked(command: Command, own: Option<Timestamp>) -> Command {
    match command {
        Command::Capacity { command, .. } => Command::Capacity { command, own_clock: own },
        of_an_ad => of_an_ad,
    }
}

fn compare<'a>(
    ads: &mut BTreeMap<Uuid, String>,
    outcomes: impl Iterator<Item = (&'a Command, &'a Outcome)>,
) {
    for (command, outcome) in outcomes {
        let there = command.ad().is_some_and(|id| ads.contains_key(&id));
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
                ads.insert(ad.id, ad.spec.title);
            }
            (_, Outcome::Deleted { id, .. }) => {
                ads.remove(id);
            }
            _ => {}
        }
    }
}
