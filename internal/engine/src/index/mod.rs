//! The compound prefix tree: which ads fit a query, in the order of answers, and how many there are.
//!
//! | file | what |
//! |---|---|
//! | `dimension` | the levels, declared in one place: what an ad targets, what a query asks |
//! | `coordinates` | where an ad lies on every level, and where a query looks |
//! | `values`, `row`, `wide`, `block` | sets of values; bit rows; the rows of a dimension with many values; a chunk's ads |
//! | `chunk`, `group`, `counts` | some hundred ads and their rows; chunks and their counts; counts per prefix |
//! | `tree` | all of them, and the ads whose time is to come |
//! | `lately` | the ads whose time came, or ended, in the last minute |
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
mod lately;
mod row;
mod tree;
mod values;
mod wide;

use std::collections::VecDeque;
use std::collections::hash_map::{Entry, HashMap};
use std::sync::Arc;

use placard_model::capacity::Books;
use placard_model::entry::Position;
use placard_model::{Query, Timestamp};
use uuid::Uuid;

use crate::StoredAd;
use crate::by_id::ById;
use dimension::Ads;
use lately::Lately;
use tree::Tree;

/// About how many ads begin, and how many end, in one advance of the tree at most, so that entries do not wait long.
const ADVANCE_ADS: usize = 4_096;
/// The number of recent moments that one advance forgets at most: more than it adds.
const FORGET_MOMENTS: usize = 4 * ADVANCE_ADS;

/// The writer's side.
#[derive(Debug, Default)]
pub(crate) struct Index {
    tree: Tree<Ads>,
    lately: Lately,
    /// The changes since the tree was published. They are applied in the order of the answers, so that a chunk, its
    /// group and its counts are fetched into the caches and copied once for all of their changes.
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
    books: Books,
}

/// Returns true for an ad that has another place once the clock was set back.
pub(crate) type Moved<'a> = dyn Fn(&StoredAd) -> bool + Sync + 'a;

