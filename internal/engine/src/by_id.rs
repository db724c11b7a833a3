//! The ads by id: the writer changes them one by one, and readers find them without waiting for the writer.

use std::sync::Arc;

use dashmap::DashMap;
use rayon::prelude::*;
use uuid::Uuid;

use crate::StoredAd;

/// Every ad as it was applied last, and those that were deleted since the last publication.
pub(crate) type ById = DashMap<Uuid, Arc<StoredAd>>;

/// Parts with a lock of their own: enough that a reader and the writer rarely meet in one, and that one of a
/// million ads (about 0.2 MB) fits into a core's cache.
const SHARDS: usize = 256;
/// Fewer ads than these are handed to one core.
const PART_MIN: usize = 1_024;

/// No ads.
pub(crate) fn empty() -> ById {
    DashMap::with_shard_amount(SHARDS)
}

/// Returns a map of all these ads. They are sorted by shard, and then one core fills a shard at a time: entered in
/// another order, nearly each of a million would be a cache miss, since the whole map is larger than any cache.
pub(crate) fn of(ads: &[Arc<StoredAd>]) -> ById {
    let map = DashMap::with_capacity_and_shard_amount(ads.len(), SHARDS);
    let part = ads.len().div_ceil(rayon::current_num_threads()).max(PART_MIN);
    let sorted_out = ads.par_chunks(part).map(|ads| {
        let mut shards = vec![Vec::new(); SHARDS];
        for ad in ads {
            shards[map.determine_map(&ad.id)].push((ad.id, Arc::clone(ad)));
        }
        shards
    });
    let mut shards = vec![Vec::new(); SHARDS];
    for part in sorted_out.collect::<Vec<_>>() {
        for (shard, ads) in shards.iter_mut().zip(part) {
            shard.push(ads);
        }
    }
    shards.into_par_iter().flatten_iter().flatten_iter().for_each(|(id, ad)| {
        map.insert(id, ad);
    });
    map
}

#[cfg(test)]
mod tests {
    use placard_model::generator::Generator;
    use placard_model::{Ad, EncodedAd, Timestamp};

    use super::*;

    #[test]
    fn each_ad_is_there_once_however_many_there_are() {
        let specs = Generator::new(1, Timestamp::EPOCH).zip(1..);
        let ads = specs.take(3 * PART_MIN).map(|(spec, nth)| {
            let id = Uuid::from_u128(nth);
            let ad = Ad { id, version: 1, created_at: Timestamp::EPOCH, spec };
            Arc::new(StoredAd::new(EncodedAd::encode(&ad)).expect("it is an ad"))
        });
        let ads: Vec<_> = ads.collect();
        for count in [0, 1, PART_MIN, 3 * PART_MIN] {
            let map = of(&ads[..count]);
            assert_eq!(map.len(), count);
            for ad in &ads[..count] {
                assert!(map.get(&ad.id).is_some_and(|found| Arc::ptr_eq(&found, ad)));
            }
        }
    }
}
