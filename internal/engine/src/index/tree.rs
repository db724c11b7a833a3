//! The index of the ads whose time has come, and of those that wait for theirs: one value that the writer
//! changes and publishes clones of. A clone shares all that has not changed since.
//!
//! A tree has a time. Up to it, ads that have ended are gone and ads that have begun are indexed, except those that the
//! writer had no time for yet. A reader skips the ended ones at the head and merges the begun ones in, so an answer is
//! right whenever the writer last advanced.

use std::sync::Arc;

use imbl::OrdMap;
use placard_model::Timestamp;
use rayon::prelude::*;
use uuid::Uuid;

use super::coordinates::{Coordinates, Place};
use super::counts::Counts;
use super::dimension::{Item, Key, Schema};
use super::group::{GROUP_CHUNKS, Group, Located};
use super::row::CHUNK_ADS;

/// How full chunks and groups are built, in eighths: room for what comes later.
const BUILT_FULL: usize = 7;
/// Fewer changes than these are worked in one by one: to share them out among the cores would cost more.
const PARALLEL_MIN: usize = 512;

/// The tree.
#[derive(Debug)]
pub(super) struct Tree<S: Schema> {
    groups: Vec<Arc<Group<S>>>,
    totals: Counts<S, u32>,
    /// Ads that begin after `time`, or have begun and are not indexed yet, by start.
    future: OrdMap<(Timestamp, Uuid), Arc<S::Ad>>,
    /// The earliest start in `future`: most readers are before it and need not look there at all, which would be a
    /// sixth of a query.
    begins: Timestamp,
    time: Timestamp,
    /// Ads in the groups.
    len: usize,
}

impl<S: Schema> Clone for Tree<S> {
    fn clone(&self) -> Self {
        Self {
            groups: self.groups.clone(),
            totals: self.totals.clone(),
            future: self.future.clone(),
            begins: self.begins,
            time: self.time,
            len: self.len,
        }
    }
}

impl<S: Schema> Default for Tree<S> {
    fn default() -> Self {
        Self {
            groups: Vec::new(),
            totals: Counts::new(),
            future: OrdMap::new(),
            begins: Timestamp::MAX,
            // Before all ads: each waits in `future` until the first advance, wherever now is.
            time: Timestamp::MIN,
            len: 0,
        }
    }
}

impl<S: Schema> Tree<S> {
    /// A tree of these ads at a time, built at once.
    pub(super) fn build(ads: Vec<Arc<S::Ad>>, time: Timestamp) -> Self {
        let mut tree = Self { time, ..Self::default() };
        let (mut begun, mut waiting) = (Vec::with_capacity(ads.len()), Vec::new());
        for ad in ads {
            if ad.start_at() > time {
                waiting.push(((ad.start_at(), ad.key().1), ad));
            } else if ad.key().0 > time {
                // With their keys, which to fetch again for each comparison would take most of the time.
                begun.push((ad.key(), ad));
            }
        }
        let sort = || begun.par_sort_unstable_by_key(|(key, _)| *key);
        ((), tree.future) = rayon::join(sort, || waiting.into_iter().collect());
        tree.begins = tree.first_start();
        tree.len = begun.len();
        let chunk = CHUNK_ADS * BUILT_FULL / 8;
        let group = chunk * (GROUP_CHUNKS * BUILT_FULL / 8);
        let mut begun = begun.into_iter().map(|(_, ad)| ad);
        let mut groups = Vec::with_capacity(tree.len.div_ceil(group));
        while begun.len() > 0 {
            groups.push(begun.by_ref().take(group).collect::<Vec<_>>());
        }
        let groups = groups.into_par_iter().with_max_len(1);
        tree.groups = groups.map(|ads| Arc::new(Group::build(ads, chunk))).collect();
        for group in &tree.groups {
            tree.totals.merge(group.counts());
        }
        tree
    }

    /// Drops ads and adds ads, both in result order; first what goes, because what comes may have the same place.
    pub(super) fn change(&mut self, old: &[Arc<S::Ad>], new: &[Arc<S::Ad>]) {
        if old.len() + new.len() < PARALLEL_MIN || self.groups.is_empty() {
            old.iter().for_each(|ad| self.remove(ad));
            new.iter().for_each(|ad| self.insert(ad));
            return;
        }
        let mut old = old.to_vec();
        old.retain(|ad| self.future.remove(&(ad.start_at(), ad.key().1)).is_none());
        let (waiting, mut new): (Vec<_>, Vec<_>) =
            new.iter().cloned().partition(|ad| ad.start_at() > self.time);
        self.future.extend(waiting.into_iter().map(|ad| ((ad.start_at(), ad.key().1), ad)));
        self.begins = self.first_start();
        new.retain(|ad| ad.key().0 > self.time);
        self.change_groups(&located::<S>(&old), &located::<S>(&new));
    }

