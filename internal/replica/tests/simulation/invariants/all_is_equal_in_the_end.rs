//! Once all faults are over, every replica is ready, current, at the head, and answers as a scan of the journal does.

use placard_model::Query;
use placard_replica::core::{Phase, Verdict};

use crate::world::{REPLICAS, World};

pub(crate) fn check(world: &World) {
    let scan = world.scan();
    let running: Vec<_> = world.replicas.iter().flatten().collect();
    assert_eq!(running.len(), REPLICAS);
    for replica in running {
        assert_eq!(replica.core.phase(), Phase::Ready);
        assert_eq!(world.verdict(replica), Verdict::Current);
        let reader = replica.core.reader();
        assert_eq!(reader.published(), world.journal.head);
        reader.books(|books| assert!(*books == world.expected.books, "{books:?}"));
        let query = Query { limit: 100, ..Query::default() };
        let page = reader.search(&query, world.journal.now);
        let ids: Vec<_> = page.ads.iter().map(|ad| ad.id).collect();
        assert_eq!((ids, page.total), scan.search(&query, world.journal.now));
    }
}
