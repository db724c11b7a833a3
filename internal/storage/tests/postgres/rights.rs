//! Those who let us in: a role with no more rights than it needs, and passwords that change.

use std::time::Duration;

use placard_model::capacity;
use placard_model::command::{Command, Conditions};
use placard_replica::ports::{CommitError, Journal};
use placard_replica::system_now;
use placard_scheduler::ports::{Chores, Expirations};
use placard_storage::postgres::{Options, PostgresJournal};
use placard_storage::secret::Secret;
use placard_testkit::contract;
use placard_testkit::requests::{create, request};
use placard_testkit::wait::until;
use uuid::Uuid;

use crate::{commit, commit_at_last, is_whole, open, server, try_commit, wording};

/// The rights that docs/OPERATIONS.md lists.
const MANUAL: &str = include_str!("../../../../docs/OPERATIONS.md");

/// The statements of the manual that give a role what a replica needs.
fn grants(role: &str) -> String {
    let (_, block) =
        MANUAL.split_once("```sql\n-- What a replica needs").expect("the manual has it");
    let (block, _) = block.split_once("```").expect("it ends");
    let (_, statements) = block.split_once('\n').expect("it has lines");
    statements.replace("placard_replica", role)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_role_with_data_rights_alone_serves() {
    let server = server().await;
    let owner = open(&server.url()).await;
    placard_tasks::migrate(&owner.tasks_pool(), wording()).await.unwrap();
    server.sql("CREATE ROLE teller LOGIN; REVOKE ALL ON SCHEMA public FROM PUBLIC").unwrap();
    server.sql(&grants("teller")).unwrap();
    let journal = open(&as_role(&server.url(), "teller", None)).await;
    commit(&journal, vec![request(1, vec![create(1, "by a role that may not change tables")])])
        .await;
    let position = is_whole(&journal).await;
    let head = journal.poll(contract::heartbeat(1, position), 0).await.unwrap();
    assert_eq!(head.position.version, position.version);
    placard_tasks::migrate(&journal.tasks_pool(), wording()).await.unwrap();
    // What ends, and when.
    assert_eq!(journal.expired(10).await.unwrap().items().count(), 0);
    journal.upcoming(Duration::from_secs(60), 10).await.unwrap();
    // Housekeeping too.
    const HOUR: Duration = Duration::from_secs(3_600);
    journal.trim_log(HOUR).await.unwrap();
    journal.forget_answers().await.unwrap();
    journal.leave(uuid::Uuid::from_u128(1)).await.unwrap();
}

/// The table came with a build that was started by another role, or a dump of an older build has none.
#[tokio::test(flavor = "multi_thread")]
async fn ads_expire_without_a_right_to_records() {
    let server = server().await;
    let owner = open(&server.url()).await;
    placard_tasks::migrate(&owner.tasks_pool(), wording()).await.unwrap();
    server.sql("CREATE ROLE teller LOGIN").unwrap();
    server.sql(&grants("teller")).unwrap();
    let journal = open(&as_role(&server.url(), "teller", None)).await;
    let mut ending = request(1, vec![create(1, "it ends in a minute")]);
    let [Command::Create { spec, .. }] = &mut ending.commands[..] else { unreachable!() };
    spec.end_at = system_now().saturating_add_micros(60_000_000);
    commit(&journal, vec![ending]).await;
    const AHEAD: Duration = Duration::from_secs(120);
    for taken in ["REVOKE ALL ON records FROM teller", "DROP TABLE records"] {
        server.sql(taken).unwrap();
        assert_eq!(journal.expired(10).await.unwrap().items().count(), 0, "{taken}");
        assert_eq!(journal.upcoming(AHEAD, 10).await.unwrap().len(), 1, "{taken}");
    }
}

/// It was tried until its deadline, and all other writes of the replica waited behind it.
#[tokio::test(flavor = "multi_thread")]
async fn a_request_for_pools_is_refused_without_records() {
    let server = server().await;
    let owner = open(&server.url()).await;
    placard_tasks::migrate(&owner.tasks_pool(), wording()).await.unwrap();
    server.sql("CREATE ROLE teller LOGIN").unwrap();
    server.sql(&grants("teller")).unwrap();
    let journal = open(&as_role(&server.url(), "teller", None)).await;
    let close = || {
        let only_if = Conditions::default();
        let close = capacity::Command::Close { hold: Uuid::from_u128(7), only_if, used: 0 };
        vec![request(7, vec![Command::Capacity { command: Box::new(close), own_clock: None }])]
    };
    for taken in ["REVOKE ALL ON records FROM teller", "DROP TABLE records"] {
        server.sql(taken).unwrap();
        for repeated in [false, true] {
            let refused = try_commit(&journal, close(), repeated).await;
            assert!(matches!(refused, Err(CommitError::Refused(_))), "{taken}: {refused:?}");
        }
    }
    commit(&journal, vec![request(1, vec![create(1, "an ad like any")])]).await;
}

/// What is due and cannot be read keeps nothing else from going.
#[tokio::test(flavor = "multi_thread")]
async fn ads_expire_beside_a_damaged_record() {
    let server = server().await;
    let journal = open(&server.url()).await;
    let mut ending = request(1, vec![create(1, "it ends soon")]);
    let [Command::Create { spec, .. }] = &mut ending.commands[..] else { unreachable!() };
    spec.end_at = system_now().saturating_add_micros(200_000);
    commit(&journal, vec![ending]).await;
    let damaged = "UPDATE journal SET level = 2; INSERT INTO records (kind, id, due, encoded) VALUES \
                   (2, gen_random_uuid(), now(), '\\xff'), (3, gen_random_uuid(), now(), '\\xff')";
    server.sql(damaged).unwrap();
    until("the ad to end", async || {
        let expired = journal.expired(10).await.unwrap();
        assert!(expired.reservations.is_empty() && expired.tombstones.is_empty());
        (expired.ads.len() == 1).then_some(())
    })
    .await;
}

async fn refused(url: &str) -> String {
    let refused = PostgresJournal::connect(url, Options::default()).await.unwrap_err();
    let told = refused.to_string();
    assert!(!told.contains('\n') && !told.contains(" at line "), "{told}");
    told
}

#[tokio::test(flavor = "multi_thread")]
async fn foreign_tables_are_reported_with_a_remedy() {
    let server = server().await;
    let empty = server.sql("CREATE ROLE teller LOGIN; REVOKE ALL ON SCHEMA public FROM PUBLIC");
    empty.unwrap();
    let told = refused(&as_role(&server.url(), "teller", None)).await;
    assert!(told.contains("`placard migrate`"), "{told}");
    let others = "CREATE TABLE ads (id int);
        CREATE SCHEMA other; CREATE TABLE other._sqlx_migrations (version bigint PRIMARY KEY, description text NOT NULL,
            installed_on timestamptz NOT NULL DEFAULT now(), success boolean NOT NULL, checksum bytea NOT NULL,
            execution_time bigint NOT NULL);
        INSERT INTO other._sqlx_migrations
            SELECT version, 'theirs', now(), true, '\\x00', 1 FROM generate_series(1, 9) AS version;
        CREATE ROLE other LOGIN SUPERUSER; ALTER ROLE other SET search_path = other";
    server.sql(others).unwrap();
    for url in [server.url(), as_role(&server.url(), "other", None)] {
        let told = refused(&url).await;
        assert!(told.contains("a schema of its own"), "{told}");
    }
    // Such a schema helps.
    let own = "CREATE SCHEMA placard; CREATE ROLE own LOGIN SUPERUSER; ALTER ROLE own SET search_path = placard";
    server.sql(own).unwrap();
    let journal = open(&as_role(&server.url(), "own", None)).await;
    commit(&journal, vec![request(1, vec![create(1, "in a schema of its own")])]).await;
    is_whole(&journal).await;
    // That was a snapshot, and the server has nothing to say of it.
    let log = std::fs::read_to_string(server.data().with_file_name("server.log")).unwrap();
    assert!(!log.contains("unexpected EOF"), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_password_that_changes_is_read_from_its_file() {
    let mut server = server().await;
    drop(open(&server.url()).await);
    server.sql("CREATE ROLE teller LOGIN SUPERUSER PASSWORD 'first'").unwrap();
    let rules = server.data().join("pg_hba.conf");
    let before = std::fs::read_to_string(&rules).unwrap();
    let rule = format!("host all teller 127.0.0.1/32 scram-sha-256\n{before}");
    std::fs::write(&rules, rule).unwrap();
    server.restart().await.unwrap();
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("url");
    let write = |password: &str| {
        std::fs::write(&file, as_role(&server.url(), "teller", Some(password)) + "\n").unwrap();
    };
    write("first");
    let secret = Secret::read(&file).unwrap();
    let journal = PostgresJournal::connect(secret, Options::default()).await.unwrap();
    commit(&journal, vec![request(1, vec![create(1, "by the first password")])]).await;
    write("second");
    server.sql("ALTER ROLE teller PASSWORD 'second'").unwrap();
    let cut =
        "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE usename = 'teller'";
    assert_ne!(server.sql(cut).unwrap(), "0");
    commit_at_last(&journal, vec![request(2, vec![create(2, "by the second")])]).await;
    is_whole(&journal).await;
}

/// The URL of a server, for another role.
fn as_role(url: &str, role: &str, password: Option<&str>) -> String {
    let (_, rest) = url.rsplit_once('@').expect("it names a user");
    let password = password.map(|password| format!(":{password}")).unwrap_or_default();
    format!("postgres://{role}{password}@{rest}")
}
