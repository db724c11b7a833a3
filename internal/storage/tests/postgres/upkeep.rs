//! Trimming, forgetting, and reading the journal as a whole.

use std::time::Duration;

use placard_model::entry::{Chain, Position};
use placard_model::limits;
use placard_replica::ports::{Audit, Heartbeat, Journal};
use placard_scheduler::ports::Chores;
use placard_storage::postgres::PostgresJournal;
use placard_testkit::contract;
use placard_testkit::requests::{create, delete, keyed, replace, request};
use tokio::sync::{mpsc, oneshot};

use crate::{collect, commit, digest, follow, open, sendable, server};

const HOUR: Duration = Duration::from_secs(3600);
/// Makes the answer of one key older than a day.
const AGE: &str = "UPDATE idempotency SET at = at - interval '25h'
                    WHERE scope = decode(repeat('07', 32), 'hex')";

/// Reads the journal as `verify` does; returns the base and the number of records.
async fn audit(journal: &PostgresJournal, page: usize) -> (Position, u64) {
    let mut audit = sendable(journal.audit()).await.unwrap();
    // The audit does not see what is committed from here on.
    let id = 1_000_000 + u128::from(audit.head().version);
    commit(journal, vec![request(id, vec![create(id, "not seen")])]).await;
    let (head, base) = (audit.head(), audit.base());
    let mut at = (base.version, base.chain);
    loop {
        let records = sendable(audit.log(at.0, page)).await.unwrap();
        at = follow(&records, at.0, at.1);
        if records.len() < page {
            break;
        }
    }
    assert_eq!(at, (head.version, head.chain));
    let (sender, chunks) = mpsc::channel(1);
    let (sent, ads) = tokio::join!(sendable(audit.contents(sender)), collect(chunks));
    sent.unwrap();
    assert_eq!(digest(&ads), head.digest);
    (base, head.version - base.version)
}

#[tokio::test]
async fn the_log_is_trimmed_behind_a_base() {
    let server = server().await;
    let journal = open(&server.url()).await;
    for id in 1..=10 {
        commit(&journal, vec![request(id, vec![create(id, "first"), replace(1, "again")])]).await;
    }
    assert_eq!(audit(&journal, 7).await, (Position::START, 20));
    assert_eq!(journal.trim_log(HOUR).await.unwrap(), 0);
    let log = journal.log(0, 100).await.unwrap();
    // Two of the old rows stand behind a newer one, as after a step of the clock: they stay.
    server.sql("UPDATE log SET at = at - interval '2h' WHERE version NOT IN (13, 16)").unwrap();
    assert_eq!(journal.trim_log(3 * HOUR).await.unwrap(), 0);
    assert_eq!(journal.trim_log(Duration::ZERO).await.unwrap(), 12);
    assert_eq!(journal.trim_log(HOUR).await.unwrap(), 0);
    assert_eq!(journal.log(0, 100).await.unwrap(), log[12..]);
    let (base, records) = audit(&journal, 3).await;
    assert_eq!((base.version, base.chain, records), (12, log[11].chain, 9));
    // The base's chain is known, and nothing older.
    for (at, chain) in [(11, None), (12, Some(log[11].chain)), (13, Some(log[12].chain))] {
        let head = journal.poll(contract::heartbeat(1, base), at).await.unwrap();
        assert_eq!(head.chain_at, chain);
    }
    // Even the newest row may go.
    server.sql("UPDATE log SET at = at - interval '2h'").unwrap();
    let head = journal.poll(contract::heartbeat(1, base), 0).await.unwrap().position;
    assert_eq!(journal.trim_log(HOUR).await.unwrap(), head.version - 12);
    let polled = journal.poll(contract::heartbeat(1, base), head.version).await.unwrap();
    assert_eq!((polled.position, polled.chain_at), (head, Some(head.chain)));
    assert_eq!(audit(&journal, 100).await, (head, 0));
    let log = journal.log(0, 10).await.unwrap();
    assert_eq!(follow(&log, head.version, head.chain).0, head.version + 1);
    assert_ne!(head.chain, Chain::GENESIS);
}

#[tokio::test]
async fn answers_are_forgotten_after_a_day() {
    let server = server().await;
    let journal = open(&server.url()).await;
    let ask = |id| vec![keyed(request(id, vec![create(id, "only once")]), 7, 1)];
    commit(&journal, ask(1)).await;
    assert!(commit(&journal, ask(2)).await.answers[0].replayed);
    let young = vec![keyed(request(3, vec![delete(99)]), 8, 1)];
    commit(&journal, young.clone()).await;
    server.sql(AGE).unwrap();
    // It is not given any more, whether or not it has gone.
    assert!(!commit(&journal, ask(4)).await.answers[0].replayed);
    assert_eq!(journal.forget_answers().await.unwrap(), 0);
    server.sql(AGE).unwrap();
    assert_eq!(sendable(journal.forget_answers()).await.unwrap(), 1);
    assert_eq!(journal.forget_answers().await.unwrap(), 0);
    assert!(!commit(&journal, ask(5)).await.answers[0].replayed);
    assert!(commit(&journal, young).await.answers[0].replayed);
}

