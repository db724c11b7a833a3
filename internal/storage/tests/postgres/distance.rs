//! A replica that is far from PostgreSQL, beside one that is near and writes all the time.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use placard_model::Spec;
use placard_model::command::Command;
use placard_replica::ports::CommitError;
use placard_storage::postgres::PostgresJournal;
use placard_testkit::proxy::{Flow, Proxy, Way};
use placard_testkit::requests::{create, replace, request, spec};
use placard_testkit::wait::until;
use uuid::Uuid;

use crate::{commit, commit_at_last, is_whole, open, server, try_commit};

/// The distance that is meant to work, there and back.
const FAR: Duration = Duration::from_millis(400);

/// Replaces an ad of its own repeatedly, and counts how often.
async fn writes(journal: PostgresJournal, nth: u128, count: Arc<AtomicU64>, done: Arc<AtomicBool>) {
    for round in 1.. {
        if done.load(Ordering::Acquire) {
            break;
        }
        let ours = request((nth << 64) + round, vec![replace(nth, "once more")]);
        commit_at_last(&journal, vec![ours]).await;
        count.fetch_add(1, Ordering::AcqRel);
    }
}

/// Without the lock, the far replica's decision came too late whenever the near one had written. Under the lock, it
/// lost the lock before its next statement came.
#[tokio::test]
async fn a_far_replica_commits_while_a_near_one_writes() {
    let server = server().await;
    let proxy = Proxy::start(server.port()).await.unwrap();
    for way in [Way::Requests, Way::Answers] {
        proxy.set(way, Flow::Delay(FAR / 2));
    }
    let near = open(&server.url()).await;
    commit(&near, vec![request(1, vec![create(1, "near"), create(2, "far")])]).await;
    let far = open(&server.url_through(proxy.port())).await;
    let (count, done) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
    let writing = tokio::spawn(writes(near.clone(), 1, Arc::clone(&count), Arc::clone(&done)));
    for round in 1..=3 {
        let before = count.load(Ordering::Acquire);
        let ours = request((2 << 64) + round, vec![replace(2, "from afar")]);
        let committed = commit_at_last(&far, vec![ours]);
        let plan = tokio::time::timeout(Duration::from_secs(60), committed).await;
        assert_eq!(plan.expect("a commit from afar").log.len(), 1);
        assert!(count.load(Ordering::Acquire) > before, "the near one has written meanwhile");
    }
    done.store(true, Ordering::Release);
    writing.await.unwrap();
    assert_eq!(is_whole(&near).await.version, 2 + 3 + count.load(Ordering::Acquire));
}

/// Sends a message so slowly that the server gives up waiting before it has arrived, at each try. The batch may have
/// been committed, so its replica tries nothing else.
async fn slowly(rate: u32, ads: u128, content: &str) {
    let server = server().await;
    let proxy = Proxy::start(server.port()).await.unwrap();
    let journal = open(&server.url_through(proxy.port())).await;
    proxy.set(Way::Requests, Flow::Slow(rate));
    let create = |id| {
        let spec = Spec { content: content.to_owned(), ..spec("one of many") };
        Command::Create { id: Uuid::from_u128(id), spec }
    };
    let mut lost = 0;
    let version = until("the batch to get through", async || {
        let batch = vec![request(1, (1..=ads).map(create).collect())];
        match try_commit(&journal, batch, true).await {
            Ok(plan) => Some(plan.head.version),
            Err(CommitError::Refused(error)) => panic!("{error:?}"),
            Err(_) => {
                lost += 1;
                None
            }
        }
    })
    .await;
    assert_eq!(u128::from(version), ads);
    assert!(lost > 0, "the way is not slow enough to lose the lock on");
    proxy.set(Way::Requests, Flow::Pass);
    assert_eq!(u128::from(is_whole(&journal).await.version), ads);
}

#[tokio::test]
async fn a_batch_gets_through_however_slow_the_way() {
    slowly(100 << 10, 60, &"x".repeat(1_000)).await;
}

#[tokio::test]
async fn a_large_batch_gets_through_however_slow_the_way() {
    slowly(2 << 20, 150, &"\u{1f600}".repeat(10_000)).await;
}
