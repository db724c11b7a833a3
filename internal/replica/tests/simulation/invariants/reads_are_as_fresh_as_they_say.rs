//! No replica answers reads from a state that is older than the answer says.

use placard_replica::core::Verdict;

use crate::world::{LEASE, Replica, World};

pub(crate) fn check(world: &World, replica: &Replica, verdict: Verdict) {
    let age = match verdict {
        Verdict::Current => Some(LEASE),
        Verdict::Old(lag) => lag.age,
        Verdict::Refused(_) | Verdict::NoState => None,
    };
    let Some(age) = age else { return };
    let published = replica.published.version;
    if published >= world.journal.head.version {
        return;
    }
    let head = world.head_at(world.now.saturating_sub(replica.clock.in_world(age)));
    assert!(published >= head, "{published} is older than {age:?}, when it was {head}");
}
