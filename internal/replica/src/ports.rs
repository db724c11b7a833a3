//! The ports of the core, as traits: a journal, a stream, and a place for checkpoints. Adapters are in the storage
//! crate, and each passes the contract suite of its port, in the testkit.

use std::error::Error;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use placard_model::entry::{Chain, Incarnation, Position, Record};
use placard_model::{Encoded, Timestamp, Version};
use tokio::sync::mpsc;
use uuid::Uuid;

use crate::decision::{Batch, Emptied, Plan};
use crate::runtime::Uptime;

/// The reason behind a failure of an adapter.
pub type BoxError = Box<dyn Error + Send + Sync>;

/// The port could not be used; nothing is known to be wrong with what it holds.
#[derive(Debug, thiserror::Error)]
#[error("cannot {0}")]
pub struct Unavailable(pub &'static str, #[source] pub BoxError);

/// The reason why a head poll has no head.
#[derive(Debug, thiserror::Error)]
pub enum PollError {
    /// The journal could not be asked.
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
    /// The database was asked, and has no journal: its tables are missing.
    #[error("the database has no journal: its tables are missing")]
    NoJournal,
}

/// The reason why a batch has no plan.
#[derive(Debug, thiserror::Error)]
pub enum CommitError {
    /// Nothing of the batch was committed, and it is worth trying again.
    #[error("batch not committed")]
    NotCommitted(#[source] BoxError),
    /// The batch may or may not have been committed: it is to be repeated as it is.
    #[error("outcome of the commit unknown")]
    Unknown(#[source] BoxError),
    /// Nothing was committed, and nothing would be at another try: some request in it is to blame.
    #[error("batch refused by the database")]
    Refused(#[source] BoxError),
}

/// It is worth trying again: the journal may be restored.
impl From<Emptied> for CommitError {
    fn from(emptied: Emptied) -> Self {
        Self::NotCommitted(emptied.into())
    }
}

/// The identity of a replica, which lasts for as long as it runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// Random at each start.
    pub replica: Uuid,
    /// Where clients reach it, as `host:port`.
    pub address: String,
    /// The build's version.
    pub build: String,
    /// The newest format level that it can read.
    pub format_level: u8,
    /// How long after the end of its lease it refuses reads; `None` if it goes on answering them.
    pub refuses_after: Option<Duration>,
    /// Whether its build leaves a mark when it takes its row off the register ([`Journal::leave`]). If it does, a row
    /// that is gone without a mark was lost, and the replica may still run.
    pub marks_leaving: bool,
}

/// The state of a replica that has found the journal empty and has what it held: it answers from that.
pub const EMPTIED: &str = "empty journal";

/// The status that a replica reports at a moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReplicaStatus {
    /// What it is doing, in one word.
    pub state: String,
    /// What its readers see.
    pub published: Position,
    /// By how many microseconds its clock was ahead of the journal's.
    pub clock_ahead: i64,
    /// Whether it tails the journal because the stream fails.
    pub tails_journal: bool,
}

/// A head poll: the replica registers itself, or renews its row, for the lease.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Heartbeat {
    /// Who.
    pub identity: Identity,
    /// The replica's status.
    pub status: ReplicaStatus,
    /// For how long the row counts as that of a live replica.
    pub lease: Duration,
    /// The replicas that this one knows: the answer names those of them that have left.
    pub known: Vec<Uuid>,
    /// Rows that have not changed since this moment of the journal's clock, which is so long that they are deleted if
    /// they still have not.
    pub forgotten: Vec<(Uuid, Timestamp)>,
}

/// A row of the register.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// Who.
    pub identity: Identity,
    /// The replica's status at its last poll.
    pub status: ReplicaStatus,
    /// When that was, by the journal's clock.
    pub seen_at: Timestamp,
    /// Until when its lease lasts, by the journal's clock.
    pub lease_until: Timestamp,
}

