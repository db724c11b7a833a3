//! The wire is cut or goes dead while a transaction is under way, and the server is restarted.

use std::time::Duration;

use placard_model::Spec;
use placard_model::command::{Command, Outcome, Request};
use placard_replica::Plan;
use placard_replica::ports::{CommitError, Journal};
use placard_storage::postgres::PostgresJournal;
use placard_testkit::contract;
use placard_testkit::proxy::{Flow, Proxy, Then, Way};
use placard_testkit::requests::{create, delete, keyed, replace, request, spec};
use placard_testkit::servers::postgres::PostgresServer;
use placard_testkit::wait::until;
use sqlx::{Connection, PgConnection};
use uuid::Uuid;

use self::Place::{Far, Near};
use crate::{commit, commit_at_last, connections, is_whole, open, server, snapshot, try_commit};

/// The end of the last message of a transaction that holds the lock.
const COMMIT: &[u8] = b"COMMIT\0";
/// In the middle of the message that writes: a title.
const WRITE: &[u8] = b"with a key";

/// How far a replica is from the server: one near it locks, reads, writes and commits with four messages, one far away with
/// two, in which values are text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Near,
    Far,
}

/// A journal through a proxy, whose next connection is a new one: what is lost on an idle one is only repeated.
async fn through_proxy(server: &PostgresServer, place: Place) -> (Proxy, PostgresJournal) {
    let before = connections(server);
    let proxy = Proxy::start(server.port()).await.unwrap();
    if place == Place::Far {
        proxy.set(Way::Answers, Flow::Delay(Duration::from_millis(20)));
    }
    let journal = open(&server.url_through(proxy.port())).await;
    proxy.cut();
    until("the connections to end", async || (connections(server) <= before).then_some(())).await;
    (proxy, journal)
}

fn requests() -> Vec<Request> {
    vec![
        request(1, vec![create(1, "first"), create(2, "second")]),
        keyed(request(2, vec![create(3, "with a key")]), 1, 1),
        request(3, vec![delete(2), replace(9, "nobody")]),
    ]
}

/// A commit whose connection is cut while it is committed has an unknown outcome, and repeating it writes it
/// once.
async fn cut_at_commit(place: Place, locked: bool, then: Then, committed: bool) {
    let server = server().await;
    let (proxy, journal) = through_proxy(&server, place).await;
    let direct = open(&server.url()).await;
    proxy.trap(if locked { COMMIT } else { WRITE }, then);
    let unknown = try_commit(&journal, requests(), locked).await;
    assert!(matches!(unknown, Err(CommitError::Unknown(_))), "{unknown:?}");
    proxy.sprung().await;
    // The next holder of the head's lock knows the outcome.
    let others = vec![request(8, vec![create(8, "another's")])];
    let other = try_commit(&direct, others, true).await.unwrap();
    assert_eq!(other.head.version, if committed { 5 } else { 1 });
    let repeated = try_commit(&journal, requests(), true).await.unwrap();
    assert_eq!(repeated.log.len(), if committed { 0 } else { 4 });
    assert_eq!(repeated.head.version, 5);
    let again = try_commit(&journal, requests(), true).await.unwrap();
    assert_eq!(outcomes(&again), outcomes(&repeated));
    assert_eq!(is_whole(&direct).await.version, 5);
    assert_eq!(proxy.springs(), 1);
}

fn outcomes(plan: &Plan) -> Vec<Outcome> {
    plan.answers.iter().flat_map(|answer| answer.outcomes.clone()).collect()
}

#[tokio::test]
async fn commit_with_a_lost_answer_is_written_once() {
    for (place, locked) in [(Near, false), (Near, true), (Far, true)] {
        cut_at_commit(place, locked, Then::LoseAnswer, true).await;
    }
}

#[tokio::test]
async fn commit_with_a_lost_request_is_written_once() {
    for (place, locked) in [(Near, false), (Near, true), (Far, true)] {
        cut_at_commit(place, locked, Then::LoseRequest, false).await;
    }
}

