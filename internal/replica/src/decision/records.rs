//! The records that a transaction has read, and what its commands make of them.

use std::collections::{BTreeSet, HashSet};

use placard_model::Version;
use placard_model::capacity::{Books, Command, Named};
use placard_model::command::Outcome;
use placard_model::entry::{Change, Digest};
use placard_model::records::{EncodedRecord, Key, Row};
use uuid::Uuid;

use super::capacity::{Clocks, Decision, State, decide};

/// The records as the commands so far leave them.
#[derive(Debug, Default)]
pub(crate) struct Records {
    books: Books,
    /// The ids of those that cannot be read. What names one of them, or a hold of such a pool, fails.
    damaged: HashSet<Uuid>,
    registered: Option<HashSet<Uuid>>,
    touched: BTreeSet<Key>,
}

impl Records {
    /// The records as they were read.
    pub(super) fn read(
        records: impl IntoIterator<Item = (Uuid, EncodedRecord)>,
        registered: Option<HashSet<Uuid>>,
    ) -> Self {
        let mut read = Self { registered, ..Self::default() };
        for (id, record) in records {
            if read.books.put(&record).is_err() {
                read.damaged.insert(id);
            }
        }
        read
    }

    /// Returns whether there is a pool with this id; `None` if what is there cannot be read.
    pub(super) fn pool_exists(&self, id: Uuid) -> Option<bool> {
        (!self.damaged.contains(&id)).then(|| self.books.pool(id).is_some())
    }

    /// Decides a command. The ads are those that it names and that exist, and then come the pools that ads name.
    pub(super) fn decide(
        &self,
        command: &Command,
        clocks: Clocks,
        next: Version,
        (ads, pools_of_ads): (&HashSet<Uuid>, &HashSet<Uuid>),
    ) -> Decision {
        let mut named = Named::default();
        command.names(&mut named);
        let parents =
            named.holds.iter().filter_map(|id| self.books.hold(*id)).map(|hold| &hold.pool);
        let mut ids = named.pools.iter().chain(&named.holds).chain(parents);
        if ids.any(|id| self.damaged.contains(id)) {
            return Decision { change: None, outcome: Outcome::Failed };
        }
        let (books, registered) = (&self.books, self.registered.as_ref());
        decide(command, &State { books, clocks, next, registered, ads, named: pools_of_ads })
    }

    /// Returns what the change of an entry makes of them, for [`Records::keep`] once the entry is written.
    pub(super) fn entered(&self, change: &Change, version: Version) -> Entered {
        let mut books = self.books.clone();
        let sums = books.enter(change, version);
        Entered { books, touched: Books::keys(change), sums }
    }

    /// Takes over what the change of a written entry has made of them.
    pub(super) fn keep(&mut self, entered: Entered) {
        self.books = entered.books;
        self.touched.extend(entered.touched);
    }

    /// Returns the records that were written or removed, by key.
    pub(super) fn changed(self) -> Vec<(Key, Option<Row>)> {
        let Self { books, touched, .. } = self;
        touched.into_iter().map(|key| (key, books.row(key))).collect()
    }
}

/// The records after one more entry.
pub(super) struct Entered {
    books: Books,
    touched: BTreeSet<Key>,
    /// What it takes out of the digest, and what it adds to it.
    pub(super) sums: (Digest, Digest),
}

/// Returns the outcome of a command that an earlier try has written, or nothing if its entry is of another command.
pub(super) fn outcome_of(command: &Command, change: &Change, version: Version) -> Option<Outcome> {
    let recorded = |id, record, is_new| Outcome::Recorded { id, version, record, is_new };
    Some(match (change, command) {
        (Change::PutPool(pool), _) => {
            let is_new = matches!(command, Command::CreatePool { .. });
            recorded(pool.id, EncodedRecord::of_pool(pool), is_new)
        }
        (Change::DeletePool(id), _) => Outcome::Deleted { id: *id, version },
        (Change::Move(moves), Command::Reserve { hold, .. } | Command::Change { hold, .. }) => {
            let given = moves.given.iter().find(|given| given.id == *hold)?;
            let is_new = matches!(command, Command::Reserve { .. });
            recorded(*hold, EncodedRecord::of_hold(given), is_new)
        }
        (Change::Move(_), Command::Close { hold, .. } | Command::Forfeit { hold }) => {
            Outcome::Deleted { id: *hold, version }
        }
        (Change::Move(_), Command::Lapse { id, .. }) => Outcome::Deleted { id: *id, version },
        (Change::Move(moves), Command::Report(report)) => {
            let mut given: HashSet<_> = moves.given.iter().map(|hold| hold.id).collect();
            // Of two items that name one hold, one was taken.
            let mut closed: HashSet<_> =
                moves.closed.iter().map(|closed| (closed.hold, closed.used)).collect();
            let counted: HashSet<_> = moves.counted.iter().map(|counted| counted.ad).collect();
            let closes = report.closes.iter().map(|item| (item.hold, item.used));
            let closes = closes.chain(report.overruns.iter().map(|item| (item.hold, item.used)));
            let mut items: Vec<_> = closes.map(|item| closed.remove(&item)).collect();
            items.extend(report.gives.iter().map(|item| given.remove(&item.hold)));
            items.extend(report.counts.iter().map(|item| counted.contains(&item.ad)));
            // The entry does not say why.
            let left_out = items.into_iter().enumerate().filter(|(_, is_taken)| !is_taken);
            let left_out = left_out.map(|(nth, _)| (nth, Outcome::Failed)).collect();
            Outcome::Reported { version: Some(version), left_out }
        }
        _ => return None,
    })
}

/// Returns why a command was not written when an earlier try decided its request, if it would be accepted now.
pub(super) fn rejected_then(command: &Command) -> Outcome {
    let id = first_of(command);
    match command {
        Command::CreatePool { .. } => Outcome::Exists { id, version: 0 },
        Command::Reserve { pool, .. } => Outcome::Exhausted { pool: *pool, available: 0 },
        Command::Lapse { .. } => Outcome::VersionMismatch { id, version: 0 },
        Command::Report(report) => {
            let left_out = (0..report.items()).map(|nth| (nth, Outcome::Failed)).collect();
            Outcome::Reported { version: None, left_out }
        }
        _ => match command.only_if().is_none_or(|only_if| only_if.is_empty()) {
            true => Outcome::NotFound { id },
            false => Outcome::VersionMismatch { id, version: 0 },
        },
    }
}

/// Returns the id of the hold that a command is about, or of the pool.
pub(super) fn first_of(command: &Command) -> Uuid {
    let mut named = Named::default();
    command.names(&mut named);
    named.holds.first().or(named.pools.first()).copied().unwrap_or_default()
}
