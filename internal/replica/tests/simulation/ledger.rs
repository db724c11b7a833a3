//! What clients and replicas know of used units: the closes that were answered, and those whose outcome nobody knows.

use std::collections::BTreeMap;

use placard_model::Version;
use uuid::Uuid;

#[derive(Debug, Default)]
pub(crate) struct Ledger {
    /// The pool and the units of each close, by hold and version.
    closed: BTreeMap<(Uuid, Version), (Uuid, u64)>,
    in_doubt: Vec<(Uuid, u64)>,
}

impl Ledger {
    pub(crate) fn close(&mut self, of: (Uuid, Version), pool: Uuid, used: u64) {
        self.closed.insert(of, (pool, used));
    }

    pub(crate) fn doubt(&mut self, pool: Uuid, used: u64) {
        self.in_doubt.push((pool, used));
    }

    /// The journal was restored to an older state.
    pub(crate) fn rolled_back(&mut self, to: Version) {
        self.closed.retain(|(_, version), _| *version <= to);
    }

    /// Returns the fewest and the most units of a pool that have been used since a version.
    pub(crate) fn used(&self, pool: Uuid, since: Version) -> (u64, u64) {
        let closed = self.closed.iter().filter(|((_, version), _)| *version > since);
        let closed = closed.map(|(_, closed)| closed).filter(|(of, _)| *of == pool);
        let least: u64 = closed.map(|(_, used)| used).sum();
        let in_doubt = self.in_doubt.iter().filter(|(of, _)| *of == pool);
        (least, least + in_doubt.map(|(_, used)| used).sum::<u64>())
    }
}
