//! A synchronous standby that is cut off, and then promoted: what was answered must be on it.

use placard_model::Said;
use placard_model::command::{Command, Conditions, Outcome, Request};
use placard_model::entry::Position;
use placard_replica::ports::{CommitError, Journal};
use placard_storage::postgres::{Options, PostgresJournal};
use placard_testkit::contract;
use placard_testkit::proxy::Proxy;
use placard_testkit::requests::{create, delete, keyed, request, spec};
use placard_testkit::servers::postgres::PostgresServer;
use placard_testkit::wait::until;
use sqlx::{Connection, PgConnection};
use uuid::Uuid;

use crate::{commit, commit_at_last, is_whole, open, snapshot, try_commit};

/// A primary whose commits wait for its standby, and the way between them.
struct Pair {
    primary: PostgresServer,
    standby: PostgresServer,
    between: Proxy,
}

impl Pair {
    async fn start() -> Self {
        let mut primary = PostgresServer::start().await.unwrap();
        let between = Proxy::start(primary.port()).await.unwrap();
        let standby = primary.standby("second", between.port()).await.unwrap();
        primary.restart_with(&[("synchronous_standby_names", "second")]).await.unwrap();
        Self { primary, standby, between }
    }

    fn cut_off(&self, is_cut: bool) {
        self.between.refuse(is_cut);
        if is_cut {
            self.between.cut();
        }
    }

    /// Waits until a commit waits for the standby.
    async fn awaited(&self) {
        let waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'SyncRep'";
        until("a commit that waits for the standby", async || {
            (self.primary.sql(waiting).unwrap() != "0").then_some(())
        })
        .await;
    }

    /// Has a batch committed on the primary, and made visible by its recovery, while the standby does not have it, and
    /// nobody is left who would repeat it.
    async fn leave_alone(&mut self, requests: Vec<Request>) {
        let journal = open(&self.primary.url()).await;
        self.cut_off(true);
        let committing = tokio::spawn(async move { try_commit(&journal, requests, false).await });
        self.awaited().await;
        self.primary.kill().await;
        let unknown = committing.await.unwrap();
        assert!(matches!(unknown, Err(CommitError::Unknown(_))), "{unknown:?}");
        self.primary.restart().await.unwrap();
    }
}

/// Makes a journal find out that the head has moved: it then commits under the lock for a while.
async fn made_cautious(journal: &PostgresJournal, primary: &PostgresServer) {
    let waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'";
    let mut holder = PgConnection::connect(&primary.url()).await.unwrap();
    sqlx::raw_sql("SET synchronous_commit = local; BEGIN; SELECT FROM head FOR UPDATE")
        .execute(&mut holder)
        .await
        .unwrap();
    let committing = commit(journal, vec![request(1 << 90, vec![create(1 << 90, "in vain")])]);
    let moving = async {
        until("a commit that waits for the lock", async || {
            (primary.sql(waiting).unwrap() != "0").then_some(())
        })
        .await;
        sqlx::raw_sql("UPDATE head SET writes = writes + 1; COMMIT")
            .execute(&mut holder)
            .await
            .unwrap();
    };
    tokio::join!(committing, moving);
}

/// Asks for `again` on another replica after `first` has been left alone, and expects no answer before the standby has
/// what it rests on, and the same answer once the standby is the primary.
async fn is_not_told_early(before: Vec<Request>, first: Request, again: Request, locked: bool) {
    let mut pair = Pair::start().await;
    let journal = open(&pair.primary.url()).await;
    commit(&journal, before).await;
    drop(journal);
    let other = Options { run_migrations: false, ..Options::default() };
    if locked {
        // Its connection is lost with the primary's restart; how it goes on is not.
        let journal = open(&pair.primary.url()).await;
        made_cautious(&journal, &pair.primary).await;
        pair.leave_alone(vec![first]).await;
        told_late(&pair, &journal, again).await;
    } else {
        pair.leave_alone(vec![first]).await;
        let journal = PostgresJournal::connect(&pair.primary.url(), other).await.unwrap();
        told_late(&pair, &journal, again).await;
    }
}

async fn told_late(pair: &Pair, journal: &PostgresJournal, again: Request) {
    let mut asking = std::pin::pin!(commit_at_last(journal, vec![again.clone()]));
    tokio::select! {
        early = &mut asking => panic!("told before the standby has it: {:?}", early.answers),
        () = pair.awaited() => {}
    }
    pair.cut_off(false);
    let told = asking.await;
    assert_eq!(told.log.len(), 0, "it rests on what was there");
    pair.primary.pause();
    pair.standby.sql("SELECT pg_promote()").unwrap();
    let promoted = open(&pair.standby.url()).await;
    let same = commit(&promoted, vec![Request { id: Uuid::from_u128(1 << 80), ..again }]).await;
    assert_eq!(same.answers[0].outcomes, told.answers[0].outcomes);
    assert_eq!(same.answers[0].replayed, told.answers[0].replayed);
    is_whole(&promoted).await;
    assert_eq!(snapshot(&promoted).await.0, told.head);
    pair.primary.resume();
}

