//! The readers' side: answers from what was published last, without a lock, a wait or I/O.

use std::sync::Arc;

use arc_swap::ArcSwap;
use placard_model::entry::Position;
use placard_model::{Query, Timestamp, Version};
use uuid::Uuid;

use crate::StoredAd;
use crate::index::Root;

/// A handle for reads. Cloning it is cheap, and any number may read at once.
#[derive(Debug, Clone)]
pub struct Reader {
    root: Arc<ArcSwap<Root>>,
}

/// The answer to a query.
#[derive(Debug, Clone)]
pub struct Page {
    /// The version that answered.
    pub version: Version,
    /// How many ads fit, on whatever page.
    pub total: u64,
    /// The ads of this page, by end, then by id.
    pub ads: Vec<Arc<StoredAd>>,
}

impl Reader {
    pub(crate) fn new(root: Arc<Root>) -> Self {
        Self { root: Arc::new(ArcSwap::new(root)) }
    }

    pub(crate) fn publish(&self, root: Arc<Root>) {
        self.root.store(root);
    }

    /// Where the published state stands.
    pub fn published(&self) -> Position {
        self.root.load().position()
    }

    /// How many ads there are, served or not.
    pub fn ads(&self) -> usize {
        self.root.load().ads().len()
    }

    /// The ads that fit the query and are served at `now`.
    pub fn search(&self, query: &Query, now: Timestamp) -> Page {
        self.root.load().search(query, now)
    }

    /// The ad of an id, served or not, at the published version or a moment later.
    pub fn ad(&self, id: Uuid) -> Option<Arc<StoredAd>> {
        self.root.load().ads().get(&id).map(|ad| Arc::clone(&ad))
    }
}
