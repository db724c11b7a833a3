//! The index of this crate, driven as the engine drives it: published after every batch.

use std::hint::black_box;
use std::sync::Arc;

use placard_engine::{Alone, StoredAd};
use placard_model::{Ad, EncodedAd, Query, Timestamp};
use uuid::Uuid;

use crate::candidate::{Candidate, Search};

pub(crate) struct Ours(pub(crate) Alone);

pub(crate) const NAME: &str = "ours";

impl Search for Ours {
    fn search(&self, query: &Query, now: Timestamp) -> u64 {
        self.0.reader().visit(query, now, |ad| _ = black_box(ad)).total
    }
}

impl Candidate for Ours {
    const NAME: &'static str = NAME;
    type Item = Arc<StoredAd>;

    fn prepare(ad: &Arc<Ad>) -> Arc<StoredAd> {
        Arc::new(StoredAd::new(EncodedAd::encode(ad)).unwrap())
    }

    fn build(ads: Vec<Arc<StoredAd>>, now: Timestamp) -> Self {
        Self(Alone::build(ads, now))
    }

    fn answer(&self, query: &Query, now: Timestamp) -> (Vec<Uuid>, u64) {
        let page = self.0.reader().search(query, now);
        (page.ads.iter().map(|ad| ad.id).collect(), page.total)
    }

    fn insert(&mut self, ad: &Arc<StoredAd>) {
        self.0.insert(ad);
    }

    fn remove(&mut self, ad: &Arc<StoredAd>) {
        self.0.remove(ad);
    }

    fn commit(&mut self) {
        self.0.publish();
    }

    fn shared(&self) -> Option<&(dyn Search + Sync)> {
        Some(self)
    }
}