#[tokio::test]
async fn clock_jump_unregisters_no_replica() {
    let server = server().await;
    let journal = open(&server.url()).await;
    for replica in 1..=3 {
        journal.poll(contract::heartbeat(replica, Position::START), 0).await.unwrap();
    }
    // As old as all rows are after a jump by a year.
    let year = "interval '1 year'";
    let ages = format!("seen_at = seen_at - {year}, lease_until = lease_until - {year}");
    server.sql(&format!("UPDATE replicas SET {ages}")).unwrap();
    let head = journal.poll(contract::heartbeat(1, Position::START), 0).await.unwrap();
    let members: Vec<_> = head.members.iter().map(|one| one.identity.replica.as_u128()).collect();
    assert_eq!(members, [1, 2, 3]);
    // A replica that has seen a row unchanged for long enough has it deleted.
    let second = &head.members[1];
    let forgotten = vec![(second.identity.replica, second.seen_at)];
    let forgets = Heartbeat { forgotten, ..contract::heartbeat(1, Position::START) };
    assert_eq!(journal.poll(forgets, 0).await.unwrap().members.len(), 2);
    assert_eq!(server.sql("SELECT count(*) FROM replicas").unwrap(), "2");
}

/// A poll that was sent before the replica left, and arrives at the server afterwards.
#[tokio::test]
async fn late_poll_does_not_register_a_departed_replica() {
    let server = server().await;
    let journal = open(&server.url()).await;
    for replica in [1, 2] {
        journal.poll(contract::heartbeat(replica, Position::START), 0).await.unwrap();
    }
    let second = uuid::Uuid::from_u128(2);
    journal.leave(second).await.unwrap();
    journal.poll(contract::heartbeat(2, Position::START), 0).await.unwrap();
    let asks = Heartbeat { known: vec![second], ..contract::heartbeat(1, Position::START) };
    let head = journal.poll(asks, 0).await.unwrap();
    assert_eq!((head.members.len(), head.left), (1, vec![second]));
    // The mark goes when no replica looks for the row any more.
    server.sql("UPDATE departures SET at = at - interval '25h'").unwrap();
    journal.leave(uuid::Uuid::from_u128(1)).await.unwrap();
    assert_eq!(server.sql("SELECT count(*) FROM departures").unwrap(), "1");
}

/// A poll whose view is older than the mark, or an operator who marks a replica that is gone.
#[tokio::test]
async fn departed_replicas_row_is_deleted_and_not_counted() {
    let server = server().await;
    let journal = open(&server.url()).await;
    for replica in [1, 2] {
        journal.poll(contract::heartbeat(replica, Position::START), 0).await.unwrap();
    }
    let second = uuid::Uuid::from_u128(2);
    server.sql(&format!("INSERT INTO departures VALUES ('{second}', now())")).unwrap();
    let asks = Heartbeat { known: vec![second], ..contract::heartbeat(1, Position::START) };
    let head = journal.poll(asks, 0).await.unwrap();
    assert_eq!((head.members.len(), head.left), (1, vec![second]));
    assert_eq!(server.sql("SELECT count(*) FROM replicas").unwrap(), "1");
}

/// Replicas come and go, and none lives long enough to see a row stand still for an hour.
#[tokio::test]
async fn register_is_bounded_and_keeps_the_last_seen() {
    let server = server().await;
    let journal = open(&server.url()).await;
    journal.poll(contract::heartbeat(1, Position::START), 0).await.unwrap();
    let most = usize::try_from(limits::MEMBERS_MAX).unwrap();
    server
        .sql(&format!(
            "INSERT INTO replicas (replica, address, build, format_level, state, published_version,
                 published_chain, published_digest, clock_ahead, tails_journal, seen_at, lease_until)
             SELECT gen_random_uuid(), nth::text, build, format_level, state, published_version,
                    published_chain, published_digest, clock_ahead, tails_journal,
                    seen_at - nth * interval '1s', lease_until - nth * interval '1s'
               FROM replicas, generate_series(1, {most} + 5) AS nth"
        ))
        .unwrap();
    let head = journal.poll(contract::heartbeat(1, Position::START), 0).await.unwrap();
    assert_eq!(head.members.len(), most);
    assert_eq!(server.sql("SELECT count(*) FROM replicas").unwrap(), most.to_string());
    let oldest = "SELECT address FROM replicas ORDER BY seen_at LIMIT 1";
    assert_eq!(server.sql(oldest).unwrap(), (most - 1).to_string());
}

#[tokio::test]
async fn a_new_row_of_the_register_outlives_a_crash() {
    let mut server = server().await;
    let journal = open(&server.url()).await;
    journal.poll(contract::heartbeat(2, Position::START), 0).await.unwrap();
    server.kill().await;
    server.restart().await.unwrap();
    assert_eq!(server.sql("SELECT count(*) FROM replicas").unwrap(), "1");
}

