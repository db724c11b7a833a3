//! What the core needs from the outside, as traits: a journal and a stream. Adapters are in the storage
//! crate; every adapter passes the same contract suite.

use std::error::Error;
use std::future::Future;
use std::sync::Arc;

use placard_model::entry::{Chain, Position, Record};
use placard_model::{EncodedAd, Timestamp, Version};
use tokio::sync::mpsc;

use crate::{Batch, Plan};

/// The reason behind a failure of an adapter.
pub type Cause = Box<dyn Error + Send + Sync>;

/// The port could not be used; nothing is known to be wrong with what it holds.
#[derive(Debug, thiserror::Error)]
#[error("cannot {0}")]
pub struct Unavailable(pub &'static str, #[source] pub Cause);

/// Why a batch has no plan.
#[derive(Debug, thiserror::Error)]
pub enum CommitError {
    /// Nothing of the batch was committed, and it is worth trying again.
    #[error("batch not committed")]
    NotCommitted(#[source] Cause),
    /// The batch may or may not have been committed: it is to be repeated as it is.
    #[error("outcome of the commit unknown")]
    Unknown(#[source] Cause),
    /// Nothing was committed, and nothing would be at another try: some request in it is to blame.
    #[error("batch refused by the database")]
    Refused(#[source] Cause),
}

/// What the head poll learns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head {
    /// The journal's newest version, its chain and digest.
    pub position: Position,
    /// The log's chain at the version that was asked for; `None` if the log does not hold it.
    pub chain_at: Option<Chain>,
    /// The journal's clock.
    pub now: Timestamp,
}

/// The durable log and the current ads, in one transactional database.
pub trait Journal: Clone + Send + Sync + 'static {
    /// Runs one transaction: takes the head's lock, reads what the batch touches, has it decided by
    /// [`Batch::plan`], writes the plan down, and commits. Is not called again before it has returned.
    fn commit(&self, batch: Arc<Batch>) -> impl Future<Output = Result<Plan, CommitError>> + Send;

    /// Reads the head, and the log's chain at version `at`.
    fn head(&self, at: Version) -> impl Future<Output = Result<Head, Unavailable>> + Send;

    /// Reads at most `max` records after version `after`, in order and without holes.
    fn log(
        &self,
        after: Version,
        max: usize,
    ) -> impl Future<Output = Result<Vec<Record>, Unavailable>> + Send;

    /// Sends all ads at one position, in chunks, and returns the position.
    fn snapshot(
        &self,
        chunks: mpsc::Sender<Vec<EncodedAd>>,
    ) -> impl Future<Output = Result<Position, Unavailable>> + Send;
}

/// What became of an append.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Appended {
    /// The stream has the records, whoever appended them.
    Done,
    /// The stream ends before the first record's predecessor: what follows `top` is missing.
    Behind {
        /// The stream's newest version.
        top: Version,
    },
    /// The stream holds another history.
    Fork,
}

/// The ordered fan-out of records to replicas. It may forget anything at any time.
pub trait Stream: Clone + Send + Sync + 'static {
    /// Appends consecutive records if they follow what the stream holds; an empty stream accepts any.
    fn append(
        &self,
        records: Arc<[Record]>,
    ) -> impl Future<Output = Result<Appended, Unavailable>> + Send;

    /// Reads at most `max` records after version `after`; if there are none yet, waits for some, at most a
    /// second, and then returns none. The first may be later than `after + 1`, if the stream has forgotten.
    fn read(
        &self,
        after: Version,
        max: usize,
    ) -> impl Future<Output = Result<Vec<Record>, Unavailable>> + Send;
}
