//! A replica writes for the format level that the journal needs, even if an older build is registered that cannot read it.

use placard_replica::Batch;

use crate::world::Replica;

pub(crate) fn check(replica: &Replica, batch: &Batch) {
    let needed = replica.core.cluster().map_or(0, |cluster| cluster.level).min(replica.level);
    let level = batch.format_level;
    assert!(level >= needed, "a batch is of level {level}, and the journal of {needed}");
}
