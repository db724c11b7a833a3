//! Chunks that follow each other, with the counts of all their ads: what a deep offset passes over at once.

use std::ops::Range;
use std::sync::Arc;

use placard_model::Timestamp;

use super::chunk::Chunk;
use super::coordinates::{Coordinates, Place};
use super::counts::{Counts, Tally};
use super::dimension::{Item, Key, Schema};
use super::row::CHUNK_ADS;

/// Most chunks in a group. Their ads are counted in a `u16`.
pub(super) const GROUP_CHUNKS: usize = 96;
/// Below this number of chunks a group is joined with a neighbour, if both fit well into one.
const GROUP_CHUNKS_MIN: usize = GROUP_CHUNKS / 4;
/// Below this number of ads a chunk is joined with a neighbour, if both fit well into one.
const CHUNK_ADS_MIN: usize = CHUNK_ADS / 4;
/// How full two that are joined may be, so that they are not split again at once.
const JOINED_MAX: usize = 3;
const JOINED_OF: usize = 4;

const _: () = assert!(GROUP_CHUNKS * CHUNK_ADS <= u16::MAX as usize);

/// An ad and where it lies.
pub(super) type Located<S> = (Arc<<S as Schema>::Ad>, Coordinates);

/// The result of many changes to a group.
pub(super) struct Changed<S: Schema> {
    /// None, one, or what it was split into, in order.
    pub(super) groups: Vec<Arc<Group<S>>>,
    /// The coordinates of ads that should have gone and were not here.
    pub(super) missing: Vec<Coordinates>,
}

/// A group, never empty.
#[derive(Debug)]
pub(super) struct Group<S: Schema> {
    chunks: Vec<Arc<Chunk<S>>>,
    /// When the last ad of each chunk ends. To ask the chunks themselves costs a write seven times a walk
    /// through three allocations that are in no cache: measured as a quarter of an insert.
    ends: Vec<Timestamp>,
    counts: Counts<S, u16>,
}

impl<S: Schema> Clone for Group<S> {
    fn clone(&self) -> Self {
        Self { chunks: self.chunks.clone(), ends: self.ends.clone(), counts: self.counts.clone() }
    }
}

impl<S: Schema> Group<S> {
    /// A group of these ads in result order, cut into chunks of `chunk` ads.
    pub(super) fn build(ads: Vec<Arc<S::Ad>>, chunk: usize) -> Self {
        let (mut chunks, mut tally) = (Vec::new(), Tally::new());
        let mut ads = ads.into_iter();
        while ads.len() > 0 {
            // Each ad is fetched into the caches once, for all work on its chunk.
            let ads = located::<S>(ads.by_ref().take(chunk));
            ads.iter().for_each(|(_, coordinates)| tally.enter(coordinates));
            chunks.push(Arc::new(Chunk::build(ads)));
        }
        Self::of(chunks, tally.sum())
    }

    fn of(chunks: Vec<Arc<Chunk<S>>>, counts: Counts<S, u16>) -> Self {
        let ends = chunks.iter().map(|chunk| chunk.last_end()).collect();
        Self { chunks, ends, counts }
    }

    pub(super) fn chunks(&self) -> &[Arc<Chunk<S>>] {
        &self.chunks
    }

    pub(super) fn counts(&self) -> &Counts<S, u16> {
        &self.counts
    }

    pub(super) fn is_empty(&self) -> bool {
        self.chunks.is_empty()
    }

    pub(super) fn count(&self, place: &Place) -> u64 {
        self.counts.count(place)
    }

    /// The key of the last ad.
    pub(super) fn last(&self) -> Key {
        self.chunks[self.chunks.len() - 1].last()
    }

    /// The end of the last ad.
    pub(super) fn last_end(&self) -> Timestamp {
        self.ends[self.ends.len() - 1]
    }

    /// The first chunk with an ad that ends after `now`.
    pub(super) fn first_after(&self, now: Timestamp) -> usize {
        self.ends.partition_point(|end| *end <= now)
    }

    /// Adds an ad. If that makes the group too large, its second half is returned as another group.
    pub(super) fn insert(&mut self, ad: &Arc<S::Ad>, coordinates: &Coordinates) -> Option<Self> {
        let at = self.chunk_of(ad.key()).min(self.chunks.len() - 1);
        self.counts.add(coordinates);
        let chunk = Arc::make_mut(&mut self.chunks[at]);
        chunk.insert(ad, coordinates);
        self.ends[at] = chunk.last_end();
        if !chunk.is_full() {
            return None;
        }
        let mut first = located::<S>(chunk.ads().cloned());
        let second = first.split_off(first.len() / 2);
        self.replace(at..at + 1, [Chunk::build(first), Chunk::build(second)]);
        (self.chunks.len() == GROUP_CHUNKS).then(|| self.split())
    }

    /// Drops ads and then adds ads, both in result order.
    pub(super) fn change(this: Arc<Self>, old: &[Located<S>], new: &[Located<S>]) -> Changed<S> {
        let mut changed = Changed { groups: Vec::new(), missing: Vec::new() };
        if old.is_empty() && new.is_empty() {
            changed.groups.push(this);
            return changed;
        }
        let mut group = Self::clone(&this);
        for (ad, coordinates) in old {
            if group.is_empty() || !group.remove(ad.key(), coordinates) {
                changed.missing.push(coordinates.clone());
            }
        }
        // What the group's second halves have been split into, the first of them on top.
        let mut later = Vec::new();
        for (ad, coordinates) in new {
            if group.is_empty() {
                group = Self::build(vec![Arc::clone(ad)], CHUNK_ADS);
                continue;
            }
            while !later.is_empty() && group.last() < ad.key() {
                let next = later.pop().expect("it is not empty");
                changed.groups.push(Arc::new(std::mem::replace(&mut group, next)));
            }
            later.extend(group.insert(ad, coordinates));
        }
        if !group.is_empty() {
            changed.groups.push(Arc::new(group));
        }
        changed.groups.extend(later.into_iter().rev().map(Arc::new));
        changed
    }

