//! Several replicas commit at once, while others read.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use placard_model::Said;
use placard_model::command::{Command, Conditions, Outcome, Request};
use placard_model::entry::Chain;
use placard_model::{Spec, Timestamp};
use placard_replica::ports::Journal;
use placard_storage::postgres::PostgresJournal;
use placard_testkit::contract;
use placard_testkit::proxy::{Flow, Proxy, Way};
use placard_testkit::requests::{create, delete, keyed, replace, request, spec};
use uuid::Uuid;

use crate::{commit, commit_at_last, digest, follow, is_whole, open, server, snapshot, try_commit};

const BATCHES: u128 = 40;

/// One committer's batches: ads of its own, one that all create, and one that all replace.
async fn committer(journal: PostgresJournal, nth: u128) -> Vec<u64> {
    let mut versions = Vec::new();
    for batch in 0..BATCHES {
        let id = (nth << 64) + batch;
        let requests = vec![
            request(id << 8, vec![create(id + 1, "one of its own"), create(batch, "everybody's")]),
            request((id << 8) + 1, vec![replace(u128::MAX, &format!("of {nth} and {batch}"))]),
        ];
        let plan = commit_at_last(&journal, requests).await;
        versions.extend(plan.log.iter().map(|row| row.record.version));
    }
    versions
}

async fn committers(count: u128) {
    let server = server().await;
    let journal = open(&server.url()).await;
    commit(&journal, vec![request(u128::MAX, vec![create(u128::MAX, "everybody's")])]).await;
    let done = Arc::new(AtomicBool::new(false));
    let reader = tokio::spawn(reader(open(&server.url()).await, Arc::clone(&done)));
    let snapshots = tokio::spawn(snapshots(open(&server.url()).await, Arc::clone(&done)));
    let mut tasks = tokio::task::JoinSet::new();
    for nth in 1..=count {
        tasks.spawn(committer(open(&server.url()).await, nth));
    }
    let mut versions: Vec<_> = tasks.join_all().await.into_iter().flatten().collect();
    done.store(true, Ordering::Release);
    versions.sort_unstable();
    // Each creates its own ad and replaces one every time; of a shared creation one succeeds.
    let all = 1 + count as u64 * BATCHES as u64 * 2 + BATCHES as u64;
    assert_eq!(versions, (2..=all).collect::<Vec<_>>());
    assert_eq!(is_whole(&journal).await.version, all);
    reader.await.unwrap();
    snapshots.await.unwrap();
}

/// Follows the log from its beginning; a version that is skipped for a moment would be a hole.
async fn reader(journal: PostgresJournal, done: Arc<AtomicBool>) {
    let mut at = (0, Chain::GENESIS);
    loop {
        let last = done.load(Ordering::Acquire);
        let records = journal.log(at.0, 100).await.unwrap();
        at = follow(&records, at.0, at.1);
        if last && records.is_empty() {
            break;
        }
    }
}

/// Every snapshot is of one moment.
async fn snapshots(journal: PostgresJournal, done: Arc<AtomicBool>) {
    while !done.load(Ordering::Acquire) {
        let (position, ads) = snapshot(&journal).await;
        assert_eq!(digest(&ads), position.digest);
        let head = journal.poll(contract::heartbeat(1, position), position.version).await.unwrap();
        assert_eq!(head.chain_at, Some(position.chain).filter(|_| position.version > 0));
        assert!(head.position.version >= position.version);
    }
}

#[tokio::test]
async fn two_committers_leave_a_gapless_log() {
    committers(2).await;
}

#[tokio::test]
async fn three_committers_leave_a_gapless_log() {
    committers(3).await;
}

