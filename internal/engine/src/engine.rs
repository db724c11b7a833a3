//! The writer's side: applies records in the log's order, checks that they belong to this history, and publishes the
//! resulting state.

use std::collections::HashSet;
use std::sync::Arc;

use placard_model::capacity::Books;
use placard_model::entry::{Change, Digest, Entry, Position, Record};
use placard_model::{Encoded, Timestamp, Undecodable, Version};
use rayon::prelude::*;
use uuid::Uuid;

use crate::by_id::{self, ById};
use crate::index::{Index, Root};
use crate::snapshot::UnderWay;
use crate::{Reader, Snapshot, StoredAd};

/// The state machine. One owner applies and publishes; [`Reader`]s are handed out freely.
#[derive(Debug)]
pub struct Engine {
    applied: Position,
    ads: Arc<ById>,
    /// Deleted, but not yet taken out of `ads`: a reader by id must not miss an ad that the published version still
    /// has.
    deleted: HashSet<Uuid>,
    books: Books,
    index: Index,
    reader: Reader,
    snapshots: UnderWay,
}

/// An engine that another has replaced. To drop it takes time that grows with the number of its ads.
#[derive(Debug)]
pub struct Replaced {
    engine: Engine,
    /// The root that was published last.
    root: Arc<Root>,
}

impl Replaced {
    /// Drops it, if no reader still holds it; otherwise gives it back, to be tried again.
    ///
    /// # Errors
    /// A reader still holds it, and would have to drop it.
    pub fn free(self: Box<Self>) -> Result<(), Box<Self>> {
        let idle = Arc::strong_count(&self.root) == 1 && self.engine.index.is_unread();
        if idle { Ok(()) } else { Err(self) }
    }
}

/// Why a record was not applied. The state is as it was before.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The record is older than the state.
    #[error("entry {found} is not newer than the applied {applied}")]
    Old {
        /// The record's version.
        found: Version,
        /// The engine's.
        applied: Version,
    },
    /// Records in between are missing.
    #[error("entry {found} does not follow the applied {applied}")]
    Gap {
        /// The record's version.
        found: Version,
        /// The engine's.
        applied: Version,
    },
    /// The record's chain is not the one that follows: it belongs to another history, or was tampered with.
    #[error("the chain of entry {0} does not follow the applied one")]
    Fork(Version),
    /// The record cannot be read.
    #[error("entry {0} cannot be decoded")]
    Poison(Version, #[source] Undecodable),
    /// Applying the record would leave ads with another digest than its writer had: this engine is wrong.
    #[error("the digest after entry {0} is not the one it carries")]
    Diverged(Version),
}

/// Fewer records than these are read one by one: to hand them to other cores would cost more.
const PARALLEL_MIN: usize = 128;
/// Records that one core reads at once.
const PARALLEL_PART: usize = 32;

/// A record, read and found applicable to some state.
struct Prepared {
    digest: Digest,
    change: Prepare,
}

enum Prepare {
    Put(StoredAd),
    Delete(Uuid),
    /// Of pools and holds.
    Capacity(Change),
}

/// Reads a record as [`Engine::apply`] would, so that a writer never commits what no replica can apply.
///
/// # Errors
/// The record cannot be applied by any engine of this build.
pub fn dry_run(record: &Record) -> Result<(), Refusal> {
    prepare(record).map(drop)
}

fn prepare(record: &Record) -> Result<Prepared, Refusal> {
    let poison = |error| Refusal::Poison(record.version, error);
    let entry = Entry::decode(&record.bytes).map_err(poison)?;
    let change = match entry.change {
        Change::Put(encoded) => {
            let ad = StoredAd::new(encoded).map_err(poison)?;
            if ad.version != record.version {
                return Err(poison(Undecodable::Field("version")));
            }
            Prepare::Put(ad)
        }
        Change::Delete(id) => Prepare::Delete(id),
        change @ (Change::PutPool(_) | Change::DeletePool(_) | Change::Move(_)) => {
            if states_another_version(&change, record.version) {
                return Err(poison(Undecodable::Field("version")));
            }
            Prepare::Capacity(change)
        }
    };
    Ok(Prepared { digest: entry.digest, change })
}

