//! Which ads fit a query, in the order of answers. A plain ordered map, walked from the first ad that has
//! not ended: correct at any size, quick at a small one.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};

use dashmap::DashMap;
use placard_model::entry::Position;
use placard_model::{Query, Status, Timestamp};
use uuid::Uuid;

use crate::{Page, StoredAd};

type Key = (Timestamp, Uuid);

/// The writer's side: what has been inserted and removed since the last publication.
#[derive(Debug, Default)]
pub(crate) struct Index {
    ordered: Arc<RwLock<Ordered>>,
    pending: Vec<(Key, Option<Arc<StoredAd>>)>,
}

#[derive(Debug)]
struct Ordered {
    position: Position,
    ads: BTreeMap<Key, Arc<StoredAd>>,
}

impl Default for Ordered {
    fn default() -> Self {
        Self { position: Position::START, ads: BTreeMap::new() }
    }
}

/// The readers' side.
#[derive(Debug)]
pub(crate) struct Root {
    ordered: Arc<RwLock<Ordered>>,
    ads: Arc<DashMap<Uuid, Arc<StoredAd>>>,
}

impl Index {
    /// An index of all these ads, in whatever order.
    pub(crate) fn build(ads: Vec<Arc<StoredAd>>) -> Self {
        let pending = ads.into_iter().map(|ad| (ad.key(), Some(ad))).collect();
        Self { pending, ..Self::default() }
    }

    pub(crate) fn insert(&mut self, ad: &Arc<StoredAd>) {
        self.pending.push((ad.key(), Some(Arc::clone(ad))));
    }

    pub(crate) fn remove(&mut self, ad: &StoredAd) {
        self.pending.push((ad.key(), None));
    }

    pub(crate) fn publish(
        &mut self,
        position: Position,
        ads: &Arc<DashMap<Uuid, Arc<StoredAd>>>,
    ) -> Arc<Root> {
        let mut ordered = self.ordered.write().unwrap_or_else(PoisonError::into_inner);
        for (key, ad) in self.pending.drain(..) {
            match ad {
                Some(ad) => ordered.ads.insert(key, ad),
                None => ordered.ads.remove(&key),
            };
        }
        ordered.position = position;
        Arc::new(Root { ordered: Arc::clone(&self.ordered), ads: Arc::clone(ads) })
    }
}

impl Root {
    pub(crate) fn position(&self) -> Position {
        self.ordered.read().unwrap_or_else(PoisonError::into_inner).position
    }

    pub(crate) fn ads(&self) -> &DashMap<Uuid, Arc<StoredAd>> {
        &self.ads
    }

    pub(crate) fn search(&self, query: &Query, now: Timestamp) -> Page {
        let ordered = self.ordered.read().unwrap_or_else(PoisonError::into_inner);
        let mut total = 0;
        let mut ads = Vec::new();
        let page = u64::from(query.offset)..u64::from(query.offset) + u64::from(query.limit);
        for ad in ordered.ads.range((now, Uuid::nil())..).map(|(_, ad)| ad) {
            if ad.status(now) == Status::Active && ad.targeting.fits(query) {
                if page.contains(&total) {
                    ads.push(Arc::clone(ad));
                }
                total += 1;
            }
        }
        Page { version: ordered.position.version, total, ads }
    }
}