/// A try that its replica has given up goes on at the server, behind a lock, and meets its own repetition there.
#[tokio::test]
async fn late_try_is_not_written_beside_its_repetition() {
    let server = server().await;
    let (proxy, journal) = through_proxy(&server, Near).await;
    let mut holder = PgConnection::connect(&server.url()).await.unwrap();
    // The late try finds the head as it was, and then as another has left it.
    let ends = ["ROLLBACK", "UPDATE head SET writes = writes + 1; COMMIT"];
    for (round, end) in (0..).zip(ends) {
        let head = open(&server.url()).await.log(0, 1_000).await.unwrap().len();
        sqlx::raw_sql("BEGIN; SELECT FROM head FOR UPDATE").execute(&mut holder).await.unwrap();
        let requests = vec![request(round, vec![create(round, "late or not")])];
        proxy.trap(b"late or not", Then::Orphan);
        let unknown = try_commit(&journal, requests.clone(), false).await;
        assert!(matches!(unknown, Err(CommitError::Unknown(_))), "{unknown:?}");
        waiting(&server, "1").await;
        let repeated = try_commit(&journal, requests, true);
        let freed = async {
            waiting(&server, "2").await;
            sqlx::raw_sql(end).execute(&mut holder).await.unwrap();
        };
        let (repeated, ()) = tokio::join!(repeated, freed);
        assert!(matches!(outcomes(&repeated.unwrap())[..], [Outcome::Created { .. }]));
        waiting(&server, "0").await;
        let head = u64::try_from(head).unwrap() + 1;
        assert_eq!(is_whole(&open(&server.url()).await).await.version, head);
    }
}

/// A repetition that is rejected must not be followed by its first try.
#[tokio::test]
async fn repetition_without_a_change_counts_as_a_write() {
    let server = server().await;
    let journal = open(&server.url()).await;
    let writes = || server.sql("SELECT writes FROM head").unwrap();
    let nobody = || vec![request(1, vec![delete(1)])];
    commit(&journal, nobody()).await;
    assert_eq!(writes(), "0");
    let repeated = try_commit(&journal, nobody(), true).await.unwrap();
    assert_eq!((writes().as_str(), repeated.log.len(), repeated.head.version), ("1", 0, 0));
    // So does an answer that is kept.
    commit(&journal, vec![keyed(request(2, vec![delete(1)]), 1, 1)]).await;
    assert_eq!(writes(), "2");
}

/// Waits until `count` of the server's connections wait for a lock.
async fn waiting(server: &PostgresServer, count: &str) {
    let waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'";
    until("connections to wait for a lock", async || {
        (server.sql(waiting).unwrap() == count).then_some(())
    })
    .await;
}

#[tokio::test]
async fn before_commit_is_sent_nothing_is_committed() {
    let server = server().await;
    let marks = [
        (Near, "AS MATERIALIZED", false, requests()),
        (Near, "FOR UPDATE", true, requests()),
        (Near, "AS MATERIALIZED", true, requests()),
        (Near, "INSERT INTO log", true, requests()),
        (Far, "FOR UPDATE", true, requests()),
        // One of some size is written and committed in two messages from there too.
        (Far, "at the end", true, large_requests()),
    ];
    let mut version = 0;
    for (place, mark, locked, batch) in marks {
        for then in [Then::LoseRequest, Then::LoseAnswer] {
            let (proxy, journal) = through_proxy(&server, place).await;
            proxy.trap(mark.as_bytes(), then);
            let result = try_commit(&journal, batch.clone(), locked).await;
            let told = format!("{place:?}, {mark}: {result:?}");
            assert!(matches!(result, Err(CommitError::NotCommitted(_))), "{told}");
            proxy.sprung().await;
            version += 1;
            let id = u128::from(version) + 1_000;
            let next = commit(&journal, vec![request(id, vec![create(id, "the next one")])]).await;
            assert_eq!(next.head.version, version);
        }
    }
}

/// More than a mebibyte, which the committer puts into no batch with others.
fn large_requests() -> Vec<Request> {
    let large = Spec { content: "wide".repeat(2_500), ..spec("large") };
    let large = |id| Command::Create { id: Uuid::from_u128(id), spec: large.clone() };
    vec![request(1, (1..=110).map(large).chain([create(111, "at the end")]).collect())]
}