/// Returns true if a record in a change is said to be of another version than its entry.
fn states_another_version(change: &Change, version: Version) -> bool {
    match change {
        Change::PutPool(pool) => pool.version != version,
        Change::Move(moves) => moves.given.iter().any(|hold| hold.version != version),
        _ => false,
    }
}

impl Engine {
    /// An engine before the first entry.
    pub fn new() -> Self {
        let (books, index) = Default::default();
        Self::over(Position::START, Arc::new(by_id::empty()), books, index)
    }

    fn over(applied: Position, ads: Arc<ById>, books: Books, mut index: Index) -> Self {
        let reader = Reader::new(index.root(applied, (&ads, &books)));
        let (deleted, snapshots) = (HashSet::new(), UnderWay::default());
        Self { applied, ads, deleted, books, index, reader, snapshots }
    }

    /// Returns the position of the last entry that it has applied.
    pub fn applied(&self) -> Position {
        self.applied
    }

    /// A handle for reads; it stays good when the engine is replaced.
    pub fn reader(&self) -> Reader {
        self.reader.clone()
    }

    /// Applies the next record. Readers see it at the next [`Engine::publish`].
    ///
    /// # Errors
    /// The record does not belong here; nothing has changed.
    pub fn apply(&mut self, record: &Record) -> Result<(), Refusal> {
        self.expects(record)?;
        let prepared = prepare(record)?;
        self.enter(record, prepared)
    }

    /// Applies those of the records that are new, in order. Many are read on all cores, since most of the work
    /// of an entry (decoding, serialising, hashing) does not depend on the entries before it.
    ///
    /// # Errors
    /// The first record that does not belong here; those before it have been applied.
    pub fn apply_all(&mut self, records: &[Record]) -> Result<(), Refusal> {
        let known = records.partition_point(|record| record.version <= self.applied.version);
        let new = &records[known..];
        if new.len() < PARALLEL_MIN {
            return new.iter().try_for_each(|record| self.apply(record));
        }
        let prepared: Vec<_> = new.par_iter().with_min_len(PARALLEL_PART).map(prepare).collect();
        new.iter().zip(prepared).try_for_each(|(record, prepared)| {
            self.expects(record)?;
            self.enter(record, prepared?)
        })
    }

    /// Returns an error unless the record is the one that follows.
    fn expects(&self, record: &Record) -> Result<(), Refusal> {
        let (found, applied) = (record.version, self.applied.version);
        if found <= applied {
            return Err(Refusal::Old { found, applied });
        }
        if found != applied + 1 {
            return Err(Refusal::Gap { found, applied });
        }
        if self.applied.chain.next(found, &record.bytes) != record.chain {
            return Err(Refusal::Fork(found));
        }
        Ok(())
    }

    /// Applies the change of a record that follows, if it leads to the digest that the record carries.
    fn enter(&mut self, record: &Record, prepared: Prepared) -> Result<(), Refusal> {
        let Prepared { digest, change } = prepared;
        let found = record.version;
        let id = match &change {
            Prepare::Put(ad) => ad.id,
            Prepare::Delete(id) => *id,
            Prepare::Capacity(change) => {
                let mut books = self.books.clone();
                let (minus, plus) = books.enter(change, found);
                if self.applied.digest.minus(minus).plus(plus) != digest {
                    return Err(Refusal::Diverged(found));
                }
                self.books = books;
                self.applied = Position { version: found, chain: record.chain, digest };
                return Ok(());
            }
        };
        let gone = self.deleted.contains(&id);
        let old = if gone { None } else { self.ads.get(&id).map(|ad| Arc::clone(&ad)) };
        let mut sum = self.applied.digest;
        if let Some(old) = &old {
            sum = sum.minus(old.digest);
        }
        if let Prepare::Put(new) = &change {
            sum = sum.plus(new.digest);
        }
        if sum != digest {
            return Err(Refusal::Diverged(found));
        }
        self.snapshots.changes(id, old.as_ref());
        // A paused ad is found by its id alone.
        if let Some(old) = old.filter(|old| !old.paused) {
            self.index.remove(&old);
        }
        match change {
            Prepare::Put(new) => {
                let new = Arc::new(new);
                if !new.paused {
                    self.index.insert(&new);
                }
                self.deleted.remove(&id);
                self.ads.insert(id, new);
            }
            Prepare::Delete(_) => {
                self.deleted.insert(id);
            }
            Prepare::Capacity(_) => {}
        }
        self.applied = Position { version: found, chain: record.chain, digest };
        Ok(())
    }

