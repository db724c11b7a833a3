//! The readers' side: queries are answered from what was published last, without a lock, a wait or I/O. A
//! look-up by id takes its shard's read lock for a moment.

use std::sync::Arc;

use arc_swap::ArcSwap;
use placard_model::capacity::Books;
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

/// What is known of an answer besides the ads of its page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Found {
    /// The version that answered.
    pub version: Version,
    /// How many ads fit, on whatever page.
    pub total: u64,
}

impl Reader {
    pub(crate) fn new(root: Arc<Root>) -> Self {
        Self { root: Arc::new(ArcSwap::new(root)) }
    }

    /// Publishes a new root and returns the previous one.
    pub(crate) fn publish(&self, root: Arc<Root>) -> Arc<Root> {
        self.root.swap(root)
    }

    /// Returns the position of the published state.
    pub fn published(&self) -> Position {
        self.root.load().position()
    }

    /// Returns the number of ads, served or not.
    pub fn ads(&self) -> usize {
        self.root.load().ads().len()
    }

    /// Ads that are indexed, and ads that wait for their start.
    pub fn indexed(&self) -> (usize, usize) {
        self.root.load().len()
    }

    /// Bytes that the index takes, without the ads themselves. Walks all of it.
    pub fn index_bytes(&self) -> usize {
        self.root.load().bytes()
    }

    /// The ads that fit the query and are served at `now`.
    pub fn search(&self, query: &Query, now: Timestamp) -> Page {
        let mut ads = Vec::new();
        let Found { version, total } = self.visit(query, now, |ad| ads.push(Arc::clone(ad)));
        Page { version, total, ads }
    }

    /// As [`Reader::search`], but passes the page's ads to `give`, in order, without counting a reference to
    /// each: many readers of the same ads would fight over those counts.
    pub fn visit(&self, query: &Query, now: Timestamp, give: impl FnMut(&Arc<StoredAd>)) -> Found {
        let root = self.root.load();
        let total = root.search(query, now, give);
        Found { version: root.position().version, total }
    }

    /// Passes pools, holds and tombstones to `read`, all at one version, which it returns too.
    pub fn books<T>(&self, read: impl FnOnce(&Books) -> T) -> (Version, T) {
        let root = self.root.load();
        (root.position().version, read(root.books()))
    }

    /// The ad of an id, served or not, at the published version or a moment later.
    pub fn ad(&self, id: Uuid) -> Option<Arc<StoredAd>> {
        self.root.load().ads().get(&id).map(|ad| Arc::clone(&ad))
    }
}