/// The answer to a head poll, all of one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head {
    /// The journal's newest version, its chain and digest.
    pub position: Position,
    /// The log's chain at the version that was asked for; `None` if the log does not hold it.
    pub chain_at: Option<Chain>,
    /// The journal's clock.
    pub now: Timestamp,
    /// When the journal was asked what its clock says, and when it had answered. What came before, such as a connection
    /// that had to be made, does not count.
    pub asked: Uptime,
    /// See `asked`.
    pub answered: Uptime,
    /// The register, by replica.
    pub members: Vec<Member>,
    /// Those of [`Heartbeat::known`] that have taken themselves off it.
    pub left: Vec<Uuid>,
    /// Which journal it is, and on which run of which server.
    pub incarnation: Incarnation,
    /// The format level that reading what the journal holds needs; it is only ever raised.
    pub level: u8,
}

/// Whether a journal has what it needs to run a commit, as far as it knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Commits {
    /// It has what it needs, or nothing says otherwise.
    Able,
    /// It has not had what it needs since it was opened.
    NotYet,
    /// It had what it needs once, and cannot get it back.
    NoLonger,
}

/// The durable log and the current ads, in one transactional database.
pub trait Journal: Clone + Send + Sync + 'static {
    /// Commits one batch: reads what it touches, has it decided by [`Batch::plan`], and writes the plan down. The
    /// effect is that of one transaction that holds the head's lock. An empty journal that the batch refuses
    /// ([`Batch::refuses_empty`]) is refused in the transaction that writes, whatever was known of the journal before.
    /// A journal whose level this build cannot read is not written to; a level below [`Plan::level`] is raised to that.
    /// The caller waits for the result before it commits the next batch.
    fn commit(&self, batch: Arc<Batch>) -> impl Future<Output = Result<Plan, CommitError>> + Send;

    /// Registers the replica, and reads the head, the register, and the log's chain at version `at`. In a journal that
    /// replicas share, what one has published counts only if the journal knows it: after a restore to an older state it may
    /// be of the lost history. [`PollError::NoJournal`] is only for a database that has answered, and has no tables.
    fn poll(
        &self,
        heartbeat: Heartbeat,
        at: Version,
    ) -> impl Future<Output = Result<Head, PollError>> + Send;

    /// Takes a replica off the register, for good: no poll brings it back, however late it arrives. It leaves a mark for
    /// a day, so that the others know.
    fn leave(&self, replica: Uuid) -> impl Future<Output = Result<(), Unavailable>> + Send;

    /// Reads at most `max` records after version `after`, in order and without holes, and at most
    /// [`READ_BYTES_MAX`](placard_model::limits::READ_BYTES_MAX) bytes of them, but at least one record if there is
    /// one. The first may be later than `after + 1`, if the log was trimmed.
    fn log(
        &self,
        after: Version,
        max: usize,
    ) -> impl Future<Output = Result<Vec<Record>, Unavailable>> + Send;

    /// Sends all ads and records at one position, in chunks, and returns the position.
    fn snapshot(
        &self,
        chunks: mpsc::Sender<Vec<Encoded>>,
    ) -> impl Future<Output = Result<Position, Unavailable>> + Send;

    /// Runs housekeeping that is not the journal's, unless another replica is at that chore. Returns whether it was
    /// run.
    fn exclusively(
        &self,
        work: impl Future<Output = ()> + Send,
    ) -> impl Future<Output = Result<bool, Unavailable>> + Send;

    /// Binds all work except head polls to this journal, on this run of its server: other work fails from now on. Before
    /// the first call any journal is used.
    fn follow(&self, _: Incarnation) {}

    /// Returns whether a commit could be run now.
    fn commits(&self) -> Commits {
        Commits::Able
    }
}

/// A journal at one moment, for a caller that recomputes its chain and its digest. Meanwhile the database keeps what has
/// been replaced since.
pub trait Audit: Send {
    /// Returns the head.
    fn head(&self) -> Position;

    /// Returns the position behind which the log begins: the next record's version is one more, and its chain follows this
    /// one.
    fn base(&self) -> Position;

    /// Reads at most `max` records after version `after`. If it fails, the audit is over.
    fn log(
        &mut self,
        after: Version,
        max: usize,
    ) -> impl Future<Output = Result<Vec<Record>, Unavailable>> + Send;

