//! Batches that only create ads, which are written without anything being read first.

use std::time::{Duration, SystemTime};

use placard_model::command::{Command, Outcome, Request};
use placard_model::{Spec, Timestamp};
use placard_testkit::proxy::{Flow, Proxy, Way};
use placard_testkit::requests::{create, keyed, request, spec};
use placard_testkit::wait::until;
use sqlx::{Connection, PgConnection};
use uuid::Uuid;

use crate::{commit, open, server, try_commit};

/// The head that a journal has just written is the head no longer, the ad is there already, or the key has its answer:
/// all of that is noticed, and nothing is lost, doubled or overwritten.
#[tokio::test]
async fn blind_commit_falls_back_to_reading_when_stale() {
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
        let exists = Outcome::Exists { id: Uuid::from_u128(id), version };
        assert_eq!((plan.log.len(), &plan.answers[0].outcomes[0]), (0, &exists));
        let fresh = request(next(), vec![create(next(), "in between")]);
        commit(&other, vec![fresh]).await;
        let repeated = Request { id: Uuid::from_u128(next()), ..first };
        let plan = commit(&other, vec![repeated]).await;
        assert_eq!((plan.log.len(), plan.answers[0].version), (0, version));
        assert!(plan.answers[0].replayed);
    }
    let log = placard_replica::ports::Journal::log(&one, 0, 1_000).await.unwrap();
    assert!(log.iter().map(|record| record.version).eq(1..=200));
}

/// The creation of an ad that has ended by now would be refused if its earlier answer were not found.
#[tokio::test]
async fn repeated_creation_of_ended_ad_is_answered_alike() {
    const LASTS: Duration = Duration::from_millis(500);
    let server = server().await;
    let journal = open(&server.url()).await;
    let end = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap() + LASTS;
    let end_at = Timestamp::from_micros(i64::try_from(end.as_micros()).unwrap()).unwrap();
    let spec = Spec { end_at, ..spec("short") };
    let short = Command::Create { id: Uuid::from_u128(1), spec };
    let first = keyed(request(1, vec![short.clone()]), 1, 1);
    assert_eq!(commit(&journal, vec![first.clone()]).await.log.len(), 1);
    tokio::time::sleep(LASTS + Duration::from_millis(50)).await;
    // So that the next one is written blindly.
    commit(&journal, vec![request(2, vec![create(2, "fresh")])]).await;
    let repeated = Request { id: Uuid::from_u128(3), ..first };
    let without_key = request(4, vec![short]);
    let fresh = request(5, vec![create(5, "fresh")]);
    let plan = commit(&journal, vec![repeated, without_key, fresh]).await;
    assert!(plan.answers[0].replayed && plan.answers[0].version == 1, "{:?}", plan.answers[0]);
    let exists = Outcome::Exists { id: Uuid::from_u128(1), version: 1 };
    assert_eq!((&plan.answers[1].outcomes[0], plan.log.len()), (&exists, 1));
}

/// The statement has looked for the ad before another transaction inserts it, and waits for that transaction.
#[tokio::test]
async fn ad_created_during_the_lock_wait_is_not_doubled() {
    const WAITING: &str = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'";
    let server = server().await;
    let journal = open(&server.url()).await;
    let mut other = PgConnection::connect(&server.url()).await.unwrap();
    let mut watching = PgConnection::connect(&server.url()).await.unwrap();
    for round in 0..10 {
        let (old, new) = (Uuid::from_u128(round * 2 + 1), Uuid::from_u128(round * 2 + 2));
        commit(&journal, vec![request(old.as_u128(), vec![create(old.as_u128(), "old")])]).await;
        let begin = format!(
            "BEGIN; UPDATE head SET writes = writes + 1;
             INSERT INTO ads (id, version, created_at, start_at, end_at, title, encoded)
             SELECT '{new}', version, created_at, start_at, end_at, title, encoded
               FROM ads WHERE id = '{old}'"
        );
        sqlx::raw_sql(sqlx::AssertSqlSafe(begin)).execute(&mut other).await.unwrap();
        let creating = {
            let journal = journal.clone();
            let requests = vec![request(new.as_u128(), vec![create(new.as_u128(), "new")])];
            tokio::spawn(async move { commit(&journal, requests).await })
        };
        until("a commit that waits for the head's lock", async || {
            let waiting = sqlx::query_scalar::<_, i64>(WAITING).fetch_one(&mut watching);
            (waiting.await.unwrap() > 0).then_some(())
        })
        .await;
        sqlx::raw_sql("COMMIT").execute(&mut other).await.unwrap();
        let plan = creating.await.unwrap();
        assert!(matches!(plan.answers[0].outcomes[0], Outcome::Exists { id, .. } if id == new));
        assert_eq!(plan.log.len(), 0);
    }
}

/// Its time was taken before its connection was opened, which may take seconds: an entry was dated back by them.
#[tokio::test]
async fn blind_commit_is_dated_after_connecting() {
    // Whether the log's last row is younger than the connection that has written it.
    const YOUNGER: &str = "
        SELECT bool_and(backend_start < (SELECT at FROM log ORDER BY version DESC LIMIT 1))
          FROM pg_stat_activity WHERE application_name = 'placard' AND query LIKE '%WITH moved%'";
    let server = server().await;
    let mut other = PgConnection::connect(&server.url()).await.unwrap();
    let proxy = Proxy::start(server.port()).await.unwrap();
    let journal = open(&server.url_through(proxy.port())).await;
    let creation = |id| vec![request(id, vec![create(id, "one after the other")])];
    let mut held_up = Box::pin(try_commit(&journal, creation(1), true));
    let mut blind = Box::pin(commit(&journal, creation(3)));
    commit(&journal, creation(2)).await;
    // One has the connection and waits for the lock; behind it another, which knows the head, waits for the connection.
    sqlx::raw_sql("BEGIN; SELECT FROM head FOR UPDATE").execute(&mut other).await.unwrap();
    tokio::select! {
        biased;
        early = &mut held_up => panic!("{early:?}"),
        early = &mut blind => panic!("{early:?}"),
        () = std::future::ready(()) => {}
    }
    // The connection goes with the one that had it, and opening one takes longer than a head is remembered.
    proxy.set(Way::Answers, Flow::Delay(Duration::from_millis(50)));
    drop(held_up);
    sqlx::raw_sql("ROLLBACK").execute(&mut other).await.unwrap();
    assert_eq!(blind.await.log.len(), 1);
    let younger = sqlx::query_scalar::<_, bool>(YOUNGER).fetch_one(&mut other);
    assert!(younger.await.unwrap());
}