/// Each reads a version and replaces exactly that: a write must not be lost when another committer has read the same
/// version.
#[tokio::test]
async fn no_update_is_lost() {
    let server = server().await;
    let journal = open(&server.url()).await;
    let ad = Uuid::from_u128(1);
    commit(&journal, vec![request(1, vec![create(1, "counted")])]).await;
    let mut tasks = tokio::task::JoinSet::new();
    for nth in 1..=3 {
        let journal = open(&server.url()).await;
        tasks.spawn(async move {
            let (mut won, mut seen) = (0, 1);
            for round in 1.. {
                let (only_if, said) = (Conditions::at([seen]), Said::default());
                let replaced = Command::Replace { id: ad, only_if, said, spec: spec("counted") };
                let request = request((nth << 64) + round, vec![replaced]);
                let plan = commit_at_last(&journal, vec![request]).await;
                match plan.answers[0].outcomes[0] {
                    Outcome::Updated { version, .. } => (won, seen) = (won + 1, version),
                    Outcome::VersionMismatch { version, .. } => {
                        assert!(version > seen);
                        seen = version;
                    }
                    ref other => panic!("{other:?}"),
                }
                if won == 20 {
                    break;
                }
            }
        });
    }
    tasks.join_all().await;
    assert_eq!(is_whole(&journal).await.version, 61);
}

#[tokio::test]
async fn the_same_key_at_three_replicas_is_answered_once() {
    let server = server().await;
    let mut tasks = tokio::task::JoinSet::new();
    for nth in 1..=3 {
        let journal = open(&server.url()).await;
        let ours: Request = keyed(request(nth, vec![create(nth, "only once")]), 7, 1);
        tasks.spawn(async move { commit_at_last(&journal, vec![ours]).await.answers });
    }
    let answers: Vec<_> = tasks.join_all().await.into_iter().flatten().collect();
    assert_eq!(answers.iter().filter(|answer| !answer.replayed).count(), 1);
    assert!(answers.iter().all(|answer| answer.outcomes == answers[0].outcomes));
}

/// Values that a replica far away writes out as text must be the same as bound ones, whatever settings an operator has
/// given to the database.
#[tokio::test]
async fn locked_and_unlocked_commits_write_the_same_rows() {
    const ROWS: [&str; 3] = [
        "SELECT json_agg((id, version, start_at, end_at, title) ORDER BY id) FROM ads",
        "SELECT json_agg((version, request, item) ORDER BY version) FROM log",
        "SELECT json_agg((scope, body, octet_length(answer)) ORDER BY scope) FROM idempotency",
    ];
    const TITLES: [&str; 6] =
        ["it's \\ \"so\"", "{NULL}", "\0 is none", "'); COMMIT; --", "\u{1f600}, \u{6f22}", "NULL"];
    let mut found = Vec::new();
    for (locked, far) in [(false, false), (true, false), (true, true)] {
        let server = server().await;
        for setting in [
            "bytea_output = 'escape'",
            "standard_conforming_strings = off",
            "DateStyle = 'German'",
            "TimeZone = 'Asia/Kolkata'",
        ] {
            server.sql(&format!("ALTER ROLE ALL SET {setting}")).unwrap();
        }
        let proxy = Proxy::start(server.port()).await.unwrap();
        if far {
            proxy.set(Way::Answers, Flow::Delay(Duration::from_millis(20)));
        }
        let journal = open(&server.url_through(proxy.port())).await;
        let always =
            |title: &&str| Spec { start_at: Timestamp::MIN, end_at: Timestamp::MAX, ..spec(title) };
        let creations = (1..).zip(TITLES.iter().map(always));
        let creations =
            creations.map(|(id, spec)| Command::Create { id: Uuid::from_u128(id), spec });
        let batches = [
            vec![request(1, creations.collect())],
            vec![
                keyed(request(2, vec![create(7, "with a key"), delete(1)]), 1, 0xff),
                keyed(request(3, vec![replace(2, TITLES[0]), delete(9)]), 2, 0),
                request(4, vec![delete(3)]),
            ],
            vec![keyed(request(5, vec![create(8, "with a key")]), 1, 0xff)],
            vec![keyed(request(6, vec![create(10, "new")]), 3, 0)],
        ];
        let mut answers = Vec::new();
        for batch in batches {
            let plan = try_commit(&journal, batch, locked).await.unwrap();
            for answer in plan.answers {
                let entries: Vec<_> = answer.outcomes.iter().map(Outcome::entry).collect();
                answers.push((entries, answer.version, answer.replayed));
            }
        }
        assert_eq!(is_whole(&journal).await.version, 11);
        let rows = ROWS.map(|rows| server.sql(&format!("SET TimeZone = 'UTC'; {rows}")).unwrap());
        found.push((answers, rows));
    }
    assert_eq!(found[0], found[1]);
    assert_eq!(found[0], found[2]);
}
