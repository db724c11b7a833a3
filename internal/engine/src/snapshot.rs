//! All ads at one position, taken while the engine goes on. To begin one costs the writer nothing that grows with the
//! ads: they are collected later, elsewhere, and the writer leaves word of what an ad was before it changes it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use placard_model::EncodedAd;
use placard_model::entry::Position;
use uuid::Uuid;

use crate::StoredAd;
use crate::by_id::ById;

/// What the ads that have changed since were at the snapshot's position; `None` for one that was not there.
type Before = Mutex<HashMap<Uuid, Option<Arc<StoredAd>>>>;

/// All ads at a position.
#[derive(Debug)]
pub struct Snapshot {
    position: Position,
    ads: Arc<ById>,
    before: Arc<Before>,
}

impl Snapshot {
    /// Where the ads are from.
    pub fn position(&self) -> Position {
        self.position
    }

    /// The ads, in no order. Takes time that grows with their number, and keeps neither readers nor the writer from
    /// their work.
    pub fn collect(self) -> Vec<EncodedAd> {
        // Whatever has changed before it was seen here, word of it was left before that.
        // There is room for all from the start: the writer waits for a shard that is being read.
        let count = self.ads.len();
        let mut there = Vec::with_capacity(count + count / 8);
        there.extend(self.ads.iter().map(|ad| (ad.id, ad.encoded.clone())));
        let before = std::mem::take(&mut *lock(&self.before));
        let unchanged = there.into_iter().filter(|(id, _)| !before.contains_key(id));
        let mut ads: Vec<_> = unchanged.map(|(_, ad)| ad).collect();
        ads.extend(before.into_values().flatten().map(|ad| ad.encoded.clone()));
        ads
    }
}

/// The snapshots that are under way, on the writer's side.
#[derive(Debug, Default)]
pub(crate) struct UnderWay {
    before: Vec<Weak<Before>>,
}

impl UnderWay {
    /// Begins one. Of what was deleted and is still among the ads, it has nothing.
    pub(crate) fn begin<'d>(
        &mut self,
        position: Position,
        ads: &Arc<ById>,
        deleted: impl IntoIterator<Item = &'d Uuid>,
    ) -> Snapshot {
        let before = deleted.into_iter().map(|id| (*id, None)).collect();
        let before = Arc::new(Mutex::new(before));
        self.before.push(Arc::downgrade(&before));
        Snapshot { position, ads: Arc::clone(ads), before }
    }

    /// An ad is about to be changed: this is what it was.
    pub(crate) fn changes(&mut self, id: Uuid, old: Option<&Arc<StoredAd>>) {
        self.before.retain(|before| {
            let Some(before) = before.upgrade() else { return false };
            lock(&before).entry(id).or_insert_with(|| old.cloned());
            true
        });
    }
}

fn lock(before: &Before) -> std::sync::MutexGuard<'_, HashMap<Uuid, Option<Arc<StoredAd>>>> {
    before.lock().unwrap_or_else(PoisonError::into_inner)
}
