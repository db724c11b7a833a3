//! PgBouncer between a replica and its journal.

use std::time::Duration;

use placard_replica::ports::{CommitError, Journal};
use placard_storage::postgres::{OpenError, Options, PostgresJournal, Unfit, migrate};
use placard_testkit::proxy::{Proxy, Then};
use placard_testkit::requests::{create, request};
use placard_testkit::servers::pgbouncer::PgBouncer;
use placard_testkit::wait::until;
use sqlx::{Connection, PgConnection};

use crate::{commit, connections, is_whole, open, server, try_commit};

/// What operators set after PgBouncer has said that it does not know a parameter.
const IGNORES: (&str, &str) = ("ignore_startup_parameters", "options,extra_float_digits");

/// A replica that stalled behind such a pooler kept the head's lock for as long as it stalled.
#[tokio::test]
async fn session_pooler_leaves_the_lock_timeouts_in_place() {
    let server = server().await;
    let session = ("pool_mode", "session");
    for settings in [vec![session], vec![session, IGNORES]] {
        let pooler = PgBouncer::start(&server, &settings).await.unwrap();
        let proxy = Proxy::start(pooler.port()).await.unwrap();
        let other = open(&server.url()).await;
        let direct = connections(&server);
        let journal = open(&server.url_through(proxy.port())).await;
        let before = is_whole(&journal).await.version;
        // Work that is lost on an idle connection is repeated, so the connection must be a new one.
        proxy.cut();
        until("the connections to end", async || (connections(&server) <= direct).then_some(()))
            .await;
        proxy.trap(b"BEGIN ISOLATION", Then::StallAnswer);
        // A repeated batch is one that is committed under the lock.
        let stalled = try_commit(&journal, vec![request(1, vec![create(1, "stalled")])], true);
        let id = u128::from(before) + 10;
        let another = async {
            proxy.sprung().await;
            commit(&other, vec![request(id, vec![create(id, "another's")])]).await;
            proxy.cut();
        };
        let (stalled, ()) = tokio::join!(stalled, another);
        assert!(matches!(stalled, Err(CommitError::NotCommitted(_))), "{stalled:?}");
        assert_eq!(is_whole(&journal).await.version, before + 1);
    }
}

#[tokio::test]
async fn session_sharing_pooler_is_refused_with_its_mode() {
    let server = server().await;
    let reset = ("server_reset_query_always", "1");
    let modes = [("pool_mode", "transaction"), ("pool_mode", "statement")];
    let round_robin = ("server_round_robin", "1");
    for mode in modes {
        for settings in
            [vec![mode], vec![mode, IGNORES], vec![mode, reset], vec![mode, round_robin]]
        {
            let pooler = PgBouncer::start(&server, &settings).await.unwrap();
            let url = server.url_through(pooler.port());
            let opened = PostgresJournal::connect(&url, Options::default()).await;
            let refused = opened.err().or(migrate(&url).await.err());
            let Some(OpenError::Unfit(_, unfit)) = refused else {
                panic!("{settings:?}: {refused:?}")
            };
            assert_eq!(unfit, Unfit::SharedSessions, "{settings:?}");
            assert!(unfit.to_string().contains("transaction or statement mode"));
        }
    }
}

/// A schema that was asked for would be another one, silently.
#[tokio::test]
async fn options_dropped_by_a_pooler_are_refused() {
    let server = server().await;
    let pooler = PgBouncer::start(&server, &[IGNORES]).await.unwrap();
    server.sql("CREATE SCHEMA own").unwrap();
    let with_options = |port| format!("{}&options[search_path]=own", server.url_through(port));
    let dropped = PostgresJournal::connect(&with_options(pooler.port()), Options::default()).await;
    assert!(matches!(dropped, Err(OpenError::Unfit(_, Unfit::OptionsDropped))), "{dropped:?}");
    open(&with_options(server.port())).await;
    assert_eq!(
        server.sql("SELECT to_regclass('own.head'), to_regclass('public.head')").unwrap(),
        "own.head|"
    );
}

/// A provider's proxy takes out what is meant for itself.
#[tokio::test]
async fn proxy_options_dropped_by_a_pooler_are_accepted() {
    let server = server().await;
    let pooler = PgBouncer::start(&server, &[("pool_mode", "session"), IGNORES]).await.unwrap();
    open(&format!("{}&options=endpoint%3Dep-1", server.url_through(pooler.port()))).await;
}

/// Two connections are compared at the start, but not by a replica that starts while its journal is away.
#[tokio::test]
async fn shared_session_is_noticed_after_a_connection_idles() {
    let server = server().await;
    migrate(&server.url()).await.unwrap();
    let pooler = PgBouncer::start(&server, &[("pool_mode", "transaction"), IGNORES]).await.unwrap();
    let url = server.url_through(pooler.port());
    let journal = PostgresJournal::new(&url, Options::default()).unwrap();
    commit(&journal, vec![request(1, vec![create(1, "in the first session")])]).await;
    // While another has the first session, reading gets a second one, and then the first, which is the last that was used.
    let mut other = PgConnection::connect(&url).await.unwrap();
    sqlx::raw_sql("BEGIN").execute(&mut other).await.unwrap();
    journal.log(0, 9).await.unwrap();
    sqlx::raw_sql("ROLLBACK").execute(&mut other).await.unwrap();
    tokio::time::sleep(Duration::from_millis(2_100)).await;
    let refused = journal.log(0, 9).await.unwrap_err();
    let told = placard_replica::reasons(&refused).unwrap_or_default();
    assert!(told.contains("transaction or statement mode"), "{told}");
}
