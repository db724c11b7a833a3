//! The wire is cut or goes dead while a transaction is under way, and the server is restarted.

use std::time::{Duration, Instant};

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

use crate::{commit, commit_at_last, connections, is_whole, open, server, snapshot, try_commit};

/// The promise is half a second; a loaded machine may take longer to notice.
const STALL_MAX: Duration = Duration::from_secs(3);
/// In the statement that writes a plan down, when it is sent for the first time.
const WRITE: &[u8] = b"INSERT INTO log";
/// The last message of a transaction that holds the lock.
const COMMIT: &[u8] = b"COMMIT\0";
/// In the only message of a transaction that does not: a title that is written.
const AT_ONCE: &[u8] = b"second";

/// A journal through a proxy, whose next connection is a new one: what is lost on an idle one is only repeated.
async fn through_proxy(server: &PostgresServer) -> (Proxy, PostgresJournal) {
    let before = connections(server);
    let proxy = Proxy::start(server.port()).await.unwrap();
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
async fn cut_at_commit(locked: bool, then: Then, committed: bool) {
    let server = server().await;
    let (proxy, journal) = through_proxy(&server).await;
    let direct = open(&server.url()).await;
    proxy.trap(if locked { COMMIT } else { AT_ONCE }, then);
    let unknown = try_commit(&journal, requests(), locked).await;
    assert!(matches!(unknown, Err(CommitError::Unknown(_))), "{unknown:?}");
    proxy.sprung().await;
    // Whoever has the head's lock next knows what has become of it.
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
async fn a_commit_whose_answer_is_lost_is_repeated_and_written_once() {
    cut_at_commit(false, Then::LoseAnswer, true).await;
    cut_at_commit(true, Then::LoseAnswer, true).await;
}

#[tokio::test]
async fn a_commit_that_never_arrives_is_repeated_and_written_once() {
    cut_at_commit(false, Then::LoseRequest, false).await;
    cut_at_commit(true, Then::LoseRequest, false).await;
}

/// A try that its replica has given up goes on at the server, behind a lock, and meets its own repetition there.
#[tokio::test]
async fn a_try_that_comes_late_is_not_written_beside_its_repetition() {
    let server = server().await;
    let (proxy, journal) = through_proxy(&server).await;
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
async fn a_repetition_counts_as_a_write_even_if_it_changes_nothing() {
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

/// Waits until so many of the server's connections wait for a lock.
async fn waiting(server: &PostgresServer, count: &str) {
    let waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'";
    while server.sql(waiting).unwrap() != count {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn before_commit_is_sent_nothing_is_committed() {
    let server = server().await;
    for (nth, words) in ["FOR UPDATE", "AS MATERIALIZED", "INSERT INTO log"].iter().enumerate() {
        for then in [Then::LoseRequest, Then::LoseAnswer] {
            let (proxy, journal) = through_proxy(&server).await;
            proxy.trap(words.as_bytes(), then);
            let result = try_commit(&journal, requests(), true).await;
            assert!(matches!(result, Err(CommitError::NotCommitted(_))), "{words}: {result:?}");
            proxy.sprung().await;
            let id = nth as u128 * 2 + u128::from(then == Then::LoseAnswer) + 100;
            let next = commit(&journal, vec![request(id, vec![create(id, "the next one")])]).await;
            assert_eq!(next.head.version, u64::try_from(id).unwrap() - 99);
        }
    }
}

/// A replica takes the head's lock, stalls as the trap says, and must not keep another one from committing.
async fn stalled(
    proxy: &Proxy,
    stalling: &PostgresJournal,
    batch: Vec<Request>,
    other: &PostgresJournal,
) {
    let version = snapshot(other).await.0.version;
    // A repeated batch is one that is committed under the lock.
    let stalled = try_commit(stalling, batch, true);
    let mean = async {
        proxy.sprung().await;
        let since = Instant::now();
        commit(other, vec![request(1 << 70, vec![create(1 << 70, "another's")])]).await;
        assert!(since.elapsed() < STALL_MAX, "{:?}", since.elapsed());
        // What the stalled one hears after that is that it has lost.
        proxy.cut();
    };
    let (stalled, ()) = tokio::join!(stalled, mean);
    assert!(matches!(stalled, Err(CommitError::NotCommitted(_))), "{stalled:?}");
    assert_eq!(is_whole(other).await.version, version + 1);
}

#[tokio::test]
async fn a_replica_that_stalls_between_two_statements_does_not_keep_the_lock() {
    let server = server().await;
    let (proxy, journal) = through_proxy(&server).await;
    proxy.trap(b"BEGIN ISOLATION", Then::StallAnswer);
    stalled(&proxy, &journal, requests(), &open(&server.url()).await).await;
}

#[tokio::test]
async fn a_replica_that_stalls_in_the_middle_of_a_statement_does_not_keep_the_lock() {
    let server = server().await;
    let (proxy, journal) = through_proxy(&server).await;
    proxy.trap(WRITE, Then::StallRequest);
    stalled(&proxy, &journal, requests(), &open(&server.url()).await).await;
}

#[tokio::test]
async fn a_replica_that_does_not_take_a_large_answer_does_not_keep_the_lock() {
    let server = server().await;
    let (proxy, journal) = through_proxy(&server).await;
    let other = open(&server.url()).await;
    // More than the buffers between the server and the proxy hold.
    let large = Spec { content: "wide".repeat(2_500), ..spec("large") };
    let large = |id| Command::Create { id: Uuid::from_u128(id), spec: large.clone() };
    for batch in 0..20 {
        let ids = batch * 100 + 1..=(batch + 1) * 100;
        commit_at_last(&journal, vec![request(1 + batch, ids.map(large).collect())]).await;
    }
    // The statement has been prepared by now: it is known by what is asked for.
    proxy.trap(Uuid::from_u128(1_234).as_bytes(), Then::StallAnswer);
    let deletions = vec![request(99, (1..=2_000).map(delete).collect())];
    stalled(&proxy, &journal, deletions, &other).await;
}

/// Whoever dies while it waits for the lock must not be given it.
#[tokio::test]
async fn a_replica_that_dies_in_the_queue_leaves_it() {
    let server = server().await;
    let (proxy, journal) = through_proxy(&server).await;
    let mut holder = PgConnection::connect(&server.url()).await.unwrap();
    sqlx::raw_sql("BEGIN; SELECT FROM head FOR UPDATE").execute(&mut holder).await.unwrap();
    let dying = try_commit(&journal, requests(), true);
    let mean = async {
        waiting(&server, "1").await;
        proxy.cut();
        proxy.refuse(true);
        let since = Instant::now();
        waiting(&server, "0").await;
        assert!(since.elapsed() < STALL_MAX, "{:?}", since.elapsed());
    };
    let (dead, ()) = tokio::join!(dying, mean);
    assert!(matches!(dead, Err(CommitError::NotCommitted(_))), "{dead:?}");
}

/// What a client of PostgreSQL sees when its server was restarted is no reason to fail a request.
#[tokio::test]
async fn a_restart_of_the_server_is_not_seen_by_idle_connections() {
    let mut server = server().await;
    let journal = open(&server.url()).await;
    for round in 1..=3 {
        commit(&journal, vec![request(round, vec![create(round, "before and after")])]).await;
        let position = is_whole(&journal).await;
        assert_eq!(u128::from(position.version), round);
        let head = journal.poll(contract::beat(1, position), position.version).await.unwrap();
        assert_eq!((head.position, head.chain_at), (position, Some(position.chain)));
        if round == 1 {
            server.stop().await.unwrap();
            assert!(journal.poll(contract::beat(1, position), 0).await.is_err());
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
async fn a_request_that_the_database_refuses_is_told_apart() {
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
async fn one_answer_that_fails_to_come_condemns_all_idle_connections() {
    let server = server().await;
    let proxy = Proxy::start(server.port()).await.unwrap();
    let journal = open(&server.url_through(proxy.port())).await;
    let position = commit(&journal, vec![request(1, vec![create(1, "before")])]).await.head;
    journal.poll(contract::beat(1, position), 1).await.unwrap();
    journal.log(0, 9).await.unwrap();
    proxy.forget();
    assert!(journal.poll(contract::beat(1, position), 1).await.is_err());
    assert_eq!(commit(&journal, vec![request(2, vec![create(2, "after")])]).await.head.version, 2);
    assert_eq!(journal.log(0, 9).await.unwrap().len(), 2);
    journal.poll(contract::beat(1, position), 1).await.unwrap();
}

/// A firewall forgets what is idle, and a write found out after 5 s, when its client was told 503.
#[tokio::test]
async fn a_write_does_not_wait_for_a_connection_that_died_while_idle() {
    let server = server().await;
    let proxy = Proxy::start(server.port()).await.unwrap();
    let journal = open(&server.url_through(proxy.port())).await;
    commit(&journal, vec![request(1, vec![create(1, "before")])]).await;
    proxy.forget();
    // Until the connection has rested.
    tokio::time::sleep(Duration::from_millis(2_100)).await;
    assert_eq!(commit(&journal, vec![request(2, vec![create(2, "after")])]).await.head.version, 2);
}

/// What does not fit through is asked for again, and comes when it does.
#[tokio::test]
async fn a_log_that_is_swallowed_on_the_way_is_given_up_and_read_later() {
    let server = server().await;
    let proxy = Proxy::start(server.port()).await.unwrap();
    let journal = open(&server.url_through(proxy.port())).await;
    let large = Spec { content: "wide".repeat(1_500), ..spec("large") };
    let large = Command::Create { id: Uuid::from_u128(1), spec: large };
    commit(&open(&server.url()).await, vec![request(1, vec![large])]).await;
    proxy.set(Way::Answers, Flow::Swallow(1_400));
    assert!(journal.log(0, 9).await.is_err());
    // What is small passes.
    let head =
        journal.poll(contract::beat(1, placard_model::entry::Position::START), 0).await.unwrap();
    assert_eq!(head.position.version, 1);
    proxy.set(Way::Answers, Flow::Pass);
    assert_eq!(journal.log(0, 9).await.unwrap().len(), 1);
}
