//! The ports of the scheduler, as traits: what it reads of a journal, the journal's chores, and a store of tasks. The
//! journals that implement the first two are in the storage crate, the stores in the tasks crate. Every adapter passes
//! the contract suite of its port, in the testkit.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use placard_model::records::EncodedRecord;
use placard_model::{Timestamp, Version};
use uuid::Uuid;

pub use placard_replica::ports::{BoxError, Unavailable};

/// What has ended and is still there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Expired {
    /// The journal's clock when it was read.
    pub now: Timestamp,
    /// Each ad and the version at which it ended, those that ended first first.
    pub ads: Vec<(Uuid, Version)>,
    /// The reservations that have lapsed, in the same way.
    pub reservations: Vec<(Uuid, Version)>,
    /// The tombstones that need not be kept any more, in the same way.
    pub tombstones: Vec<(Uuid, Version)>,
}

impl Expired {
    /// Ads that have ended, and nothing else.
    pub fn of_ads(now: Timestamp, ads: Vec<(Uuid, Version)>) -> Self {
        Self { now, ads, reservations: Vec::new(), tombstones: Vec::new() }
    }

    /// Adds a record that is due, unless it is damaged: then it stays, and keeps nothing else from going.
    pub fn push(&mut self, record: &EncodedRecord) {
        let hold = record.hold().map(|hold| (hold.id, hold.version));
        let tombstone = record.tombstone().map(|tombstone| (tombstone.id, tombstone.version));
        self.reservations.extend(hold);
        self.tombstones.extend(tombstone);
    }

    /// Returns all that it has: the ads, then the reservations, then the tombstones.
    pub fn items(&self) -> impl Iterator<Item = (Uuid, Version)> {
        self.ads.iter().chain(&self.reservations).chain(&self.tombstones).copied()
    }
}

/// What expiry needs of a journal: what has ended, and when more will.
pub trait Expirations: Clone + Send + Sync + 'static {
    /// Reads what is past its end by the journal's clock, and that clock: at most `max` items, ads before reservations before
    /// tombstones. Below [`CAPACITY_LEVEL`](placard_model::entry::CAPACITY_LEVEL) a journal has only ads, and its records
    /// are not asked for.
    fn expired(&self, max: usize) -> impl Future<Output = Result<Expired, Unavailable>> + Send;

    /// Reads the seconds to come in which ads end or reservations lapse, as seconds since the Unix epoch, in order: each is
    /// the first whole second at or after an end. At most `max`, and none further ahead than `ahead`. The sweep is soon
    /// enough for tombstones: nobody waits for their end.
    fn upcoming(
        &self,
        ahead: Duration,
        max: usize,
    ) -> impl Future<Output = Result<Vec<u64>, Unavailable>> + Send;
}

/// Deletes what a journal need not keep for ever. Only one replica at a time does a chore; the others take it for done.
pub trait Chores: Clone + Send + Sync + 'static {
    /// Drops log rows that are older than `keep` (an hour at least). Returns how many.
    fn trim_log(&self, keep: Duration) -> impl Future<Output = Result<u64, Unavailable>> + Send;

    /// Drops answers whose idempotency keys have run out
    /// ([`IDEMPOTENCY_KEPT`](placard_model::limits::IDEMPOTENCY_KEPT)). Returns how many.
    fn forget_answers(&self) -> impl Future<Output = Result<u64, Unavailable>> + Send;

    /// Drops tasks that were done, or given up, longer ago than `keep`, where tasks are kept beside the journal.
    /// Returns how many.
    fn forget_tasks(&self, keep: Duration)
    -> impl Future<Output = Result<u64, Unavailable>> + Send;
}

/// The work that a task calls.
pub trait Expire: Send + Sync {
    /// Runs the task of a second that has come.
    fn due(&self) -> Pin<Box<dyn Future<Output = ()> + Send + '_>>;
}

/// A store of tasks: one for each second in which ads end or reservations lapse, shared by the replicas of a cluster. Tasks are hints. They may
/// be lost, done twice, or done by another replica; the sweep and the version conditions make up for it.
pub trait TaskStore: Clone + Send + Sync + 'static {
    /// Makes the store ready for use, which is done before anything else is asked of it. It may be done again, and by
    /// other replicas at the same time.
    fn open(&self) -> impl Future<Output = Result<(), BoxError>> + Send;

    /// Ensures that there is a task for a second, counted since the Unix epoch. Returns whether it was added just now.
    fn push(&self, second: u64) -> impl Future<Output = Result<bool, BoxError>> + Send;

    /// Takes tasks whose second has come, and does them, until something fails. No worker that lives has the name
    /// `worker`.
    fn work(
        &self,
        worker: String,
        expire: Arc<dyn Expire>,
    ) -> impl Future<Output = Result<(), BoxError>> + Send;

    /// Drops tasks that are done, unless that is one of the journal's chores ([`Chores::forget_tasks`]). Returns how
    /// many.
    fn forget_done(&self) -> impl Future<Output = Result<u64, BoxError>> + Send;
}
