//! The counters of the core.

use super::histogram::{COMMIT_ENTRIES_BOUNDS, COMMIT_MICROS_BOUNDS, Histogram};
use super::restores::Restores;

/// How often something happened, since the start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Transactions that came back with a plan.
    pub commits: u64,
    /// Entries that they wrote.
    pub entries: u64,
    /// Entries of each transaction.
    pub commit_entries: Histogram<{ COMMIT_ENTRIES_BOUNDS.len() }>,
    /// How long each took from being handed out to its definite outcome, in microseconds.
    pub commit_micros: Histogram<{ COMMIT_MICROS_BOUNDS.len() }>,
    /// Transactions that certainly wrote nothing, and were tried again.
    pub commits_failed: u64,
    /// Transactions whose outcome was unknown, and that were repeated.
    pub commits_unknown: u64,
    /// Batches that the database refused, and that were halved.
    pub commits_refused: u64,
    /// Entries applied.
    pub applied: u64,
    /// Times that the log was read because the stream did not bring what it should.
    pub heals: u64,
    /// Times that the state was built from the journal's ads.
    pub restores: Restores,
    /// Times that this engine's digest was wrong.
    pub diverged: u64,
    /// Entries that could not be decoded.
    pub poison: u64,
    /// Times that the state was built from a checkpoint.
    pub checkpoints_loaded: u64,
    /// Times that the journal was found to tell another history.
    pub forks: u64,
    /// Times that the stream was found to hold another history, and was made to forget it.
    pub stream_resets: u64,
    /// Times that the stream had forgotten what comes next.
    pub stream_gaps: u64,
    /// Times that the stream brought what does not belong there: forged, corrupt, or of another history.
    pub stream_rejects: u64,
    /// Times that the stream was trimmed, by this replica or, at that moment, by another.
    pub stream_trims: u64,
    /// Times that trimming the stream failed.
    pub stream_trims_failed: u64,
    /// Records that were read from the journal to be brought to the stream, because no other replica had done so.
    pub relayed: u64,
    /// Times that no head poll succeeded for as long as the lease lasts.
    pub lease_ends: u64,
}
