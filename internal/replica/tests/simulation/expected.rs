//! What the journal's entries must come to: the books that they leave one by one, and what a model decides of the same
//! commands. It is restored together with the journal.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;

use placard_model::capacity::Books;
use placard_model::entry::{Change, Entry};
use placard_model::{Timestamp, Version};
use placard_replica::{Batch, Plan};
use placard_testkit::capacity::model::Model;
use uuid::Uuid;

use crate::invariants::{books_add_up, model_decides_alike, reservations_are_given_once};

/// What the entries of a plan do, each with its version, by request and item.
pub(crate) type Changes = BTreeMap<(Uuid, u32), (Version, Change)>;

/// A plan that the journal has written, and what it was made with.
pub(crate) struct Decided {
    pub(crate) batch: Arc<Batch>,
    pub(crate) plan: Plan,
    /// The replicas that were registered.
    pub(crate) registered: HashSet<Uuid>,
}

#[derive(Default, Clone)]
pub(crate) struct Expected {
    /// The books after the last entry.
    pub(crate) books: Books,
    pub(crate) model: Model,
    /// The ids that were given or released, and are not forgotten.
    pub(crate) known: BTreeSet<Uuid>,
    /// The keys under which an answer is kept.
    pub(crate) answered: HashSet<[u8; 32]>,
    /// The requests on pools and holds that have written something.
    pub(crate) written: HashSet<Uuid>,
    /// The entry that created each pool.
    born: BTreeMap<Uuid, Version>,
}

impl Expected {
    /// Applies an entry.
    pub(crate) fn enter(&mut self, entry: &Entry, version: Version, truly: Timestamp) {
        if matches!(entry.change, Change::Put(_) | Change::Delete(_)) {
            return;
        }
        let before = self.books.clone();
        if let Change::PutPool(pool) = &entry.change
            && before.pool(pool.id).is_none()
        {
            self.born.insert(pool.id, version);
        }
        self.books.enter(&entry.change, version);
        books_add_up::check(version, &before, &entry.change, &self.books);
        reservations_are_given_once::check(&mut self.known, &before, &entry.change, truly);
    }

    /// Compares what was decided with the model.
    pub(crate) fn compare(&mut self, decided: &Decided, changes: &Changes) {
        model_decides_alike::check(self, decided, changes);
    }

    /// Returns the version of the entry that created a pool.
    pub(crate) fn born(&self, pool: Uuid) -> Version {
        self.born.get(&pool).copied().unwrap_or(0)
    }
}