    /// Changes each group on whichever core is free.
    fn change_groups(&mut self, old: &[Located<S>], new: &[Located<S>]) {
        let (mut old_left, mut new_left) = (old, new);
        let mut parts = Vec::with_capacity(self.groups.len());
        let groups = std::mem::take(&mut self.groups);
        let count = groups.len();
        for (nth, group) in groups.into_iter().enumerate() {
            let (mut old, mut new) = (old_left, new_left);
            if nth + 1 < count {
                // Most groups of a large tree are looked at, so their last ads are not searched for.
                let last = group.last();
                let upto = |ads: &[Located<S>]| ads.partition_point(|(ad, _)| ad.key() <= last);
                (old, old_left) = old_left.split_at(upto(old_left));
                (new, new_left) = new_left.split_at(upto(new_left));
            }
            parts.push((group, old, new));
        }
        let changed = || {
            let parts = parts.into_par_iter().with_max_len(1);
            parts.map(|(group, old, new)| Group::change(group, old, new)).collect::<Vec<_>>()
        };
        let counts =
            |ads: &[Located<S>]| Counts::<S, u32>::build(ads.iter().map(|(_, found)| found));
        let (changed, (gone, come)) =
            rayon::join(changed, || rayon::join(|| counts(old), || counts(new)));
        self.totals.merge(&come);
        self.totals.reduce(&gone);
        let mut gone = old.len();
        for changed in changed {
            // They had ended, and were dropped before.
            for found in changed.missing {
                self.totals.add(&found);
                gone -= 1;
            }
            self.groups.extend(changed.groups);
        }
        self.len = self.len + new.len() - gone;
        let mut at = 0;
        while at < self.groups.len() {
            let before = self.groups.len();
            self.tidy(at);
            // A joined group may be joined again.
            at = if self.groups.len() < before { at.saturating_sub(1) } else { at + 1 };
        }
    }

    /// Adds an ad that is not in the tree.
    pub(super) fn insert(&mut self, ad: &Arc<S::Ad>) {
        if ad.start_at() > self.time {
            self.begins = self.begins.min(ad.start_at());
            self.future.insert((ad.start_at(), ad.key().1), Arc::clone(ad));
        } else if ad.key().0 > self.time {
            self.index(ad);
        }
    }

    fn index(&mut self, ad: &Arc<S::Ad>) {
        let coordinates = Coordinates::of::<S>(ad);
        self.totals.add(&coordinates);
        self.len += 1;
        if self.groups.is_empty() {
            let group = Group::build(vec![Arc::clone(ad)], CHUNK_ADS);
            self.groups.push(Arc::new(group));
            return;
        }
        let at = self.group_of(ad.key()).min(self.groups.len() - 1);
        if let Some(second) = Arc::make_mut(&mut self.groups[at]).insert(ad, &coordinates) {
            self.groups.insert(at + 1, Arc::new(second));
        }
    }

    /// Drops an ad, wherever it is; it may be gone already, because it has ended.
    pub(super) fn remove(&mut self, ad: &S::Ad) {
        if self.future.remove(&(ad.start_at(), ad.key().1)).is_some() {
            return;
        }
        let at = self.group_of(ad.key());
        let Some(group) = self.groups.get_mut(at) else { return };
        let coordinates = Coordinates::of::<S>(ad);
        if !Arc::make_mut(group).remove(ad.key(), &coordinates) {
            return;
        }
        self.totals.subtract(&coordinates);
        self.len -= 1;
        self.tidy(at);
    }

    /// Drops an empty group, and joins a small one with its neighbour.
    fn tidy(&mut self, at: usize) {
        if self.groups[at].is_empty() {
            self.groups.remove(at);
            return;
        }
        for first in [at.checked_sub(1), Some(at)].into_iter().flatten() {
            if let Some([one, next]) = self.groups.get(first..first + 2)
                && one.joins(next)
            {
                let next = self.groups.remove(first + 1);
                Arc::make_mut(&mut self.groups[first]).append(&next);
                return;
            }
        }
    }