    /// Makes everything applied so far visible to readers, at once.
    pub fn publish(&mut self) -> Position {
        let root = self.index.root(self.applied, (&self.ads, &self.books));
        self.index.retire(self.reader.publish(root));
        for id in self.deleted.drain() {
            self.ads.remove(&id);
        }
        self.applied
    }

    /// Lets ads begin and end up to `now`, so that readers need not filter them. Answers are right without it; they are
    /// quicker with it. Returns true if there is something to publish.
    pub fn advance(&mut self, now: Timestamp) -> bool {
        self.index.advance(now)
    }

    /// Returns true if the last advance did not reach `now`: more ads had begun by then than one advance indexes.
    pub fn is_behind(&self, now: Timestamp) -> bool {
        self.index.is_behind(now)
    }

    /// Goes back to `now`, if the engine has advanced beyond it: what has ended since is found again, and what has
    /// begun waits again. Readers' answers need it once their clock was set back. If that is by more than a minute, it
    /// looks at every ad, on all cores. Returns true if there is something to publish.
    pub fn rewind(&mut self, now: Timestamp) -> bool {
        let Self { index, ads, deleted, .. } = self;
        index.rewind(now, |moved| {
            let all = ads.par_iter().filter(|ad| !ad.paused && !deleted.contains(&ad.id));
            all.filter(|ad| moved(ad)).map(|ad| Arc::clone(&ad)).collect()
        })
    }

    /// Returns the pools and holds at the applied position.
    pub fn books(&self) -> &Books {
        &self.books
    }

    /// Begins a snapshot of everything as of the applied position, to be collected elsewhere while the engine goes on.
    pub fn snapshot(&mut self) -> Snapshot {
        self.snapshots.begin(self.applied, (&self.ads, &self.books), &self.deleted)
    }

    /// Replaces the state by `other`, which was built aside: the readers handed out so far read that from now on.
    /// Returns the old state, to be dropped where that may take its time.
    #[must_use = "it is dropped elsewhere"]
    pub fn replace_with(&mut self, other: Self) -> Box<Replaced> {
        let engine = std::mem::replace(self, other);
        // Readers keep to the handles that they have.
        let own = std::mem::replace(&mut self.reader, engine.reader.clone());
        let root = self.reader.publish(self.index.root(self.applied, (&self.ads, &self.books)));
        drop(own);
        Box::new(Replaced { engine, root })
    }
}

impl Default for Engine {
    fn default() -> Self {
        Self::new()
    }
}

/// Builds an engine from a snapshot: all of the ads and records at one position.
#[derive(Debug, Default)]
pub struct Builder {
    ads: Vec<Arc<StoredAd>>,
    books: Books,
    digest: Digest,
}

impl Builder {
    /// Takes ads and records, in any order; the ads are read on all cores.
    ///
    /// # Errors
    /// The bytes of one of them are not what it should be.
    pub fn extend(&mut self, all: Vec<Encoded>) -> Result<(), Undecodable> {
        let mut ads = Vec::with_capacity(all.len());
        for one in all {
            match one {
                Encoded::Ad(ad) => ads.push(ad),
                Encoded::Record(record) => {
                    self.books.put(&record)?;
                    self.digest = self.digest.plus(Digest::of_record(&record));
                }
            }
        }
        let read = ads.into_par_iter().with_min_len(PARALLEL_PART);
        let read: Result<Vec<_>, _> = read.map(|ad| StoredAd::new(ad).map(Arc::new)).collect();
        let mut read = read?;
        self.digest = read.iter().fold(self.digest, |sum, ad| sum.plus(ad.digest));
        self.ads.append(&mut read);
        Ok(())
    }

    /// The engine at `position`, with its index built for `now`.
    ///
    /// # Errors
    /// The ads and records do not sum to the position's digest.
    pub fn finish(self, position: Position, now: Timestamp) -> Result<Engine, Refusal> {
        if self.digest != position.digest {
            return Err(Refusal::Diverged(position.version));
        }
        let ads = Arc::new(by_id::of(&self.ads));
        let mut indexed = self.ads;
        indexed.retain(|ad| !ad.paused);
        Ok(Engine::over(position, ads, self.books, Index::build(indexed, now)))
    }
}
