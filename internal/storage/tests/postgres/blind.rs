//! Batches that only create ads, which are written without anything being read first.

use placard_model::command::{Outcome, Request};
use placard_testkit::requests::{create, keyed, request};

use crate::{commit, open, server};

/// What one journal has just written is not the head any more, the ad is there already, the key has its answer:
/// all of that is noticed, and nothing is lost, doubled or written over.
#[tokio::test]
async fn a_batch_that_knows_too_little_reads_after_all() {
    let server = server().await;
    let (one, other) = (open(&server.url()).await, open(&server.url()).await);
    let mut ids = 1..;
    let mut next = || ids.next().unwrap();
    for round in 0..40 {
        // In quick succession, so that each still knows what it has written.
        for journal in [&one, &one, &other] {
            let id = next();
            let plan = commit(journal, vec![request(id, vec![create(id, "new")])]).await;
            assert_eq!(plan.log.len(), 1);
        }
        let (id, key) = (next(), round);
        let first = keyed(request(id, vec![create(id, "first")]), key, 1);
        let version = commit(&other, vec![first.clone()]).await.head.version;
        let again = request(next(), vec![create(id, "again")]);
        let plan = commit(&other, vec![again]).await;
        let exists = Outcome::Exists { id: uuid::Uuid::from_u128(id), version };
        assert_eq!((plan.log.len(), &plan.answers[0].outcomes[0]), (0, &exists));
        let fresh = request(next(), vec![create(next(), "in between")]);
        commit(&other, vec![fresh]).await;
        let repeated = Request { id: uuid::Uuid::from_u128(next()), ..first };
        let plan = commit(&other, vec![repeated]).await;
        assert_eq!((plan.log.len(), plan.answers[0].version), (0, version));
        assert!(plan.answers[0].replayed);
    }
    let log = placard_replica::ports::Journal::log(&one, 0, 1_000).await.unwrap();
    assert!(log.iter().map(|record| record.version).eq(1..=200));
}