#[tokio::test]
async fn one_replica_at_a_time_does_chores() {
    let server = server().await;
    let journal = open(&server.url()).await;
    commit(&journal, vec![request(1, vec![create(1, "first")])]).await;
    server.sql("UPDATE log SET at = at - interval '2h'").unwrap();
    let other = open(&server.url()).await;
    // A scheduler runs them as tasks.
    let one = tokio::spawn(async move { journal.trim_log(HOUR).await });
    let another = tokio::spawn(async move { other.trim_log(HOUR).await });
    assert_eq!(one.await.unwrap().unwrap() + another.await.unwrap().unwrap(), 1);
}

#[tokio::test]
async fn external_chores_run_on_one_replica_at_a_time() {
    let server = server().await;
    let (journal, other) = (open(&server.url()).await, open(&server.url()).await);
    let mut meanwhile = None;
    let work = async { meanwhile = Some(other.exclusively(async { panic!("two at once") }).await) };
    assert!(journal.exclusively(work).await.unwrap());
    assert!(!meanwhile.unwrap().unwrap());
    // And then it is the other's turn, if it likes.
    let mut done = false;
    assert!(other.exclusively(async { done = true }).await.unwrap());
    assert!(done);
}

#[tokio::test]
async fn done_tasks_are_forgotten_after_a_while() {
    let server = server().await;
    let journal = open(&server.url()).await;
    // Without the queue's tables there is nothing to forget.
    assert_eq!(journal.forget_tasks(HOUR).await.unwrap(), 0);
    let pool = journal.tasks_pool();
    placard_tasks::migrate(&pool, crate::wording()).await.unwrap();
    server
        .sql(
            "INSERT INTO apalis.workers (id, worker_type, storage_name, layers, last_seen)
             SELECT name, 'q', 's', '', now() - age FROM (VALUES
                 ('long gone', interval '2h'), ('holds a task', interval '2h'), ('lives', interval '0'))
                 AS workers (name, age);
             INSERT INTO apalis.jobs (id, job_type, job, status, attempts, max_attempts, run_at, lock_by)
             SELECT id, 'q', '1', status, attempts, 3, now() - age, lock_by FROM (VALUES
                 ('old and done', 'Done', 1, interval '2h', 'long gone'),
                 ('given up', 'Failed', 3, interval '2h', NULL),
                 ('to be tried again', 'Failed', 2, interval '2h', NULL),
                 ('under way', 'Running', 1, interval '2h', 'holds a task'),
                 ('just done', 'Done', 1, interval '1m', 'lives'),
                 ('to come', 'Pending', 0, interval '-1m', NULL))
                 AS jobs (id, status, attempts, age, lock_by)",
        )
        .unwrap();
    assert_eq!(journal.forget_tasks(HOUR).await.unwrap(), 2);
    let jobs = server.sql("SELECT string_agg(id, ', ' ORDER BY id) FROM apalis.jobs").unwrap();
    assert!(jobs.contains("just done, to be tried again, to come, under way"), "{jobs}");
    let workers =
        server.sql("SELECT string_agg(id, ', ' ORDER BY id) FROM apalis.workers").unwrap();
    assert!(workers.contains("holds a task, lives"), "{workers}");
    assert!(!workers.contains("long gone"), "{workers}");
}

#[tokio::test]
async fn a_replica_that_is_held_loses_its_chore_to_another() {
    let server = server().await;
    let (held, other) = (open(&server.url()).await, open(&server.url()).await);
    let (begun, begins) = oneshot::channel();
    let (go_on, goes_on) = oneshot::channel::<()>();
    let holding = tokio::spawn(async move {
        let work = async {
            begun.send(()).unwrap();
            goes_on.await.unwrap();
        };
        held.exclusively(work).await
    });
    begins.await.unwrap();
    assert!(!other.exclusively(async { unreachable!("the lock is taken") }).await.unwrap());
    // Other chores do not wait for that one.
    assert_eq!(other.forget_answers().await.unwrap(), 0);
    let took_over = async {
        while !other.exclusively(async {}).await.unwrap() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), took_over).await.unwrap();
    // It was alone no longer, and hears of it.
    go_on.send(()).unwrap();
    assert!(holding.await.unwrap().is_err());
}

/// A version that a replica has published of a history that was lost with the server must confirm nothing.
#[tokio::test]
async fn only_positions_in_the_journal_count_as_published() {
    let server = server().await;
    let journal = open(&server.url()).await;
    commit(&journal, vec![request(1, vec![create(1, "first")])]).await;
    let head = journal.poll(contract::heartbeat(1, Position::START), 0).await.unwrap().position;
    let published = async |position| {
        let polled = journal.poll(contract::heartbeat(1, position), 0).await.unwrap();
        polled.members[0].status.published
    };
    assert_eq!(published(head).await, head);
    let lost = Position { version: 9, ..head };
    assert_eq!(published(lost).await, Position::START);
    let other = Position { chain: Chain::GENESIS, ..head };
    assert_eq!(published(other).await, Position::START);
    server.sql("UPDATE log SET at = at - interval '2h'").unwrap();
    assert_eq!(journal.trim_log(HOUR).await.unwrap(), 1);
    assert_eq!(published(head).await, head);
}