    /// Moves the tree to a later time: what has ended goes, what has begun is indexed, at most about `most` of each, so
    /// that no writer is held up. Calls `passed` with each ad that has begun or has gone, and when that was due.
    /// Returns true if anything changed.
    pub(super) fn advance(
        &mut self,
        now: Timestamp,
        most: usize,
        mut passed: impl FnMut(Timestamp, &Arc<S::Ad>),
    ) -> bool {
        if !self.is_behind(now) || now < self.time {
            return false;
        }
        let due = self.future.iter().take_while(|((start, _), _)| *start <= now).take(most + 1);
        let mut begun: Vec<_> = due.map(|(key, ad)| (*key, Arc::clone(ad))).collect();
        // Only up to the last start that is indexed. Ads that begin at the same instant may be left: they stay in
        // `future`, where readers find them.
        let time = if begun.len() > most {
            begun.truncate(most);
            begun.last().map_or(self.time, |((start, _), _)| *start).max(self.time)
        } else {
            now
        };
        let ended = self.drop_ended(time, most, |ad| passed(ad.key().0, ad));
        self.time = time;
        let changed = ended || !begun.is_empty();
        let mut new = Vec::with_capacity(begun.len());
        for (key, ad) in begun {
            self.future.remove(&key);
            passed(key.0, &ad);
            if ad.key().0 > time {
                new.push(ad);
            } else {
                passed(ad.key().0, &ad);
            }
        }
        self.begins = self.first_start();
        new.sort_unstable_by_key(|ad| ad.key());
        self.change(&[], &new);
        changed
    }

    /// Returns true if ads have begun by `now` that are not indexed yet, or may have.
    pub(super) fn is_behind(&self, now: Timestamp) -> bool {
        self.time < now || self.begins <= now
    }

    /// Returns the time from which on the index is right.
    pub(super) fn time(&self) -> Timestamp {
        self.time
    }

    /// Moves the tree back to an earlier time, which is needed only after a clock was set back. `find` looks for the
    /// ads that begin or end in between.
    pub(super) fn rewind(
        &mut self,
        now: Timestamp,
        find: impl FnOnce(&(dyn Fn(&S::Ad) -> bool + Sync)) -> Vec<Arc<S::Ad>>,
    ) {
        let time = std::mem::replace(&mut self.time, now);
        let between = |moment: Timestamp| now < moment && moment <= time;
        let mut moved =
            find(&|ad| ad.start_at() <= time && (between(ad.start_at()) || between(ad.key().0)));
        moved.sort_unstable_by_key(|ad| ad.key());
        // Some are in the groups, and some of those that have ended are not any more: each is put where it belongs now.
        self.change(&moved, &moved);
    }

    fn first_start(&self) -> Timestamp {
        self.future.get_min().map_or(Timestamp::MAX, |((start, _), _)| *start)
    }

    fn drop_ended(
        &mut self,
        time: Timestamp,
        most: usize,
        mut dropped: impl FnMut(&Arc<S::Ad>),
    ) -> bool {
        let before = self.len;
        let (totals, len) = (&mut self.totals, &mut self.len);
        while let Some(first) = self.groups.first_mut()
            && first.chunks()[0].first_after(time) > 0
            && before - *len < most
        {
            let more = Arc::make_mut(first).drop_ended(time, |ad| {
                totals.subtract(&Coordinates::of::<S>(ad));
                *len -= 1;
                dropped(ad);
            });
            if first.is_empty() {
                self.groups.remove(0);
            }
            if !more {
                break;
            }
        }
        before > self.len
    }

    fn group_of(&self, key: Key) -> usize {
        // The ends alone decide, but for the groups whose last ads end at the very same instant.
        self.groups.partition_point(|group| {
            group.last_end() < key.0 || group.last_end() == key.0 && group.last() < key
        })
    }

    /// Calls `give` with the ads of the query's page that fit at `now`, in order. Returns how many fit on all pages.
    pub(super) fn search<'a>(
        &'a self,
        query: &S::Query,
        now: Timestamp,
        mut give: impl FnMut(&'a Arc<S::Ad>),
    ) -> u64 {
        // A reader that read the clock before this tree was published uses the tree's time.
        let now = now.max(self.time);
        let place = Place::of::<S>(query);
        let (offset, limit) = S::page(query);
        let begun = if self.begins > now { Vec::new() } else { self.begun(query, now) };
        if begun.is_empty() {
            return self.indexed(&place, now, offset, limit, &mut give);
        }
        // Of the indexed ads, those that can be on the page whichever way the begun ones fall among them.
        let from = offset.saturating_sub(begun.len() as u64);
        let mut indexed = Vec::new();
        let most = limit + (offset - from);
        let total = self.indexed(&place, now, from, most, &mut |ad| indexed.push(ad));
        let passed = match indexed.first() {
            Some(first) => begun.partition_point(|ad| from > 0 && ad.key() < first.key()),
            None if from > 0 => begun.len(),
            None => 0,
        };
        let mut rank = from + passed as u64;
        let (mut one, mut other) =
            (indexed.into_iter().peekable(), begun[passed..].iter().copied());
        let mut next = other.next();
        while rank < offset + limit {
            let ad = match (one.peek(), next) {
                (Some(ad), Some(begun)) if begun.key() < ad.key() => {
                    next = other.next();
                    begun
                }
                (None, Some(begun)) => {
                    next = other.next();
                    begun
                }
                (Some(_), _) => one.next().expect("it was just seen"),
                (None, None) => break,
            };
            if rank >= offset {
                give(ad);
            }
            rank += 1;
        }
        total + begun.len() as u64
    }

