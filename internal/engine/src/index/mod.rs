//! The compound prefix tree: which ads fit a query, in the order of answers, and how many there are.
//!
//! | file | what |
//! |---|---|
//! | `dimension` | the levels, declared in one place: what an ad targets, what a query asks |
//! | `coordinates` | where an ad lies on every level, and where a query looks |
//! | `values`, `row`, `wide`, `block` | sets of values; bit rows; the rows of a dimension with many values; a chunk's ads |
//! | `chunk`, `group`, `counts` | some hundred ads and their rows; chunks and their counts; counts per prefix |
//! | `tree` | all of them, and the ads whose time is to come |
//!
//! The writer changes its own tree and publishes clones; readers hold one and never wait. What a published
//! tree shares with the writer's is copied before it is changed.

mod block;
mod chunk;
mod coordinates;
mod counts;
mod dimension;
mod group;
#[cfg(test)]
mod language;
mod row;
mod tree;
mod values;
mod wide;

use std::collections::VecDeque;
use std::collections::hash_map::{Entry, HashMap};
use std::sync::Arc;

use placard_model::entry::Position;
use placard_model::{Query, Timestamp};
use uuid::Uuid;

use crate::StoredAd;
use crate::by_id::ById;
use dimension::Ads;
use tree::Tree;

/// About how many ads begin and how many end in one advance of the tree, so that entries do not wait long.
const ADVANCE_ADS: usize = 1_024;

/// The writer's side.
#[derive(Debug, Default)]
pub(crate) struct Index {
    tree: Tree<Ads>,
    /// What has changed since the tree was published. It is worked in in the order of the answers, so that a
    /// chunk, its group and its counts are fetched into the caches and copied once for all of their changes.
    changed: HashMap<Uuid, Changed>,
    /// Roots that were replaced and that a reader may still hold. They are dropped here, by the writer, because
    /// to drop one may free thousands of nodes.
    retired: VecDeque<Arc<Root>>,
}

/// An ad as the tree has it, and as it shall have it.
#[derive(Debug, Default)]
struct Changed {
    old: Option<Arc<StoredAd>>,
    new: Option<Arc<StoredAd>>,
}

/// The readers' side: everything as of one position.
#[derive(Debug)]
pub(crate) struct Root {
    position: Position,
    tree: Tree<Ads>,
    ads: Arc<ById>,
}

/// Whether an ad has another place once the clock was set back.
pub(crate) type Moved<'a> = dyn Fn(&StoredAd) -> bool + Sync + 'a;

impl Index {
    /// An index of all these ads, in whatever order, at a time.
    pub(crate) fn build(ads: Vec<Arc<StoredAd>>, time: Timestamp) -> Self {
        Self { tree: Tree::build(ads, time), ..Self::default() }
    }

    /// Adds an ad that is not in the index.
    pub(crate) fn insert(&mut self, ad: &Arc<StoredAd>) {
        self.changed.entry(ad.id).or_default().new = Some(Arc::clone(ad));
    }

    /// Drops an ad that is in the index, or was until it ended.
    pub(crate) fn remove(&mut self, ad: &Arc<StoredAd>) {
        match self.changed.entry(ad.id) {
            Entry::Occupied(mut changed) => changed.get_mut().new = None,
            Entry::Vacant(unchanged) => {
                unchanged.insert(Changed { old: Some(Arc::clone(ad)), new: None });
            }
        }
    }

    /// Works in what has changed.
    fn settle(&mut self) {
        let (mut old, mut new) = (Vec::new(), Vec::with_capacity(self.changed.len()));
        for (_, changed) in self.changed.drain() {
            old.extend(changed.old);
            new.extend(changed.new);
        }
        for ads in [&mut old, &mut new] {
            ads.sort_unstable_by_key(|ad| ad.key());
        }
        self.tree.change(&old, &new);
    }

    /// Lets ads begin and end up to a time; whether there is something to publish.
    pub(crate) fn advance(&mut self, now: Timestamp) -> bool {
        self.settle();
        self.tree.advance(now, ADVANCE_ADS)
    }

    /// Moves the index back, if it is beyond a time; whether there is something to publish. `find` looks for those that
    /// move among all ads that there are.
    pub(crate) fn rewind(
        &mut self,
        now: Timestamp,
        find: impl FnOnce(&Moved<'_>) -> Vec<Arc<StoredAd>>,
    ) -> bool {
        if self.tree.time() <= now {
            return false;
        }
        self.settle();
        self.tree.rewind(now, find);
        true
    }

    /// What readers shall see from now on.
    pub(crate) fn root(&mut self, position: Position, ads: &Arc<ById>) -> Arc<Root> {
        self.settle();
        Arc::new(Root { position, tree: self.tree.clone(), ads: Arc::clone(ads) })
    }

    /// Takes back a root that readers do not find any more, and drops those that no reader holds.
    pub(crate) fn retire(&mut self, root: Arc<Root>) {
        self.retired.push_back(root);
        self.retired.retain(|root| Arc::strong_count(root) > 1);
    }

    /// Whether no reader is at any of the roots that were taken back.
    pub(crate) fn is_unread(&self) -> bool {
        self.retired.iter().all(|root| Arc::strong_count(root) == 1)
    }
}

impl Root {
    pub(crate) fn position(&self) -> Position {
        self.position
    }

    pub(crate) fn ads(&self) -> &ById {
        &self.ads
    }

    pub(crate) fn search<'a>(
        &'a self,
        query: &Query,
        now: Timestamp,
        give: impl FnMut(&'a Arc<StoredAd>),
    ) -> u64 {
        self.tree.search(query, now, give)
    }

    /// Ads that are indexed, and ads that wait for their start.
    pub(crate) fn len(&self) -> (usize, usize) {
        self.tree.len()
    }

    /// Bytes that the index takes.
    pub(crate) fn bytes(&self) -> usize {
        self.tree.bytes()
    }
}
