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
use std::sync::Arc;

use dashmap::DashMap;
use placard_model::entry::Position;
use placard_model::{Query, Timestamp};
use uuid::Uuid;

use crate::StoredAd;
use dimension::Ads;
use tree::Tree;

/// About how many ads begin and how many end in one advance of the tree, so that entries do not wait long.
const ADVANCE_ADS: usize = 1_024;

/// The writer's side.
#[derive(Debug, Default)]
pub(crate) struct Index {
    tree: Tree<Ads>,
    /// Roots that were replaced and that a reader may still hold. They are dropped here, by the writer, because
    /// to drop one may free thousands of nodes.
    retired: VecDeque<Arc<Root>>,
}

/// The readers' side: everything as of one position.
#[derive(Debug)]
pub(crate) struct Root {
    position: Position,
    tree: Tree<Ads>,
    ads: Arc<DashMap<Uuid, Arc<StoredAd>>>,
}

impl Index {
    /// An index of all these ads, in whatever order, at a time.
    pub(crate) fn build(ads: Vec<Arc<StoredAd>>, time: Timestamp) -> Self {
        Self { tree: Tree::build(ads, time), retired: VecDeque::new() }
    }

    pub(crate) fn insert(&mut self, ad: &Arc<StoredAd>) {
        self.tree.insert(ad);
    }

    pub(crate) fn remove(&mut self, ad: &StoredAd) {
        self.tree.remove(ad);
    }

    /// Lets ads begin and end up to a time; whether there is something to publish.
    pub(crate) fn advance(&mut self, now: Timestamp) -> bool {
        self.tree.advance(now, ADVANCE_ADS)
    }

    /// What readers shall see from now on.
    pub(crate) fn root(
        &self,
        position: Position,
        ads: &Arc<DashMap<Uuid, Arc<StoredAd>>>,
    ) -> Arc<Root> {
        Arc::new(Root { position, tree: self.tree.clone(), ads: Arc::clone(ads) })
    }

    /// Takes back a root that readers do not find any more, and drops those that no reader holds.
    pub(crate) fn retire(&mut self, root: Arc<Root>) {
        self.retired.push_back(root);
        self.retired.retain(|root| Arc::strong_count(root) > 1);
    }
}

impl Root {
    pub(crate) fn position(&self) -> Position {
        self.position
    }

    pub(crate) fn ads(&self) -> &DashMap<Uuid, Arc<StoredAd>> {
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
