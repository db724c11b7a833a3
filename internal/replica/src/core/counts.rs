//! The counters of the core.

use super::histogram::{COMMIT_ENTRIES_BOUNDS, COMMIT_MICROS_BOUNDS, Histogram};
use super::restores::RestoreCounts;
use crate::counters::counters;

counters! {
    /// How often something happened, since the start.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
    pub struct Counts {
        /// Transactions that were committed.
        commits = "placard_commits_total";
        /// Entries that they wrote.
        entries = "placard_commit_entries_total";
        /// Transactions that wrote nothing and were tried again.
        commits_failed = "placard_commits_failed_total";
        /// Transactions of unknown outcome that were repeated.
        commits_unknown = "placard_commits_unknown_total";
        /// Transactions that the database refused, and whose batch was halved.
        commits_refused = "placard_commits_refused_total";
        /// Entries applied.
        applied = "placard_applied_total";
        /// Times that the journal was not reached for longer than the lease.
        lease_ends = "placard_lease_ends_total",
            "the journal was not heard of for longer than the lease" =>
            "it is asked again and again; meanwhile writes wait, and reads say how old they may be, or are refused under \
             --on-stale refuse";
        /// Reads of the log because the stream did not bring what it should.
        heals = "placard_heals_total";
        /// Times that the stream had forgotten the next entry.
        stream_gaps = "placard_stream_gaps_total",
            "the stream has forgotten entries that were not applied here yet" => "they are read from the journal";
        /// Times that the stream brought an entry that does not belong there: forged, corrupt, or of another history.
        stream_rejects = "placard_stream_rejects_total",
            "the stream brought an entry that does not follow: forged, corrupt, or of another history" =>
            "the journal is read instead, and the stream compared with it";
        /// Times that a forked stream was cleared.
        stream_resets = "placard_stream_resets_total",
            "the stream held what the journal does not have" => "it was made to forget everything, and is filled again";
        /// Entries read from the journal for a stream that lacked them.
        relayed = "placard_relayed_total",
            "the stream lacked entries of the journal, and nobody appended them" => "they are brought to it";
        /// States built from a checkpoint.
        checkpoints_loaded = "placard_checkpoints_loaded_total";
        /// Times that the journal had another history.
        forks = "placard_forks_total",
            "the journal tells another history than this replica has applied, as one restored to an older state does" =>
            "the state is dropped and built from the journal";
        /// Times that the engine's digest was wrong.
        diverged = "placard_diverged_total",
            "this replica's ads are not those that the entry's writer had: its digest differs" =>
            "it answers no reads until its state is built from the journal again";
        /// Entries that could not be decoded.
        poison = "placard_poison_total",
            "an entry cannot be decoded" =>
            "the journal is read instead of the stream; if it is no better there, this replica stays before it and goes \
             on answering: upgrade it if the entry is a newer build's, else see docs/OPERATIONS.md";
    }
    and {
        /// Entries of each committed transaction.
        commit_entries: Histogram<{ COMMIT_ENTRIES_BOUNDS.len() }>;
        /// How long each took from being handed out to its definite outcome, in microseconds.
        commit_micros: Histogram<{ COMMIT_MICROS_BOUNDS.len() }>;
        /// Times that the state was built from the journal's ads, by cause.
        restores: RestoreCounts;
        /// Times that the stream was trimmed, by this replica or, at that moment, by another.
        stream_trims: u64;
        /// Times that trimming the stream failed.
        stream_trims_failed: u64;
    }
}