#[tokio::test]
async fn large_locked_batch_is_written_once_after_a_loss() {
    let server = server().await;
    let (proxy, journal) = through_proxy(&server, Far).await;
    let direct = open(&server.url()).await;
    for (then, written) in [(Then::LoseRequest, 111), (Then::LoseAnswer, 0)] {
        let batch = || {
            let mut batch = large_requests();
            let one = &mut batch[0];
            one.id = Uuid::from_u128(1 + written as u128);
            if written == 0 {
                let deleted = (1..=111).map(delete).chain((0..500).map(|_| delete(1)));
                one.commands = deleted.collect();
            }
            batch
        };
        proxy.trap(COMMIT, then);
        let unknown = try_commit(&journal, batch(), true).await;
        assert!(matches!(unknown, Err(CommitError::Unknown(_))), "{unknown:?}");
        let repeated = try_commit(&journal, batch(), true).await.unwrap();
        assert_eq!(repeated.log.len(), written);
        assert_eq!(
            repeated.answers[0].outcomes.iter().filter(|one| one.entry().is_some()).count(),
            111
        );
    }
    assert_eq!(is_whole(&direct).await.version, 222);
}

/// A replica takes the head's lock, stalls at these bytes, and must not keep another one from committing.
async fn stalled(
    (proxy, stalling): (Proxy, PostgresJournal),
    (mark, then): (&[u8], Then),
    batch: Vec<Request>,
    other: &PostgresJournal,
) {
    let version = snapshot(other).await.0.version;
    let id = (1 << 70) + u128::from(version);
    proxy.trap(mark, then);
    // A repeated batch is one that is committed under the lock.
    let stalled = try_commit(&stalling, batch, true);
    let mean = async {
        proxy.sprung().await;
        // While the connection of the first is as it was: the server ends it, and a commit waits for no lock for long.
        commit(other, vec![request(id, vec![create(id, "another's")])]).await;
        if then == Then::StallAnswer {
            // It learns only that the connection was lost. Otherwise the server says why.
            proxy.cut();
        }
    };
    let (stalled, ()) = tokio::join!(stalled, mean);
    assert!(matches!(stalled, Err(CommitError::NotCommitted(_))), "{stalled:?}");
    assert_eq!(is_whole(other).await.version, version + 1);
}

#[tokio::test]
async fn stall_between_messages_releases_the_lock() {
    for place in [Near, Far] {
        let server = server().await;
        let stalling = through_proxy(&server, place).await;
        let trap = (b"BEGIN ISOLATION".as_slice(), Then::StallAnswer);
        stalled(stalling, trap, requests(), &open(&server.url()).await).await;
    }
}

/// It hears that its session has ended while it was idle, and so that nothing is committed.
#[tokio::test]
async fn stall_within_a_message_releases_the_lock() {
    for place in [Near, Far] {
        let server = server().await;
        let stalling = through_proxy(&server, place).await;
        let trap = (WRITE, Then::StallRequest);
        stalled(stalling, trap, requests(), &open(&server.url()).await).await;
    }
}

/// From afar the message says COMMIT at its end. A replica that does not hear the answer does not know the outcome; the
/// repetition finds it out.
#[tokio::test]
async fn repeating_settles_a_stall_within_a_commit_message() {
    let server = server().await;
    let (proxy, journal) = through_proxy(&server, Far).await;
    let other = open(&server.url()).await;
    proxy.trap(WRITE, Then::Stall);
    let stalled = try_commit(&journal, requests(), true);
    let mean = async {
        proxy.sprung().await;
        let head = commit(&other, vec![request(8, vec![create(8, "another's")])]).await.head;
        proxy.cut();
        head.version
    };
    let (unknown, version) = tokio::join!(stalled, mean);
    assert!(matches!(unknown, Err(CommitError::Unknown(_))), "{unknown:?}");
    assert_eq!(version, 1, "the stalled one has not committed");
    let repeated = try_commit(&journal, requests(), true).await.unwrap();
    assert_eq!((repeated.log.len(), repeated.head.version), (4, 5));
    assert_eq!(is_whole(&other).await.version, 5);
}

