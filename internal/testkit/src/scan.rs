//! The plain scan: the oracle of every answer. It looks at each ad in turn and sorts what fits.

use std::collections::BTreeMap;

use placard_model::{Ad, Query, Status, Timestamp};
use uuid::Uuid;

/// The ads by id, and nothing else.
#[derive(Debug, Clone, Default)]
pub struct Scan {
    ads: BTreeMap<Uuid, Ad>,
}

impl Scan {
    /// The ad is now this one.
    pub fn put(&mut self, ad: Ad) {
        self.ads.insert(ad.id, ad);
    }

    /// Deletes the ad. Returns true if it was there.
    pub fn delete(&mut self, id: Uuid) -> bool {
        self.ads.remove(&id).is_some()
    }

    /// The ad of an id.
    pub fn get(&self, id: Uuid) -> Option<&Ad> {
        self.ads.get(&id)
    }

    /// All ads, by id.
    pub fn ads(&self) -> impl ExactSizeIterator<Item = &Ad> {
        self.ads.values()
    }

    /// The ids of the page and the true total of what fits `query` and is served at `now`.
    pub fn search(&self, query: &Query, now: Timestamp) -> (Vec<Uuid>, u64) {
        let served =
            |ad: &&Ad| ad.spec.status(now) == Status::Active && ad.spec.targeting.fits(query);
        let mut fitting: Vec<_> =
            self.ads.values().filter(served).map(|ad| (ad.spec.end_at, ad.id)).collect();
        fitting.sort_unstable();
        let page = fitting.iter().skip(query.offset as usize).take(query.limit as usize);
        (page.map(|(_, id)| *id).collect(), fitting.len() as u64)
    }
}
