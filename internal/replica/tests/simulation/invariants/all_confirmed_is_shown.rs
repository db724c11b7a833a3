//! What a client knows to be on all replicas is in every state from which reads are answered. Only an answer that says
//! that nobody knows how old it is may lack it: that of a replica that serves such answers, was started again, and does
//! not reach the journal.

use placard_replica::core::{Lag, Verdict};

use crate::world::{Replica, World};

pub(crate) fn check(world: &World, replica: &Replica, verdict: Verdict) {
    let Some(confirmed) = world.confirmed else { return };
    let says = !matches!(verdict, Verdict::Old(Lag { age: None, .. }));
    if verdict.answers() && says {
        let published = replica.published;
        let shown = world.has(published, confirmed);
        assert!(
            shown,
            "version {} is shown, and {} is on all replicas",
            published.version, confirmed.0
        );
    }
}
