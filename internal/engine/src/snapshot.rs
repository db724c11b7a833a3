//! Snapshots: all ads at one position, taken while the engine goes on. The cost for the writer to begin one does not
//! grow with the number of ads: they are collected later, elsewhere, and before the writer changes an ad it saves the
//! old one (copy on write).

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use placard_model::Encoded;
use placard_model::capacity::Books;
use placard_model::entry::Position;
use uuid::Uuid;

use crate::StoredAd;
use crate::by_id::ById;

/// The ads that have changed since, as they were at the snapshot's position; `None` for one that did not exist then.
type Before = Mutex<HashMap<Uuid, Option<Arc<StoredAd>>>>;

/// All ads at a position.
#[derive(Debug)]
pub struct Snapshot {
    position: Position,
    ads: Arc<ById>,
    books: Books,
    before: Arc<Before>,
}

impl Snapshot {
    /// Returns the position that the ads are from.
    pub fn position(&self) -> Position {
        self.position
    }

    /// The ads and records, in no order. Takes time that grows with their number. Readers go on; the writer waits for a
    /// shard of the map while that is being read.
    pub fn collect(self) -> Vec<Encoded> {
        // If an ad has changed before it is read here, the old one was saved before that. The vector has room for all
        // from the start: the writer waits for a shard that is being read.
        let count = self.ads.len();
        let mut there = Vec::with_capacity(count + count / 8);
        there.extend(self.ads.iter().map(|ad| (ad.id, ad.encoded.clone())));
        let before = std::mem::take(&mut *lock(&self.before));
        let unchanged = there.into_iter().filter(|(id, _)| !before.contains_key(id));
        let mut all: Vec<_> = unchanged.map(|(_, ad)| Encoded::from(ad)).collect();
        all.extend(before.into_values().flatten().map(|ad| Encoded::from(ad.encoded.clone())));
        all.extend(self.books.encoded().map(Encoded::from));
        all
    }
}

/// The snapshots that are under way, on the writer's side.
#[derive(Debug, Default)]
pub(crate) struct UnderWay {
    before: Vec<Weak<Before>>,
}

impl UnderWay {
    /// Begins a snapshot. It leaves out ads that were deleted and are still in the map.
    pub(crate) fn begin<'d>(
        &mut self,
        position: Position,
        (ads, books): (&Arc<ById>, &Books),
        deleted: impl IntoIterator<Item = &'d Uuid>,
    ) -> Snapshot {
        let before = deleted.into_iter().map(|id| (*id, None)).collect();
        let before = Arc::new(Mutex::new(before));
        self.before.push(Arc::downgrade(&before));
        Snapshot { position, ads: Arc::clone(ads), books: books.clone(), before }
    }

    /// Saves the old ad before it is changed.
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
