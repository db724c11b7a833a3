//! Roaring bitmaps: the ads numbered in result order, one bitmap per value of each dimension and one for the
//! ads that leave it open. A new ad would renumber all that follow, so it takes no single inserts.

use std::hint::black_box;
use std::sync::Arc;

use placard_model::{Ad, Country, Gender, Platform, Query, Timestamp};
use roaring::RoaringBitmap;
use uuid::Uuid;

use crate::candidate::{Candidate, Search};

struct Dimension {
    values: Vec<RoaringBitmap>,
    any: RoaringBitmap,
}

impl Dimension {
    fn new(values: usize) -> Self {
        Self { values: vec![RoaringBitmap::new(); values], any: RoaringBitmap::new() }
    }

    fn push(&mut self, number: u32, targeted: impl Iterator<Item = usize>) {
        let mut open = true;
        for value in targeted {
            self.values[value].try_push(number).unwrap();
            open = false;
        }
        if open {
            self.any.try_push(number).unwrap();
        }
    }

    fn fitting(&self, value: usize) -> RoaringBitmap {
        &self.values[value] | &self.any
    }
}

pub(crate) struct Bitmaps {
    ads: Vec<Arc<Ad>>,
    begun: RoaringBitmap,
    age: Dimension,
    country: Dimension,
    gender: Dimension,
    platform: Dimension,
}

impl Bitmaps {
    fn fitting(&self, query: &Query, now: Timestamp) -> RoaringBitmap {
        let ended = self.ads.partition_point(|ad| ad.spec.end_at <= now) as u32;
        let filters = [
            query.age.value().map(|age| self.age.fitting(usize::from(age))),
            query.country.value().map(|country| self.country.fitting(country.place())),
            query.gender.value().map(|gender| self.gender.fitting(gender.place())),
            query.platform.value().map(|platform| self.platform.fitting(platform.place())),
        ];
        let mut filters = filters.into_iter().flatten();
        let mut fitting = match filters.next() {
            Some(first) => first & &self.begun,
            None => self.begun.clone(),
        };
        filters.for_each(|filter| fitting &= filter);
        fitting.remove_range(..ended);
        fitting
    }

    fn visit(&self, query: &Query, now: Timestamp, give: impl FnMut(u32)) -> u64 {
        let fitting = self.fitting(query, now);
        if let Some(first) = fitting.select(query.offset) {
            let mut page = fitting.iter();
            page.advance_to(first);
            page.take(query.limit as usize).for_each(give);
        }
        fitting.len()
    }
}

impl Search for Bitmaps {
    fn search(&self, query: &Query, now: Timestamp) -> u64 {
        self.visit(query, now, |number| _ = black_box(number))
    }
}

impl Candidate for Bitmaps {
    const NAME: &'static str = "roaring";
    const CHANGES: bool = false;
    type Item = Arc<Ad>;

    fn prepare(ad: &Arc<Ad>) -> Arc<Ad> {
        Arc::clone(ad)
    }

    fn build(mut ads: Vec<Arc<Ad>>, now: Timestamp) -> Self {
        ads.sort_unstable_by_key(|ad| (ad.spec.end_at, ad.id));
        let mut bitmaps = Self {
            ads: Vec::new(),
            begun: RoaringBitmap::new(),
            age: Dimension::new(101),
            country: Dimension::new(Country::COUNT),
            gender: Dimension::new(Gender::ALL.len()),
            platform: Dimension::new(Platform::ALL.len()),
        };
        for (number, ad) in (0_u32..).zip(&ads) {
            let targeting = &ad.spec.targeting;
            if ad.spec.start_at <= now {
                bitmaps.begun.try_push(number).unwrap();
            }
            let ages = targeting.age.into_iter().flat_map(|age| age.start..=age.end);
            bitmaps.age.push(number, ages.map(usize::from));
            bitmaps.country.push(number, targeting.country.iter().map(Country::place));
            bitmaps.gender.push(number, targeting.gender.iter().map(Gender::place));
            bitmaps.platform.push(number, targeting.platform.iter().map(Platform::place));
        }
        ads.shrink_to_fit();
        Self { ads, ..bitmaps }
    }

    fn answer(&self, query: &Query, now: Timestamp) -> (Vec<Uuid>, u64) {
        let mut ids = Vec::new();
        let total = self.visit(query, now, |number| ids.push(self.ads[number as usize].id));
        (ids, total)
    }

    fn insert(&mut self, _: &Arc<Ad>) {
        unreachable!("roaring takes no single changes");
    }

    fn remove(&mut self, _: &Arc<Ad>) {
        unreachable!("roaring takes no single changes");
    }

    fn shared(&self) -> Option<&(dyn Search + Sync)> {
        Some(self)
    }
}