#[tokio::test]
async fn unread_large_answer_releases_the_lock() {
    let server = server().await;
    let other = open(&server.url()).await;
    // More than the buffers between the server and the proxy hold.
    let large = Spec { content: "\u{1f600}".repeat(10_000), ..spec("large") };
    let large = |id| Command::Create { id: Uuid::from_u128(id), spec: large.clone() };
    for batch in 0..24 {
        let ids = batch * 25 + 1..=(batch + 1) * 25;
        commit_at_last(&other, vec![request(1 + batch, ids.map(large).collect())]).await;
    }
    let stalling = through_proxy(&server, Near).await;
    let asked = Uuid::from_u128(500);
    let deletions = vec![request(99, (1..=600).map(delete).collect())];
    stalled(stalling, (asked.as_bytes(), Then::StallAnswer), deletions, &other).await;
}

/// Two seconds were not enough for a thousand large ads on a slow path, however often it was tried.
#[tokio::test]
async fn commit_time_limit_grows_with_the_ads_it_reads() {
    const LONG: Duration = Duration::from_secs(3);
    let server = server().await;
    let (proxy, journal) = through_proxy(&server, Near).await;
    // One that no statement has been prepared for yet, so that all is asked for with its text.
    proxy.trap(b"AS MATERIALIZED", Then::HoldAnswers);
    let deleting = try_commit(&journal, vec![request(1, (1..=1_000).map(delete).collect())], false);
    let slow = async {
        proxy.sprung().await;
        tokio::time::sleep(LONG).await;
        proxy.set(Way::Answers, Flow::Pass);
    };
    let (deleted, ()) = tokio::join!(deleting, slow);
    assert_eq!(deleted.unwrap().answers[0].outcomes.len(), 1_000);
}

/// A replica that dies while it waits for the lock must not get it.
#[tokio::test]
async fn a_replica_that_dies_in_the_queue_leaves_it() {
    let server = server().await;
    let (proxy, journal) = through_proxy(&server, Near).await;
    let mut holder = PgConnection::connect(&server.url()).await.unwrap();
    sqlx::raw_sql("BEGIN; SELECT FROM head FOR UPDATE").execute(&mut holder).await.unwrap();
    let dying = try_commit(&journal, requests(), true);
    let mean = async {
        waiting(&server, "1").await;
        proxy.cut();
        proxy.refuse(true);
        // While the lock is still held by the other.
        waiting(&server, "0").await;
    };
    let (dead, ()) = tokio::join!(dying, mean);
    assert!(matches!(dead, Err(CommitError::NotCommitted(_))), "{dead:?}");
}

/// The error that a client of PostgreSQL sees after a restart of the server is no reason to fail a request.
#[tokio::test]
async fn server_restart_fails_no_idle_connections_request() {
    let mut server = server().await;
    let journal = open(&server.url()).await;
    for round in 1..=3 {
        commit(&journal, vec![request(round, vec![create(round, "before and after")])]).await;
        let position = is_whole(&journal).await;
        assert_eq!(u128::from(position.version), round);
        let head = journal.poll(contract::heartbeat(1, position), position.version).await.unwrap();
        assert_eq!((head.position, head.chain_at), (position, Some(position.chain)));
        if round == 1 {
            server.stop().await.unwrap();
            assert!(journal.poll(contract::heartbeat(1, position), 0).await.is_err());
            assert!(journal.log(0, 1).await.is_err());
            let refused = try_commit(&journal, requests(), false).await;
            assert!(matches!(refused, Err(CommitError::NotCommitted(_))), "{refused:?}");
            server.restart().await.unwrap();
        } else {
            server.kill().await;
            server.restart().await.unwrap();
        }
    }
}