impl Index {
    /// An index of all these ads, in whatever order, at a time.
    pub(crate) fn build(ads: Vec<Arc<StoredAd>>, time: Timestamp) -> Self {
        let lately = Lately::build(&ads, time);
        Self { tree: Tree::build(ads, time), lately, ..Self::default() }
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

    /// Applies the collected changes to the tree.
    fn settle(&mut self) {
        let (mut old, mut new) = (Vec::new(), Vec::with_capacity(self.changed.len()));
        for (_, changed) in self.changed.drain() {
            old.extend(changed.old);
            new.extend(changed.new);
        }
        let time = self.tree.time();
        old.iter().for_each(|ad| self.lately.forget(ad));
        new.iter().for_each(|ad| self.lately.enter(ad, time));
        for ads in [&mut old, &mut new] {
            ads.sort_unstable_by_key(|ad| ad.key());
        }
        self.tree.change(&old, &new);
    }

    /// Lets ads begin and end up to a time, and returns true if there is something to publish.
    pub(crate) fn advance(&mut self, now: Timestamp) -> bool {
        self.settle();
        let Self { tree, lately, .. } = self;
        let changed = tree.advance(now, ADVANCE_ADS, |moment, ad| lately.passed(moment, ad));
        lately.advance(tree.time(), FORGET_MOMENTS);
        changed
    }

    /// Returns true if more ads have begun by a time than the last advance could index.
    pub(crate) fn is_behind(&self, now: Timestamp) -> bool {
        self.tree.is_behind(now)
    }

    /// Moves the index back, if it is beyond a time, and returns true if there is something to publish. If that is more
    /// than a minute back, `find` looks among all ads for those that move.
    pub(crate) fn rewind(
        &mut self,
        now: Timestamp,
        find: impl FnOnce(&Moved<'_>) -> Vec<Arc<StoredAd>>,
    ) -> bool {
        if self.tree.time() <= now {
            return false;
        }
        self.settle();
        let lately = self.lately.rewind(now);
        self.tree.rewind(now, |moved| match lately {
            Some(mut ads) => {
                ads.retain(|ad| moved(ad));
                ads
            }
            None => find(moved),
        });
        true
    }

    /// Returns a root of the current state, for publication to readers.
    pub(crate) fn root(
        &mut self,
        position: Position,
        (ads, books): (&Arc<ById>, &Books),
    ) -> Arc<Root> {
        self.settle();
        let (tree, ads, books) = (self.tree.clone(), Arc::clone(ads), books.clone());
        Arc::new(Root { position, tree, ads, books })
    }

    /// Takes back a root that readers do not find any more, and drops those that no reader holds.
    pub(crate) fn retire(&mut self, root: Arc<Root>) {
        self.retired.push_back(root);
        self.retired.retain(|root| Arc::strong_count(root) > 1);
    }

    /// Returns true if no reader holds any of the roots that were taken back.
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

    pub(crate) fn books(&self) -> &Books {
        &self.books
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

#[cfg(test)]
mod tests {
    use placard_model::generator::Generator;
    use placard_model::{Ad, EncodedAd};

    use super::*;

    const START: Timestamp = Timestamp::EPOCH;

    fn ads(count: u128, start_ms: impl Fn(u128) -> u128) -> Vec<Arc<StoredAd>> {
        let at = |ms: u128| START.saturating_add_micros(ms as i64 * 1_000);
        let specs = Generator::new(1, START).zip(1..=count);
        let ads = specs.map(|(mut spec, nth)| {
            (spec.start_at, spec.end_at) = (at(start_ms(nth)), at(start_ms(nth) + 30_000));
            let ad = Ad { id: Uuid::from_u128(nth), version: 1, created_at: START, spec };
            Arc::new(StoredAd::new(EncodedAd::encode(&ad)).expect("it is an ad"))
        });
        ads.collect()
    }

    fn served(index: &mut Index, ads: &[Arc<StoredAd>], at: Timestamp) {
        let root =
            index.root(Position::START, (&Arc::new(crate::by_id::empty()), &Books::default()));
        let fitting = ads.iter().filter(|ad| ad.start_at <= at && at < ad.end_at).count();
        assert_eq!(root.search(&Query::default(), at, |_| {}), fitting as u64, "at {at}");
    }

    /// All ads were looked at, in a step of the task that applies entries, for a clock that was 50 ms off.
    #[test]
    fn rewind_of_under_a_minute_searches_no_ads() {
        let ads = ads(2_000, |nth| nth * 100);
        let second = |seconds: i64| START.saturating_add_micros(seconds * 1_000_000);
        let mut index = Index::build(ads.clone(), second(50));
        for (now, back) in [(50, 5), (60, 59), (170, 111), (140, 120), (190, 135), (240, 181)] {
            index.advance(second(now));
            served(&mut index, &ads, second(now));
            index.rewind(second(back), |_| unreachable!("it is known what moves"));
            served(&mut index, &ads, second(back));
        }
        index.advance(second(300));
        let mut asked = false;
        index.rewind(second(230), |moved| {
            asked = true;
            ads.iter().filter(|ad| moved(ad)).cloned().collect()
        });
        assert!(asked, "further back, it is not");
        served(&mut index, &ads, second(230));
    }

    /// They were indexed in one step, however many they were, while entries waited.
    #[test]
    fn ads_that_begin_together_are_indexed_in_steps() {
        let count = 3 * ADVANCE_ADS + 5;
        let ads = ads(count as u128, |nth| if nth == 1 { 500 } else { 1_000 });
        let mut index = Index::build(ads.clone(), START);
        let now = START.saturating_add_micros(1_000_000);
        let mut steps = 0;
        while index.is_behind(now) {
            let before = index.tree.len().0;
            assert!(index.advance(now));
            assert!(index.tree.len().0 - before <= ADVANCE_ADS);
            served(&mut index, &ads, now);
            steps += 1;
        }
        assert_eq!((index.tree.len(), steps), ((count, 0), 4));
        assert!(!index.advance(now), "nothing is left to do");
    }
}
