//! A URL with several hosts: the one that takes writes is used, so that a failover needs no proxy.

use placard_model::command::Outcome;
use placard_replica::ports::Journal;
use placard_replica::reasons;
use placard_storage::postgres::{OpenError, PostgresJournal};
use placard_testkit::requests::{create, request};
use placard_testkit::servers::postgres::PostgresServer;
use placard_testkit::wait::until;

use crate::{commit, commit_at_last, is_whole, open, snapshot, wording};

/// The host and port behind the login of a server's URL, and what is before and behind them.
fn parts(url: &str) -> (&str, &str, &str) {
    let (login, rest) = url.rsplit_once('@').expect("it names a user");
    let (host, database) = rest.split_once('/').expect("it names a database");
    (login, host, database)
}

fn either(first: &PostgresServer, second: &PostgresServer) -> String {
    let (first, second) = (first.url(), second.url());
    let (login, first, database) = parts(&first);
    let (_, second, _) = parts(&second);
    let join = if database.contains('?') { '&' } else { '?' };
    format!("{login}@{first},{second}/{database}{join}target_session_attrs=read-write")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_promoted_standby_is_found_and_nothing_is_lost() {
    let mut primary = PostgresServer::start().await.unwrap();
    let standby = primary.standby("second", primary.port()).await.unwrap();
    primary.restart_with(&[("synchronous_standby_names", "second")]).await.unwrap();
    // The standby is tried first.
    let journal = open(&either(&standby, &primary)).await;
    let write = async |journal: &PostgresJournal, id: u128| {
        let plan = commit_at_last(journal, vec![request(id, vec![create(id, "kept")])]).await;
        assert!(matches!(plan.answers[0].outcomes[..], [Outcome::Created { .. }]), "{plan:?}");
    };
    for id in 1..=20 {
        write(&journal, id).await;
    }
    // The standby is promoted while a client writes; the journal learns of it only by what fails.
    let (done, mut at) = tokio::sync::watch::channel(0);
    let writing = {
        let journal = journal.clone();
        tokio::spawn(async move {
            for id in 21..=120 {
                let written = commit_at_last(&journal, vec![request(id, vec![create(id, "kept")])]);
                assert!(matches!(written.await.answers[0].outcomes[..], [Outcome::Created { .. }]));
                done.send_replace(id);
            }
        })
    };
    at.wait_for(|id| *id >= 40).await.unwrap();
    primary.kill().await;
    standby.sql("SELECT pg_promote()").unwrap();
    writing.await.unwrap();
    is_whole(&journal).await;
    let (position, ads) = snapshot(&journal).await;
    assert_eq!((position.version, ads.len()), (120, 120));
    // The task queue beside the journal has followed.
    let pool = journal.tasks_pool();
    until("the queue of tasks on the new primary", async || {
        let migrated = placard_tasks::migrate(&pool, wording()).await;
        migrated.is_ok().then_some(())
    })
    .await;
    let there = "SELECT count(*) FROM pg_tables WHERE schemaname = 'apalis'";
    assert_ne!(standby.sql(there).unwrap(), "0");
    assert!(journal.log(119, 10).await.unwrap().len() == 1);
}

/// As with one host, it is said what is wrong.
#[tokio::test(flavor = "multi_thread")]
async fn hosts_of_which_none_takes_writes_are_refused() {
    let primary = PostgresServer::start().await.unwrap();
    commit(&open(&primary.url()).await, vec![request(1, vec![create(1, "there")])]).await;
    let standby = primary.standby("second", primary.port()).await.unwrap();
    let url = either(&standby, &standby);
    let refused = PostgresJournal::connect(&url, Default::default()).await.unwrap_err();
    let told = reasons(&refused).unwrap();
    assert_eq!(told.matches("is a standby").count(), 2, "{told}");
    // Each host has a reason of its own; what waits for the primary may go on.
    drop(primary);
    let url = url.replacen(&standby.port().to_string(), "1", 1);
    let refused = PostgresJournal::connect(&url, Default::default()).await.unwrap_err();
    assert!(matches!(refused, OpenError::Connect(..)), "{refused:?}");
    let told = reasons(&refused).unwrap();
    let port = standby.port();
    assert!(told.contains("127.0.0.1:1: Connection refused"), "{told}");
    assert!(told.contains(&format!("127.0.0.1:{port}: the server is a standby")), "{told}");
    assert!(told.starts_with("none of the hosts can be used: "), "{told}");
}
