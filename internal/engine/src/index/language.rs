//! A fifth dimension, only here: a language out of 200. It shows that a dimension is declared in one place, and
//! that one whose values would make the counts too large is answered right without them.

use std::sync::Arc;

use placard_model::{Filter, Timestamp};
use uuid::Uuid;

use super::dimension::{Dimension, Item, Key, Role, Schema};
use super::tree::Tree;
use super::values::ValueSet;

const LANGUAGES: usize = 200;
const COUNTRIES: usize = 7;
const PLATFORMS: usize = 3;
const AGES: usize = 20;

#[derive(Debug, Clone)]
struct Ad {
    id: Uuid,
    start_at: i64,
    end_at: i64,
    targeted: [ValueSet; 4],
}

#[derive(Debug, Default)]
struct Asked {
    values: [Filter<usize>; 4],
    offset: u64,
    limit: u64,
}

#[derive(Debug)]
struct WithLanguage;

fn stamp(micros: i64) -> Timestamp {
    Timestamp::EPOCH.saturating_add_micros(micros)
}

impl Item for Ad {
    fn key(&self) -> Key {
        (stamp(self.end_at), self.id)
    }

    fn start_at(&self) -> Timestamp {
        stamp(self.start_at)
    }
}

impl Schema for WithLanguage {
    type Ad = Ad;
    type Query = Asked;

    const DIMENSIONS: &'static [Dimension<Self>] = &[
        Dimension {
            // Country.
            values: COUNTRIES,
            role: Role::Leading,
            targeted: |ad| ad.targeted[0],
            asked: |asked| asked.values[0],
        },
        Dimension {
            // Platform.
            values: PLATFORMS,
            role: Role::Crossed,
            targeted: |ad| ad.targeted[1],
            asked: |asked| asked.values[1],
        },
        Dimension {
            // Age.
            values: AGES,
            role: Role::Ranged,
            targeted: |ad| ad.targeted[2],
            asked: |asked| asked.values[2],
        },
        Dimension {
            // Language.
            values: LANGUAGES,
            role: Role::Listed,
            targeted: |ad| ad.targeted[3],
            asked: |asked| asked.values[3],
        },
    ];

    fn page(asked: &Asked) -> (u64, u64) {
        (asked.offset, asked.limit)
    }
}

/// A small generator of numbers: what is tested is the tree, not the numbers.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, bound: usize) -> usize {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % bound
    }

    fn some_of(&mut self, values: usize, most: usize) -> ValueSet {
        (0..self.below(most + 1)).map(|_| self.below(values)).collect()
    }

    fn ad(&mut self, id: u128, now: i64) -> Ad {
        let start_at = now - 50 + self.below(100) as i64;
        let (from, span) = (self.below(AGES), self.below(AGES));
        let ages = ValueSet::from_range(from, (from + span).min(AGES - 1));
        let targeted = [
            self.some_of(COUNTRIES, 3),
            self.some_of(PLATFORMS, 2),
            if self.below(3) == 0 { ValueSet::default() } else { ages },
            self.some_of(LANGUAGES, 4),
        ];
        let end_at = start_at.max(now) + 1 + self.below(200) as i64;
        Ad { id: Uuid::from_u128(id), start_at, end_at, targeted }
    }

    fn asked(&mut self) -> Asked {
        let mut value = |values| match self.below(10) {
            0..4 => Filter::Absent,
            4 => Filter::Unknown,
            _ => Filter::Value(self.below(values)),
        };
        let values = [value(COUNTRIES), value(PLATFORMS), value(AGES), value(LANGUAGES)];
        Asked { values, offset: self.below(40) as u64, limit: 1 + self.below(20) as u64 }
    }
}

fn scan(ads: &[Arc<Ad>], asked: &Asked, now: i64) -> (Vec<Uuid>, u64) {
    let served =
        |ad: &&Arc<Ad>| ad.start_at <= now && now < ad.end_at && WithLanguage::fits(ad, asked);
    let mut fitting: Vec<_> = ads.iter().filter(served).map(|ad| ad.key()).collect();
    fitting.sort_unstable();
    let page = fitting.iter().skip(asked.offset as usize).take(asked.limit as usize);
    (page.map(|(_, id)| *id).collect(), fitting.len() as u64)
}

#[test]
fn fifth_dimension_with_200_values_matches_a_scan() {
    let mut numbers = Numbers(7);
    let mut tree = Tree::<WithLanguage>::default();
    let mut ads: Vec<Arc<Ad>> = Vec::new();
    let mut now = 1_000;
    for id in 0..6_000 {
        if ads.len() > 1_500 || (numbers.below(4) == 0 && !ads.is_empty()) {
            let ad = ads.swap_remove(numbers.below(ads.len()));
            tree.remove(&ad);
        }
        let ad = Arc::new(numbers.ad(id, now));
        tree.insert(&ad);
        ads.push(ad);
        if numbers.below(20) == 0 {
            now += numbers.below(5) as i64;
        }
        if numbers.below(30) == 0 {
            tree.advance(stamp(now), 3, |_, _| {});
        }
        if id % 3 == 0 {
            let asked = numbers.asked();
            let mut page = Vec::new();
            let total = tree.search(&asked, stamp(now), |ad| page.push(ad.id));
            assert_eq!((page, total), scan(&ads, &asked, now), "{asked:?} at {now}");
        }
    }
    let rebuilt = Tree::<WithLanguage>::build(ads.clone(), stamp(now));
    for _ in 0..500 {
        let asked = numbers.asked();
        let mut page = Vec::new();
        let total = rebuilt.search(&asked, stamp(now), |ad| page.push(ad.id));
        assert_eq!((page, total), scan(&ads, &asked, now), "{asked:?} at {now}");
    }
}
