//! What is reserved and allotted is what the holds sum to. What is out is at most the capacity, and never rises while a
//! lowered capacity is below it.

use placard_model::Version;
use placard_model::capacity::Books;
use placard_model::entry::Change;

/// All holds are added up after each version that is a multiple of this.
const AUDITED: Version = 8;

pub(crate) fn check(version: Version, before: &Books, change: &Change, after: &Books) {
    if version.is_multiple_of(AUDITED) {
        assert_eq!(after.audit(), [], "after {change:?}");
    }
    for pool in after.pools() {
        let out_before = before.pool(pool.id).map_or(0, |pool| pool.balance.out());
        let most = pool.spec.capacity.max(out_before);
        assert!(pool.balance.out() <= most, "{change:?} left {pool:?}, and {out_before} were out");
    }
}
