//! The index without the log around it: no records, no chain, no digest, no ads by id. The benches drive it, so
//! that what they compare with other indexes is an index and not a state machine.

use std::sync::Arc;

use placard_model::Timestamp;
use placard_model::capacity::Books;
use placard_model::entry::Position;

use crate::by_id::{self, ById};
use crate::index::Index;
use crate::{Reader, StoredAd};

/// The writer's side of an index and nothing else.
#[derive(Debug)]
pub struct Alone {
    index: Index,
    reader: Reader,
    ads: Arc<ById>,
}

impl Alone {
    /// An index of all these ads, in whatever order, at a time.
    pub fn build(ads: Vec<Arc<StoredAd>>, now: Timestamp) -> Self {
        let (mut index, ads) = (Index::build(ads, now), Arc::new(by_id::empty()));
        let reader = Reader::new(index.root(Position::START, (&ads, &Books::default())));
        Self { index, reader, ads }
    }

    /// Adds an ad that it does not have. As with an engine, the work is done when it is published.
    pub fn insert(&mut self, ad: &Arc<StoredAd>) {
        self.index.insert(ad);
    }

    /// Drops an ad, if it has it.
    pub fn remove(&mut self, ad: &Arc<StoredAd>) {
        self.index.remove(ad);
    }

    /// Makes what was changed visible to readers, as [`crate::Engine::publish`] does.
    pub fn publish(&mut self) {
        let root = self.index.root(Position::START, (&self.ads, &Books::default()));
        self.index.retire(self.reader.publish(root));
    }

    /// A handle for reads. Ads by id are not there.
    pub fn reader(&self) -> &Reader {
        &self.reader
    }
}
