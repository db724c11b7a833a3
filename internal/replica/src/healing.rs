//! What a replica says in its log when it has found something wrong and mends it: the cause, and the cure.

use crate::core::Counts;

/// Says what has happened between two steps.
pub(crate) fn report(before: &Counts, after: &Counts) {
    let healed = [
        (
            after.stream_gaps - before.stream_gaps,
            "the stream has forgotten entries that were not applied here yet",
            "they are read from the journal",
        ),
        (
            after.stream_rejects - before.stream_rejects,
            "the stream brought an entry that does not follow: forged, corrupt, or of another history",
            "the journal is read instead, and the stream compared with it",
        ),
        (
            after.stream_resets - before.stream_resets,
            "the stream held what the journal does not have",
            "it was made to forget everything, and is filled again",
        ),
        (
            after.relayed - before.relayed,
            "the stream lacked entries of the journal, and nobody appended them",
            "they are brought to it",
        ),
        (
            after.forks - before.forks,
            "the journal tells another history than this replica has applied, as one restored to an older state \
             does",
            "the state is dropped and built from the journal",
        ),
        (
            after.diverged - before.diverged,
            "this replica's ads are not those that the entry's writer had: its digest differs",
            "it answers no reads until its state is built from the journal again",
        ),
        (
            after.poison - before.poison,
            "an entry cannot be decoded",
            "the journal is read instead of the stream; if it is no better there, this replica stays before it and \
             goes on answering: upgrade it if the entry is a newer build's, else see docs/OPERATIONS.md",
        ),
        (
            after.commits_unknown - before.commits_unknown,
            "the connection was lost while a batch was being committed",
            "the same batch is repeated until its outcome is certain",
        ),
        (
            after.lease_ends - before.lease_ends,
            "the journal was not heard of for longer than the lease",
            "it is asked again and again; meanwhile writes wait, and reads say how old they may be, or are refused \
             under --on-stale refuse",
        ),
    ];
    for (times, cause, cure) in healed.into_iter().filter(|(times, ..)| *times > 0) {
        tracing::warn!(times, cure, "{cause}");
    }
}