#[tokio::test]
async fn database_refusal_is_reported_as_refused() {
    let server = server().await;
    let journal = open(&server.url()).await;
    commit(&journal, requests()).await;
    // The same request once more, as if it had not been tried: its rows are there.
    let again = vec![request(1, vec![create(11, "another ad")])];
    let refused = try_commit(&journal, again, false).await;
    assert!(matches!(refused, Err(CommitError::Refused(_))), "{refused:?}");
    // A title that PostgreSQL's text cannot hold is no reason to refuse.
    let plan = commit(&journal, vec![request(12, vec![create(12, "with a \0 in it")])]).await;
    assert_eq!(plan.log.len(), 1);
    is_whole(&journal).await;
}

/// Each kind of work found out for itself that its connection was dead, after 5 s.
#[tokio::test]
async fn missing_answer_condemns_all_idle_connections() {
    let server = server().await;
    let proxy = Proxy::start(server.port()).await.unwrap();
    let journal = open(&server.url_through(proxy.port())).await;
    let position = commit(&journal, vec![request(1, vec![create(1, "before")])]).await.head;
    journal.poll(contract::heartbeat(1, position), 1).await.unwrap();
    journal.log(0, 9).await.unwrap();
    proxy.forget();
    assert!(journal.poll(contract::heartbeat(1, position), 1).await.is_err());
    assert_eq!(commit(&journal, vec![request(2, vec![create(2, "after")])]).await.head.version, 2);
    assert_eq!(journal.log(0, 9).await.unwrap().len(), 2);
    journal.poll(contract::heartbeat(1, position), 1).await.unwrap();
}

/// A firewall forgets idle connections, and a write found that out after 5 s, when its client got a 503.
#[tokio::test]
async fn write_does_not_wait_for_a_dead_idle_connection() {
    let server = server().await;
    let proxy = Proxy::start(server.port()).await.unwrap();
    let journal = open(&server.url_through(proxy.port())).await;
    commit(&journal, vec![request(1, vec![create(1, "before")])]).await;
    proxy.forget();
    // Until the connection has rested.
    tokio::time::sleep(Duration::from_millis(2_100)).await;
    assert_eq!(commit(&journal, vec![request(2, vec![create(2, "after")])]).await.head.version, 2);
}

/// A page of the usual size was asked for repeatedly, and never came.
#[tokio::test]
async fn log_is_read_on_a_path_too_slow_for_a_page() {
    let server = server().await;
    let proxy = Proxy::start(server.port()).await.unwrap();
    let journal = open(&server.url_through(proxy.port())).await;
    let large = Spec { content: "wide".repeat(10_000), ..spec("large") };
    let large = |id| Command::Create { id: Uuid::from_u128(id), spec: large.clone() };
    let direct = open(&server.url()).await;
    for id in 1..=16 {
        commit(&direct, vec![request(id, vec![large(id)])]).await;
    }
    // A page of 512 KiB takes more than the two seconds that it may.
    proxy.set(Way::Answers, Flow::Slow(200 << 10));
    let mut versions = Vec::new();
    until("the whole log", async || {
        let after = versions.last().copied().unwrap_or(0);
        let page = journal.log(after, 1_024).await.unwrap_or_default();
        versions.extend(page.iter().map(|record| record.version));
        (versions.len() == 16).then_some(())
    })
    .await;
    assert_eq!(versions, Vec::from_iter(1..=16));
}

/// A page that does not fit through is asked for again, and comes when it does.
#[tokio::test]
async fn swallowed_log_page_is_given_up_and_read_later() {
    let server = server().await;
    let proxy = Proxy::start(server.port()).await.unwrap();
    let journal = open(&server.url_through(proxy.port())).await;
    let large = Spec { content: "wide".repeat(1_500), ..spec("large") };
    let large = Command::Create { id: Uuid::from_u128(1), spec: large };
    commit(&open(&server.url()).await, vec![request(1, vec![large])]).await;
    proxy.set(Way::Answers, Flow::Swallow(1_400));
    assert!(journal.log(0, 9).await.is_err());
    // Small messages pass.
    let head = journal
        .poll(contract::heartbeat(1, placard_model::entry::Position::START), 0)
        .await
        .unwrap();
    assert_eq!(head.position.version, 1);
    proxy.set(Way::Answers, Flow::Pass);
    assert_eq!(journal.log(0, 9).await.unwrap().len(), 1);
}
