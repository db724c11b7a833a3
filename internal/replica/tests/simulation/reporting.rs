//! What a replica reports of its holds. So far no replica does, so that the world does it in its name.

use placard_model::capacity::{Books, Closing, Command, Giving, Hold, Report};
use placard_model::command::Outcome;
use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use uuid::Uuid;

use crate::buying::{draw_pool, hold_of};
use crate::ledger::Ledger;

#[derive(Debug, Default)]
pub(crate) struct Reporting {
    number: u128,
    drawn: u128,
    /// The pool, and the units that are used, of each hold that the report closes.
    uses: Vec<(Uuid, u64)>,
}

impl Reporting {
    pub(crate) fn new(number: u128) -> Self {
        Self { number, ..Self::default() }
    }

    /// Thinks of the next report of a replica.
    pub(crate) fn think(&mut self, rng: &mut ChaCha8Rng, books: &Books, owner: Uuid) -> Command {
        let mut own: Vec<&Hold> = books.holds().filter(|hold| hold.owner == Some(owner)).collect();
        own.sort_unstable_by_key(|hold| hold.id);
        own.truncate(rng.random_range(0..3));
        // It may name a hold twice.
        let twice = own.first().copied().filter(|_| rng.random_ratio(1, 4));
        own.extend(twice);
        let used = |rng: &mut ChaCha8Rng, hold: &Hold| rng.random_range(0..=hold.amount);
        let uses: Vec<_> = own.iter().map(|hold| (hold.pool, used(rng, hold))).collect();
        let closes = own.iter().zip(&uses);
        let closes = closes.map(|(hold, (_, used))| Closing { hold: hold.id, used: *used });
        let closes = closes.collect();
        self.uses = uses;
        let gives = rng.random_range(0..3);
        let gives = (0..gives).map(|_| {
            self.drawn += 1;
            let least = rng.random_range(1..4);
            let (hold, pool) = (hold_of(self.number, self.drawn), draw_pool(rng));
            Giving { hold, pool, least, most: least + rng.random_range(0..4) }
        });
        let gives = gives.collect();
        Command::Report(Report { owner, closes, gives, ..Report::default() })
    }

    /// Takes what the report came to.
    pub(crate) fn answered(&self, command: &Command, outcome: &Outcome, ledger: &mut Ledger) {
        let Command::Report(report) = command else { return };
        let Outcome::Reported { version: Some(version), left_out } = outcome else { return };
        for (nth, (closing, (pool, used))) in report.closes.iter().zip(&self.uses).enumerate() {
            if left_out.iter().all(|(left_out, _)| *left_out != nth) {
                ledger.close((closing.hold, *version), *pool, *used);
            }
        }
    }

    /// What the report came to is never known.
    pub(crate) fn left_in_doubt(&self, ledger: &mut Ledger) {
        self.uses.iter().for_each(|(pool, used)| ledger.doubt(*pool, *used));
    }
}