    /// Returns the ads that fit, have begun and are not indexed, and have not ended, in result order.
    fn begun(&self, query: &S::Query, now: Timestamp) -> Vec<&Arc<S::Ad>> {
        let served = |ad: &&Arc<S::Ad>| ad.key().0 > now && S::fits(ad, query);
        let due = self.future.iter().take_while(|((start, _), _)| *start <= now);
        let mut begun: Vec<_> = due.map(|(_, ad)| ad).filter(served).collect();
        begun.sort_unstable_by_key(|ad| ad.key());
        begun
    }

    /// As [`Tree::search`], of the indexed ads alone.
    fn indexed<'a>(
        &'a self,
        place: &Place,
        now: Timestamp,
        offset: u64,
        limit: u64,
        give: &mut impl FnMut(&'a Arc<S::Ad>),
    ) -> u64 {
        let group = self.groups.partition_point(|group| group.last_end() <= now);
        let Some(first) = self.groups.get(group) else { return 0 };
        let chunk = first.first_after(now);
        let from = first.chunks()[chunk].first_after(now);
        let total = self.total(place, group, chunk, from);
        let mut wanted = limit.min(total.saturating_sub(offset));
        let mut skip = offset;
        for (nth, group) in self.groups[group..].iter().enumerate() {
            if wanted == 0 {
                break;
            }
            if nth > 0 && place.is_counted() {
                let fitting = group.count(place);
                if fitting <= skip {
                    skip -= fitting;
                    continue;
                }
            }
            let head = nth == 0;
            for (at, chunk) in group.chunks().iter().enumerate().skip(if head { chunk } else { 0 })
            {
                let mut row = chunk.fitting(place);
                if head && from > 0 && at == first.first_after(now) {
                    row.keep_from(from);
                }
                if skip > 0 {
                    let fitting = row.count();
                    if fitting <= skip {
                        skip -= fitting;
                        continue;
                    }
                }
                row.each(|at| {
                    if skip > 0 {
                        skip -= 1;
                    } else {
                        give(chunk.ad(at));
                        wanted -= 1;
                    }
                    wanted == 0
                });
                if wanted == 0 {
                    break;
                }
            }
        }
        total
    }

    /// Counts the indexed ads that fit from a position on: all of them less those before it, or, if the counts do not
    /// know the filters, chunk by chunk.
    fn total(&self, place: &Place, group: usize, chunk: usize, from: usize) -> u64 {
        let first = &self.groups[group];
        let mut head = first.chunks()[chunk].fitting(place);
        if place.is_counted() {
            let groups: u64 = self.groups[..group].iter().map(|group| group.count(place)).sum();
            let chunks = first.chunks()[..chunk].iter().map(|chunk| chunk.fitting(place).count());
            let ended = if from == 0 && group == 0 && chunk == 0 {
                0
            } else {
                let all = head.count();
                head.keep_from(from);
                groups + chunks.sum::<u64>() + all - head.count()
            };
            return self.totals.count(place) - ended;
        }
        head.keep_from(from);
        let rest = first.chunks()[chunk + 1..].iter();
        let later = self.groups[group + 1..].iter().flat_map(|group| group.chunks());
        head.count() + rest.chain(later).map(|chunk| chunk.fitting(place).count()).sum::<u64>()
    }

    /// Ads that are indexed, and ads that wait for their start.
    pub(super) fn len(&self) -> (usize, usize) {
        (self.len, self.future.len())
    }

    /// Bytes that the index takes, without the ads themselves; those of the ads that wait are estimated.
    pub(super) fn bytes(&self) -> usize {
        let groups: usize = self.groups.iter().map(|group| group.bytes()).sum();
        let waiting = self.future.len() * size_of::<((Timestamp, Uuid), Arc<S::Ad>)>();
        size_of::<Self>() + groups + self.totals.bytes() + waiting
    }
}

/// Ads and where they lie, worked out on all cores.
fn located<S: Schema>(ads: &[Arc<S::Ad>]) -> Vec<Located<S>> {
    let ads = ads.par_iter().with_min_len(PARALLEL_MIN / 4);
    ads.map(|ad| (Arc::clone(ad), Coordinates::of::<S>(ad))).collect()
}
