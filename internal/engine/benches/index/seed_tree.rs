//! The tree that this project began with: a level per dimension, a concurrent map of children per node, and a
//! sorted list per leaf. An ad is in every leaf whose path it fits, "absent" being a child of every node.
//! Leaves know nothing of time, so a search walks all of one for the total.
//!
//! Only the countries that occur have a child, and all the others one together: with one for each of the 249,
//! a thousand of the generator's ads take more than 6 GB.

use std::collections::BTreeSet;
use std::hint::black_box;
use std::sync::Arc;

use dashmap::DashMap;
use placard_model::{Ad, Country, Gender, Platform, Query, Timestamp};
use skiplist::OrderedSkipList;
use uuid::Uuid;

use crate::candidate::{Candidate, Search};

#[derive(Clone)]
struct ByEnd(Arc<Ad>);

impl ByEnd {
    fn key(&self) -> (Timestamp, Uuid) {
        (self.0.spec.end_at, self.0.id)
    }
}

impl PartialEq for ByEnd {
    fn eq(&self, other: &Self) -> bool {
        self.key() == other.key()
    }
}

impl Eq for ByEnd {}

impl PartialOrd for ByEnd {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for ByEnd {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.key().cmp(&other.key())
    }
}

type Level<K, V> = DashMap<Option<K>, V>;
type Leaf = OrderedSkipList<ByEnd>;
/// By age, country, platform and gender, whichever order the tree has them in.
type Root = Level<u8, Level<usize, Level<usize, Level<usize, Leaf>>>>;

pub(crate) struct SeedTree {
    root: Root,
    /// Countries that occur, ascending.
    countries: Vec<Country>,
}

/// Every child that an ad is in: its values, or all of them, and "absent".
fn children<T: Copy>(
    targeted: impl Iterator<Item = T>,
    all: impl Iterator<Item = T>,
) -> Vec<Option<T>> {
    let mut values: Vec<_> = targeted.map(Some).collect();
    if values.is_empty() {
        values.extend(all.map(Some));
    }
    values.push(None);
    values
}

impl SeedTree {
    /// The child of a country.
    fn child(&self, country: Country) -> usize {
        self.countries.binary_search(&country).unwrap_or(self.countries.len())
    }

    fn each_leaf(&self, ad: &Ad, change: impl Fn(&mut Leaf)) {
        let targeting = &ad.spec.targeting;
        let ages = targeting.age.into_iter().flat_map(|age| age.start..=age.end);
        let countries = targeting.country.iter().map(|country| self.child(country));
        let countries = children(countries, 0..=self.countries.len());
        let platforms = targeting.platform.iter().map(Platform::place);
        let platforms = children(platforms, 0..Platform::ALL.len());
        let genders = targeting.gender.iter().map(Gender::place);
        let genders = children(genders, 0..Gender::ALL.len());
        for age in children(ages, 1..=100) {
            let level = self.root.entry(age).or_default();
            for country in &countries {
                let level = level.entry(*country).or_default();
                for platform in &platforms {
                    let level = level.entry(*platform).or_default();
                    for gender in &genders {
                        change(&mut level.entry(*gender).or_default());
                    }
                }
            }
        }
    }

    fn visit(&self, query: &Query, now: Timestamp, mut give: impl FnMut(&Arc<Ad>)) -> u64 {
        let mut total = 0;
        let (from, past) = (u64::from(query.offset), u64::from(query.offset + query.limit));
        let mut walk = |leaf: &Leaf| {
            let ended = |ad: &&ByEnd| ad.0.spec.end_at <= now;
            for ad in leaf.iter().skip_while(ended).filter(|ad| ad.0.spec.start_at <= now) {
                if (from..past).contains(&total) {
                    give(&ad.0);
                }
                total += 1;
            }
        };
        if let Some(level) = self.root.get(&query.age.value())
            && let Some(level) =
                level.get(&query.country.value().map(|country| self.child(country)))
            && let Some(level) = level.get(&query.platform.value().map(Platform::place))
            && let Some(leaf) = level.get(&query.gender.value().map(Gender::place))
        {
            walk(&leaf);
        }
        total
    }
}

impl Search for SeedTree {
    fn search(&self, query: &Query, now: Timestamp) -> u64 {
        self.visit(query, now, |ad| _ = black_box(ad))
    }
}

impl Candidate for SeedTree {
    const NAME: &'static str = "the seed's tree";
    const ADS_MAX: usize = 1_000;
    type Item = Arc<Ad>;

    fn prepare(ad: &Arc<Ad>) -> Arc<Ad> {
        Arc::clone(ad)
    }

    fn build(ads: Vec<Arc<Ad>>, _: Timestamp) -> Self {
        let countries: BTreeSet<_> =
            ads.iter().flat_map(|ad| ad.spec.targeting.country.iter()).collect();
        let countries = countries.into_iter().collect();
        let mut tree = Self { root: Level::default(), countries };
        ads.iter().for_each(|ad| tree.insert(ad));
        tree
    }

    fn answer(&self, query: &Query, now: Timestamp) -> (Vec<Uuid>, u64) {
        let mut ids = Vec::new();
        let total = self.visit(query, now, |ad| ids.push(ad.id));
        (ids, total)
    }

    fn insert(&mut self, ad: &Arc<Ad>) {
        self.each_leaf(ad, |leaf| leaf.insert(ByEnd(Arc::clone(ad))));
    }

    fn remove(&mut self, ad: &Arc<Ad>) {
        let ad_by_end = ByEnd(Arc::clone(ad));
        self.each_leaf(ad, |leaf| _ = leaf.take(&ad_by_end));
    }

    fn shared(&self) -> Option<&(dyn Search + Sync)> {
        Some(self)
    }
}