    /// Sends all ads and records, in chunks. If it fails, the audit is over.
    fn contents(
        &mut self,
        chunks: mpsc::Sender<Vec<Encoded>>,
    ) -> impl Future<Output = Result<(), Unavailable>> + Send;

    /// Ends the audit, once all of these were sent.
    fn end(self) -> impl Future<Output = ()> + Send;
}

/// The result of an append.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Appended {
    /// The stream has the records, no matter which replica appended them.
    Done,
    /// The stream ends before the first record's predecessor: what follows `top` is missing.
    Behind {
        /// The stream's newest version.
        top: Version,
    },
    /// The stream holds another history.
    Fork,
}

/// A stream's status.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct StreamStatus {
    /// The newest version it ever held, and its chain; `None` if it is empty and knows of none.
    pub top: Option<(Version, Chain)>,
    /// How many records it holds.
    pub entries: u64,
}

/// The ordered fan-out of records to replicas. It may forget anything at any time.
pub trait Stream: Clone + Send + Sync + 'static {
    /// Returns a handle to the stream of this journal. Each journal has its own stream; a handle that belongs to no
    /// stream can do nothing else.
    #[must_use]
    fn of(&self, journal: Incarnation) -> Self;

    /// Appends consecutive records if they follow what the stream holds; an empty stream accepts any.
    fn append(
        &self,
        records: Arc<[Record]>,
    ) -> impl Future<Output = Result<Appended, Unavailable>> + Send;

    /// Reads at most `max` records after version `after`, and at most
    /// [`READ_BYTES_MAX`](placard_model::limits::READ_BYTES_MAX) bytes of them, but at least one record if there is
    /// one. If no record is there yet, waits for some, at most a second, and then returns an empty list. The first may
    /// be later than `after + 1`, if the stream has forgotten some.
    fn read(
        &self,
        after: Version,
        max: usize,
    ) -> impl Future<Output = Result<Vec<Record>, Unavailable>> + Send;

    /// Reads its top and its length.
    fn status(&self) -> impl Future<Output = Result<StreamStatus, Unavailable>> + Send;

    /// Forgets everything, the top included, if the top is still this one.
    fn reset(
        &self,
        top: Version,
        chain: Chain,
    ) -> impl Future<Output = Result<(), Unavailable>> + Send;

    /// Forgets the records before version `keep`, and the oldest beyond `max`, but not the top. The journal's newest version
    /// is `head`, or was a moment ago.
    fn trim(
        &self,
        keep: Version,
        max: usize,
        head: Version,
    ) -> impl Future<Output = Result<(), Unavailable>> + Send;
}

/// The store of a replica's checkpoint: its own ads and records at one position, for a quick restart.
pub trait Checkpoints: Clone + Send + Sync + 'static {
    /// Sends the ads and records of the newest checkpoint, in chunks, and returns their position; `None` if there is no
    /// checkpoint, or none that is whole.
    fn load(
        &self,
        chunks: mpsc::Sender<Vec<Encoded>>,
    ) -> impl Future<Output = Result<Option<Position>, Unavailable>> + Send;

    /// Replaces the checkpoint, in one step. `collect` takes all of them together, which takes a core for up to a second per
    /// million; it is to be called on a thread for which no task waits.
    fn save(
        &self,
        position: Position,
        collect: impl FnOnce() -> Vec<Encoded> + Send + 'static,
    ) -> impl Future<Output = Result<(), Unavailable>> + Send;
}

/// No checkpoints, for a replica whose journal is as near as a checkpoint would be.
#[derive(Debug, Clone, Copy)]
pub struct NoCheckpoints;

impl Checkpoints for NoCheckpoints {
    async fn load(&self, _: mpsc::Sender<Vec<Encoded>>) -> Result<Option<Position>, Unavailable> {
        Ok(None)
    }

    async fn save(
        &self,
        _: Position,
        _: impl FnOnce() -> Vec<Encoded> + Send + 'static,
    ) -> Result<(), Unavailable> {
        Ok(())
    }
}
