//! Logs what a replica has found wrong and repairs: the cause, the repair, and the counter that counts it. Reads of the
//! log (`placard_heals_total`) are made for one of these, or because Redis is away; they have no line of their own,
//! since there may be hundreds a second; ports that fail have theirs elsewhere ([`Outage`](crate::Outage)).

use placard_model::Version;

use crate::core::Counts;
use crate::core::restores::RestoreCause;
use crate::counters::Repair;

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
    for counter in Counts::COUNTERS {
        let times = (counter.count)(after) - (counter.count)(before);
        if let (Some(Repair { cause, cure }), 1..) = (&counter.repair, times) {
            tracing::warn!(counter = counter.name, times, cure, "{cause}");
        }
    }
    // A first start counts here too.
    for why in RestoreCause::ALL {
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
