//! The ads that have begun or ended in the last minute, by time. They have to be put back if the clock is set back by
//! less than that; without this list, all ads would have to be searched.

use std::collections::BTreeMap;
use std::sync::Arc;

use placard_model::Timestamp;
use uuid::Uuid;

use crate::StoredAd;

/// How far back it goes, in microseconds.
const MINUTE: i64 = 60_000_000;

/// The ads that have begun or ended, one entry for each of these moments.
#[derive(Debug)]
pub(super) struct Lately {
    moments: BTreeMap<(Timestamp, Uuid), Arc<StoredAd>>,
    /// All moments after this time are in `moments`.
    since: Timestamp,
}

impl Default for Lately {
    /// Returns one for no ads, which knows every moment.
    fn default() -> Self {
        Self { moments: BTreeMap::new(), since: Timestamp::MIN }
    }
}

impl Lately {
    /// Builds one for these ads, at a time.
    pub(super) fn build(ads: &[Arc<StoredAd>], time: Timestamp) -> Self {
        let mut lately = Self { since: horizon(time), ..Self::default() };
        ads.iter().for_each(|ad| lately.enter(ad, time));
        lately
    }

    /// Takes up an ad that has come, at a time.
    pub(super) fn enter(&mut self, ad: &Arc<StoredAd>, time: Timestamp) {
        for moment in [ad.start_at, ad.end_at] {
            if moment <= time {
                self.passed(moment, ad);
            }
        }
    }

    /// Records that an ad's moment has passed.
    pub(super) fn passed(&mut self, moment: Timestamp, ad: &Arc<StoredAd>) {
        if moment > self.since {
            self.moments.insert((moment, ad.id), Arc::clone(ad));
        }
    }

    /// Drops an ad that is gone.
    pub(super) fn forget(&mut self, ad: &StoredAd) {
        for moment in [ad.start_at, ad.end_at] {
            self.moments.remove(&(moment, ad.id));
        }
    }

    /// Goes on to a time, and drops at most `most` of the entries that are older than a minute.
    pub(super) fn advance(&mut self, time: Timestamp, most: usize) {
        self.since = self.since.max(horizon(time));
        for _ in 0..most {
            match self.moments.first_entry() {
                Some(first) if first.key().0 <= self.since => drop(first.remove()),
                _ => break,
            }
        }
    }

    /// Goes back to a time, and returns the ads that have moments after it, in result order; `None` if it does not know all
    /// of them.
    pub(super) fn rewind(&mut self, time: Timestamp) -> Option<Vec<Arc<StoredAd>>> {
        let after = (time.saturating_add_micros(1), Uuid::nil());
        let mut ads: Vec<_> = self.moments.split_off(&after).into_values().collect();
        let knows_all = self.since <= time;
        self.since = self.since.min(time);
        ads.sort_unstable_by_key(|ad| ad.key());
        ads.dedup_by_key(|ad| ad.id);
        knows_all.then_some(ads)
    }
}

fn horizon(time: Timestamp) -> Timestamp {
    time.saturating_add_micros(-MINUTE)
}
