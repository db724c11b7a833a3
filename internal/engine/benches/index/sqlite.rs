//! SQLite in memory, as the tests' oracle has it. A batch is a transaction.

use std::hint::black_box;
use std::sync::Arc;

use placard_model::{Ad, Query, Timestamp};
use placard_testkit::sqlite::Sqlite;
use uuid::Uuid;

use crate::candidate::{Candidate, Search};

pub(crate) struct InMemory(Sqlite);

impl Search for InMemory {
    fn search(&self, query: &Query, now: Timestamp) -> u64 {
        black_box(self.0.search(query, now)).1
    }
}

impl Candidate for InMemory {
    const NAME: &'static str = "SQLite";
    type Item = Arc<Ad>;

    fn prepare(ad: &Arc<Ad>) -> Arc<Ad> {
        Arc::clone(ad)
    }

    fn build(ads: Vec<Arc<Ad>>, _: Timestamp) -> Self {
        let mut sqlite = Sqlite::default();
        sqlite.begin();
        ads.iter().for_each(|ad| sqlite.insert(ad));
        sqlite.commit();
        Self(sqlite)
    }

    fn answer(&self, query: &Query, now: Timestamp) -> (Vec<Uuid>, u64) {
        self.0.search(query, now)
    }

    fn begin(&mut self) {
        self.0.begin();
    }

    fn insert(&mut self, ad: &Arc<Ad>) {
        self.0.insert(ad);
    }

    fn remove(&mut self, ad: &Arc<Ad>) {
        self.0.remove(ad.id);
    }

    fn commit(&mut self) {
        self.0.commit();
    }

    fn shared(&self) -> Option<&(dyn Search + Sync)> {
        None
    }

    fn bytes_hidden(&self) -> usize {
        self.0.bytes()
    }
}
