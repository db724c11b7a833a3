//! Logs what a replica has found wrong and repairs: the cause, the repair, and the counter that counts it. Reads of the
//! log (`placard_heals_total`) are made for one of these, or because Redis is away; they have no line of their own,
//! since there may be hundreds a second; ports that fail have theirs elsewhere ([`Outage`](crate::Outage)).

use placard_model::Version;

use crate::core::Counts;
use crate::core::restores::Cause;

/// Says that the journal is empty although a replica has what it held, or not any more.
pub(crate) fn report_emptied(is_emptied: bool, version: Version) {
    if is_emptied {
        tracing::error!(
            version,
            "the journal is empty, and was not before: this replica answers from what it has, and nothing is written. \
             Restore the journal; or if it is to be a new one, start a replica with --new-journal"
        );
    } else {
        tracing::info!(version, "over: the journal is empty, and was not before");
    }
}

/// Says what has happened between two steps.
pub(crate) fn report(before: &Counts, after: &Counts) {
    let healed = [
        (
            "placard_stream_gaps_total",
            after.stream_gaps - before.stream_gaps,
            "the stream has forgotten entries that were not applied here yet",
            "they are read from the journal",
        ),
        (
            "placard_stream_rejects_total",
            after.stream_rejects - before.stream_rejects,
            "the stream brought an entry that does not follow: forged, corrupt, or of another history",
            "the journal is read instead, and the stream compared with it",
        ),
        (
            "placard_stream_resets_total",
            after.stream_resets - before.stream_resets,
            "the stream held what the journal does not have",
            "it was made to forget everything, and is filled again",
        ),
        (
            "placard_relayed_total",
            after.relayed - before.relayed,
            "the stream lacked entries of the journal, and nobody appended them",
            "they are brought to it",
        ),
        (
            "placard_forks_total",
            after.forks - before.forks,
            "the journal tells another history than this replica has applied, as one restored to an older state \
             does",
            "the state is dropped and built from the journal",
        ),
        (
            "placard_diverged_total",
            after.diverged - before.diverged,
            "this replica's ads are not those that the entry's writer had: its digest differs",
            "it answers no reads until its state is built from the journal again",
        ),
        (
            "placard_poison_total",
            after.poison - before.poison,
            "an entry cannot be decoded",
            "the journal is read instead of the stream; if it is no better there, this replica stays before it and \
             goes on answering: upgrade it if the entry is a newer build's, else see docs/OPERATIONS.md",
        ),
        (
            "placard_lease_ends_total",
            after.lease_ends - before.lease_ends,
            "the journal was not heard of for longer than the lease",
            "it is asked again and again; meanwhile writes wait, and reads say how old they may be, or are refused \
             under --on-stale refuse",
        ),
    ];
    for (counter, times, cause, cure) in healed.into_iter().filter(|(_, times, ..)| *times > 0) {
        tracing::warn!(counter, times, cure, "{cause}");
    }
    // A first start counts here too.
    for why in Cause::ALL {
        let times = after.restores.of(why) - before.restores.of(why);
        if times > 0 {
            let (counter, cure) = ("placard_restores_total", "it was built from the journal's ads");
            let cause = why.code();
            tracing::info!(counter, times, cause, cure, "there was no state that could be kept");
        }
    }
    let times = after.checkpoints_loaded - before.checkpoints_loaded;
    if times > 0 {
        let counter = "placard_checkpoints_loaded_total";
        let cure = "it was built from the checkpoint; what came since is read from the journal";
        tracing::info!(counter, times, cure, "there was no state yet");
    }
}
