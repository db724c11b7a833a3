//! A replica whose log nobody reads any more.

use std::io::pipe;
use std::process::Stdio;

use placard_testkit::process::Process;
use placard_testkit::wait::until;
use reqwest::{Client, Method};

use crate::cluster::{ADS, PLACARD, Replica, Servers, ad};

/// What PostgreSQL says of it is logged as a warning, which the pipe does not take.
#[tokio::test(flavor = "multi_thread")]
async fn a_replica_outlives_its_log_when_postgres_cuts_it_off() {
    let servers = Servers::start().await;
    let (postgres, redis) = (servers.postgres.url(), servers.redis.url());
    let variables =
        [("PLACARD_POSTGRES_URL", postgres.as_str()), ("PLACARD_REDIS_URL", redis.as_str())];
    let (reader, log) = pipe().expect("a pipe can be made");
    let serve = ["serve", "--listen", "127.0.0.1:0", "--drain-delay", "0"];
    let outputs = (Stdio::piped(), Stdio::from(log));
    let mut process = Process::start_into(PLACARD, &serve, &variables, outputs);
    let url = process.url().await;
    let client = Client::builder().no_proxy().build().expect("a client can be made");
    let replica = Replica::new(process, url, client);
    replica.create(ADS, "Before").await;
    drop(reader);
    for round in 0..3 {
        const CUT: &str = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
                           WHERE application_name = 'placard'";
        let cut = servers.postgres.sql(CUT).expect("PostgreSQL answers");
        assert_ne!(cut, "0", "round {round}");
        let key = format!("round-{round}");
        until("a write", async || {
            let answer = replica.send(Method::POST, ADS, Some(&ad("After")), Some(&key)).await;
            (answer.status() == 201).then_some(())
        })
        .await;
    }
    replica.process.terminate();
    assert_eq!(replica.process.ended().await.status.code(), Some(0));
}