    /// Puts these chunks where those are.
    fn replace(&mut self, at: Range<usize>, chunks: impl IntoIterator<Item = Chunk<S>>) {
        let chunks: Vec<_> = chunks.into_iter().map(Arc::new).collect();
        self.ends.splice(at.clone(), chunks.iter().map(|chunk| chunk.last_end()));
        self.chunks.splice(at, chunks);
    }

    fn split(&mut self) -> Self {
        let half = self.chunks.len() / 2;
        let chunks = self.chunks.split_off(half);
        self.ends.truncate(half);
        let count = |chunks: &[Arc<Chunk<S>>]| {
            let ads = chunks.iter().flat_map(|chunk| chunk.ads());
            let coordinates: Vec<_> = ads.map(|ad| Coordinates::of::<S>(ad)).collect();
            Counts::build(coordinates.iter())
        };
        self.counts = count(&self.chunks);
        let counts = count(&chunks);
        Self::of(chunks, counts)
    }

    /// Drops the ad of a key, if it is here, and returns true if it was.
    pub(super) fn remove(&mut self, key: Key, coordinates: &Coordinates) -> bool {
        let at = self.chunk_of(key);
        let Some(Ok(found)) = self.chunks.get(at).map(|chunk| chunk.find(key)) else {
            return false;
        };
        self.counts.subtract(coordinates);
        if self.chunks[at].len() == 1 {
            self.replace(at..at + 1, []);
            return true;
        }
        let chunk = Arc::make_mut(&mut self.chunks[at]);
        chunk.remove(found, coordinates);
        self.ends[at] = chunk.last_end();
        if chunk.len() < CHUNK_ADS_MIN {
            self.join(at);
        }
        true
    }

    /// Joins a small chunk with its smaller neighbour.
    fn join(&mut self, at: usize) {
        let len = |at: usize| self.chunks.get(at).map_or(usize::MAX, |chunk| chunk.len());
        let (before, after) = (at.checked_sub(1).map_or(usize::MAX, len), len(at + 1));
        let first = if before < after { at - 1 } else { at };
        if before.min(after).saturating_add(len(at)) > CHUNK_ADS * JOINED_MAX / JOINED_OF {
            return;
        }
        let both = self.chunks[first..first + 2].iter().flat_map(|chunk| chunk.ads());
        let joined = Chunk::build(located::<S>(both.cloned()));
        self.replace(first..first + 2, [joined]);
    }

    /// Returns true if it is small enough to be joined with `next`.
    pub(super) fn joins(&self, next: &Self) -> bool {
        let (one, other) = (self.chunks.len(), next.chunks.len());
        one.min(other) < GROUP_CHUNKS_MIN && one + other <= GROUP_CHUNKS * JOINED_MAX / JOINED_OF
    }

    /// Takes over the chunks of the group that follows.
    pub(super) fn append(&mut self, next: &Self) {
        self.chunks.extend(next.chunks.iter().cloned());
        self.ends.extend(&next.ends);
        self.counts.merge(&next.counts);
    }

    /// Drops the first chunk if all of its ads have ended by `now`, or those of its ads that have. Passes what it drops
    /// to `dropped`, and returns true if there may be more.
    pub(super) fn drop_ended(
        &mut self,
        now: Timestamp,
        mut dropped: impl FnMut(&Arc<S::Ad>),
    ) -> bool {
        let Some(chunk) = self.chunks.first() else { return false };
        let ended = chunk.first_after(now);
        if ended == 0 {
            return false;
        }
        let chunk = Arc::clone(chunk);
        for ad in chunk.ads().take(ended) {
            self.counts.subtract(&Coordinates::of::<S>(ad));
            dropped(ad);
        }
        if ended == chunk.len() {
            self.replace(0..1, []);
            return true;
        }
        let left = located::<S>(chunk.ads().skip(ended).cloned());
        self.replace(0..1, [Chunk::build(left)]);
        false
    }

    fn chunk_of(&self, key: Key) -> usize {
        let first = self.ends.partition_point(|end| *end < key.0);
        let same = self.ends[first..].iter().take_while(|end| **end == key.0);
        let same = &self.chunks[first..first + same.count()];
        first + same.partition_point(|chunk| chunk.last() < key)
    }

    pub(super) fn bytes(&self) -> usize {
        let chunks: usize = self.chunks.iter().map(|chunk| chunk.bytes()).sum();
        let ends = self.ends.capacity() * size_of::<Timestamp>();
        let pointers = self.chunks.capacity() * size_of::<Arc<Chunk<S>>>();
        size_of::<Self>() + chunks + pointers + ends + self.counts.bytes()
    }
}

/// Returns ads with their coordinates. Few of them are in a cache: all are prefetched at once, so that the cache misses
/// overlap.
fn located<S: Schema>(ads: impl Iterator<Item = Arc<S::Ad>>) -> Vec<Located<S>> {
    let ads: Vec<_> = ads.collect();
    ads.iter().for_each(|ad| ad.fetch());
    let located = |ad: Arc<S::Ad>| {
        let coordinates = Coordinates::of::<S>(&ad);
        (ad, coordinates)
    };
    ads.into_iter().map(located).collect()
}
