//! The `a-tree` crate: each ad is a boolean expression, and a query is an event in which an absent filter is
//! the value 0 of its dimension. It finds matches in no order, so they are sorted for the page.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::hint::black_box;
use std::sync::Arc;

use a_tree::{ATree, AttributeDefinition};
use placard_model::{Ad, Country, Gender, Platform, Query, Timestamp};
use uuid::Uuid;

use crate::candidate::{Candidate, Search};

pub(crate) struct BooleanTree {
    tree: ATree<u64>,
    ads: HashMap<u64, Arc<Ad>>,
    numbers: HashMap<Uuid, u64>,
    next: u64,
}

/// What the ad targets, in the crate's language; 0 stands for "absent".
fn expression(ad: &Ad) -> String {
    let targeting = &ad.spec.targeting;
    let mut text = "everyone".to_owned();
    if let Some(age) = targeting.age {
        write!(text, " and (age < 1 or (age >= {} and age <= {}))", age.start, age.end).unwrap();
    }
    let mut one_of = |name: &str, places: &mut dyn Iterator<Item = usize>| {
        let values: Vec<_> = places.map(|place| (place + 1).to_string()).collect();
        if !values.is_empty() {
            write!(text, " and {name} in [0, {}]", values.join(", ")).unwrap();
        }
    };
    one_of("country", &mut targeting.country.iter().map(Country::place));
    one_of("gender", &mut targeting.gender.iter().map(Gender::place));
    one_of("platform", &mut targeting.platform.iter().map(Platform::place));
    text
}

impl BooleanTree {
    fn found(&self, query: &Query, now: Timestamp) -> (Vec<&Arc<Ad>>, u64) {
        let mut event = self.tree.make_event();
        let digit = |place: Option<usize>| place.map_or(0, |place| place as i64 + 1);
        event.with_boolean("everyone", true).unwrap();
        event.with_integer("age", query.age.value().unwrap_or(0).into()).unwrap();
        event.with_integer("country", digit(query.country.value().map(Country::place))).unwrap();
        event.with_integer("gender", digit(query.gender.value().map(Gender::place))).unwrap();
        event.with_integer("platform", digit(query.platform.value().map(Platform::place))).unwrap();
        let event = event.build().unwrap();
        let report = self.tree.search(&event).unwrap();
        let served = |ad: &&Arc<Ad>| ad.spec.start_at <= now && ad.spec.end_at > now;
        let mut ads: Vec<_> =
            report.matches().iter().map(|number| &self.ads[*number]).filter(served).collect();
        let total = ads.len() as u64;
        let (offset, past) = (query.offset as usize, (query.offset + query.limit) as usize);
        if past < ads.len() {
            ads.select_nth_unstable_by_key(past, |ad| (ad.spec.end_at, ad.id));
            ads.truncate(past);
        }
        ads.sort_unstable_by_key(|ad| (ad.spec.end_at, ad.id));
        ads.drain(..offset.min(ads.len()));
        (ads, total)
    }
}

impl Search for BooleanTree {
    fn search(&self, query: &Query, now: Timestamp) -> u64 {
        black_box(self.found(query, now)).1
    }
}

impl Candidate for BooleanTree {
    const NAME: &'static str = "a-tree";
    const ADS_MAX: usize = 100_000;
    type Item = Arc<Ad>;

    fn prepare(ad: &Arc<Ad>) -> Arc<Ad> {
        Arc::clone(ad)
    }

    fn build(ads: Vec<Arc<Ad>>, _: Timestamp) -> Self {
        let mut definitions = vec![AttributeDefinition::boolean("everyone")];
        let dimensions = ["age", "country", "gender", "platform"];
        definitions.extend(dimensions.map(AttributeDefinition::integer));
        let tree = ATree::new(&definitions).unwrap();
        let mut tree = Self { tree, ads: HashMap::new(), numbers: HashMap::new(), next: 0 };
        ads.iter().for_each(|ad| tree.insert(ad));
        tree
    }

    fn answer(&self, query: &Query, now: Timestamp) -> (Vec<Uuid>, u64) {
        let (ads, total) = self.found(query, now);
        (ads.iter().map(|ad| ad.id).collect(), total)
    }

    fn insert(&mut self, ad: &Arc<Ad>) {
        self.tree.insert(&self.next, &expression(ad)).unwrap();
        self.ads.insert(self.next, Arc::clone(ad));
        self.numbers.insert(ad.id, self.next);
        self.next += 1;
    }

    fn remove(&mut self, ad: &Arc<Ad>) {
        let number = self.numbers.remove(&ad.id).unwrap();
        self.tree.delete(&number);
        self.ads.remove(&number);
    }

    fn shared(&self) -> Option<&(dyn Search + Sync)> {
        Some(self)
    }
}