#[tokio::test]
async fn kept_answer_waits_for_the_standby_of_its_row() {
    let first = keyed(request(1, vec![create(1, "with a key")]), 1, 1);
    let again = Request { id: Uuid::from_u128(2), ..first.clone() };
    is_not_told_early(vec![], first.clone(), again.clone(), false).await;
    is_not_told_early(vec![], first, again, true).await;
}

/// 404, 409 and 412 rest on rows too: on a deletion, a creation, a replacement.
#[tokio::test]
async fn refusal_waits_for_the_standby_of_its_row() {
    let there = vec![request(9, vec![create(9, "there")])];
    let deleted = request(1, vec![delete(9)]);
    is_not_told_early(there.clone(), deleted, request(2, vec![delete(9)]), false).await;
    let created = request(1, vec![create(1, "first")]);
    is_not_told_early(vec![], created, request(2, vec![create(1, "again")]), false).await;
    let replace = || {
        let (only_if, said) = (Conditions::at([1]), Said::default());
        Command::Replace { id: Uuid::from_u128(9), only_if, said, spec: spec("replaced") }
    };
    is_not_told_early(there, request(1, vec![replace()]), request(2, vec![replace()]), false).await;
}

/// Any late answer closed all other connections, and they were opened again.
#[tokio::test]
async fn commit_waiting_for_a_standby_costs_no_connection() {
    let pair = Pair::start().await;
    let journal = open(&pair.primary.url()).await;
    let mut heartbeat = contract::heartbeat(1, Position::START);
    heartbeat.identity.refuses_after = None;
    let processes = || {
        let others = "SELECT string_agg(pid::text, ',' ORDER BY pid) FROM pg_stat_activity
                       WHERE application_name = 'placard' AND query ~ 'departures|octet_length'";
        pair.primary.sql(others).unwrap()
    };
    let work = async || {
        journal.poll(heartbeat.clone(), 0).await.unwrap();
        journal.log(0, 9).await.unwrap();
        processes()
    };
    let before = work().await;
    pair.cut_off(true);
    let late = try_commit(&journal, vec![request(1, vec![create(1, "late")])], false).await;
    assert!(matches!(late, Err(CommitError::Unknown(_))), "{late:?}");
    assert_eq!(work().await, before);
    assert_eq!(before.split(',').count(), 2, "{before}");
}

/// A refusal moved the head, so that others' commits that had been decided without the lock were discarded.
#[tokio::test]
async fn refusal_waiting_for_the_standby_changes_no_row() {
    let pair = Pair::start().await;
    let journal = open(&pair.primary.url()).await;
    let writes = || pair.primary.sql("SELECT writes FROM head").unwrap();
    for cautious in [false, true] {
        if cautious {
            made_cautious(&journal, &pair.primary).await;
        }
        let before = writes();
        pair.cut_off(true);
        let gone = || vec![request(1, vec![delete(1)])];
        let mut asking = std::pin::pin!(commit_at_last(&journal, gone()));
        tokio::select! {
            early = &mut asking => panic!("{:?}", early.answers),
            () = pair.awaited() => {}
        }
        pair.cut_off(false);
        assert!(matches!(asking.await.answers[0].outcomes[0], Outcome::NotFound { .. }));
        assert_eq!(writes(), before);
    }
}

/// A plan that writes nothing costs no write if commits do not wait for a standby.
#[tokio::test]
async fn refusal_without_synchronous_standby_writes_nothing() {
    let server = PostgresServer::start().await.unwrap();
    let journal = open(&server.url()).await;
    let writes = || server.sql("SELECT writes FROM head").unwrap();
    let gone = commit(&journal, vec![request(1, vec![delete(1)])]).await;
    assert!(matches!(gone.answers[0].outcomes[0], Outcome::NotFound { .. }));
    assert_eq!(writes(), "0");
    // A reload is enough for it to be otherwise.
    server.sql("ALTER SYSTEM SET synchronous_standby_names = 'nobody'").unwrap();
    server.sql("SELECT pg_reload_conf()").unwrap();
    until("the setting", async || {
        (server.sql("SHOW synchronous_standby_names").unwrap() == "nobody").then_some(())
    })
    .await;
    let mut asking = std::pin::pin!(commit_at_last(&journal, vec![request(2, vec![delete(1)])]));
    let waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'SyncRep'";
    tokio::select! {
        early = &mut asking => panic!("{:?}", early.answers),
        () = until("a wait", async || (server.sql(waiting).unwrap() != "0").then_some(())) => {}
    }
}
