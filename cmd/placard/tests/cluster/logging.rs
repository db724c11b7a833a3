//! What a replica logs about ports that fail, and what happens to a replica whose log has no reader any more.

use std::cell::Cell;
use std::io::pipe;
use std::process::Stdio;
use std::time::Duration;

use placard_testkit::process::Process;
use placard_testkit::replica::Serve;
use placard_testkit::wait::until;
use reqwest::{Client, Method};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::cluster::{ADS, PLACARD, Replica, Servers, ad, name};

/// PostgreSQL's error about it is logged as a warning, which the pipe does not take.
#[tokio::test(flavor = "multi_thread")]
async fn replica_with_closed_log_survives_connection_loss() {
    let servers = Servers::start().await;
    let (postgres, redis) = (servers.postgres.url(), servers.redis.url());
    let (reader, log) = pipe().expect("a pipe can be made");
    let serve = Serve {
        listen: "127.0.0.1:0",
        drain_delay: "0",
        postgres_url: &postgres,
        redis_url: &redis,
        options: &[],
    };
    let outputs = (Stdio::piped(), Stdio::from(log));
    let (arguments, variables) = (serve.arguments(), serve.variables());
    let mut process = Process::start_into(PLACARD, &arguments, &variables, outputs);
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

/// Each kind of access logs that it fails, and that it works again, however often it was tried in between.
#[tokio::test(flavor = "multi_thread")]
async fn redis_outage_is_logged_at_its_start_and_end() {
    /// How long Redis is away. Eight times a second a replica tries to reach it.
    const AWAY: Duration = Duration::from_secs(3);
    const READS: &str = "the stream cannot be read";
    let mut servers = Servers::start().await;
    let replica = servers.replica(&[]).await;
    replica.create(ADS, "Before").await;
    servers.redis.kill().await;
    let back = tokio::time::Instant::now() + AWAY;
    while tokio::time::Instant::now() < back {
        replica.create(ADS, "Meanwhile").await;
        tokio::time::sleep(AWAY / 20).await;
    }
    servers.redis.restart().await.expect("Redis starts again");
    let over = format!("over: {READS}");
    let told = until("the end of the outage in the log", async || {
        replica.process.err().into_iter().find(|line| line.contains(&over))
    })
    .await;
    let failures = told.split("failures=").nth(1).and_then(|rest| rest.split(' ').next());
    let failures: u64 = failures.and_then(|text| text.parse().ok()).expect("it says how many");
    let err = replica.process.err();
    let warnings = |what: &str| {
        let is_one = |line: &&String| line.contains(" WARN ") && line.contains(what);
        err.iter().filter(is_one).count() as u64
    };
    // A connection is lost, and then refused.
    assert!((1..=4).contains(&warnings(READS)) && failures > 4, "{failures}: {err:#?}");
    for what in ["cannot append to the stream", "cannot read the stream's last entry"] {
        assert!(warnings(what) <= 4, "{what}: {err:#?}");
    }
    // The attempt a moment before shows why.
    let refused = |line: &&String| line.contains(READS) && line.contains("Connection refused");
    assert_eq!(err.iter().filter(refused).count(), 1, "{err:#?}");
    assert!(!err.concat().contains("a moment ago"), "{err:#?}");
    replica.process.terminate();
    assert_eq!(replica.process.ended().await.status.code(), Some(0));
}

/// Waits for the first line of its log with these words.
async fn line(process: &Process, words: &str) -> String {
    until(words, async || process.err().into_iter().find(|line| line.contains(words))).await
}

/// Returns the number of lines of its log that have these words.
fn count(process: &Process, words: &str) -> usize {
    process.err().iter().filter(|line| line.contains(words)).count()
}

#[tokio::test(flavor = "multi_thread")]
async fn start_without_redis_or_postgresql_logs_the_cause() {
    let mut servers = Servers::start().await;
    let directory = tempfile::tempdir().expect("a directory can be made");
    let keep = ["--data-dir", name(directory.path()), "--checkpoint-every", "1"];
    let wrong = format!("redis://nobody:guessed@127.0.0.1:{}", servers.redis.port());
    let postgres = servers.postgres.url();
    let replica = Replica::start(PLACARD, (&postgres, &wrong), &keep).await;
    let told = line(&replica.process, "until the stream can be used").await;
    assert!(told.contains("cannot connect: Redis refuses the user or the password"), "{told}");
    replica.create(ADS, "In the checkpoint").await;
    line(&replica.process, "the stream cannot be read").await;
    let checkpoint = directory.path().join("checkpoint");
    until("a checkpoint", async || checkpoint.exists().then_some(())).await;
    replica.process.kill().await;
    servers.postgres.stop().await.expect("PostgreSQL stops");
    let replica = Replica::launch(PLACARD, (&postgres, &wrong), &keep).await;
    let told = line(&replica.process, "starting from the checkpoint").await;
    assert!(told.contains("refused"), "{told}");
}

/// There may be no second one for hours, if nothing is written.
#[tokio::test(flavor = "multi_thread")]
async fn checkpoint_outage_ends_with_a_written_checkpoint() {
    const FAILS: &str = "the checkpoint cannot be written";
    let servers = Servers::start().await;
    let parent = tempfile::tempdir().expect("a directory can be made");
    let (directory, away) = (parent.path().join("data"), parent.path().join("away"));
    let keep = ["--data-dir", name(&directory), "--checkpoint-every", "1"];
    let replica = servers.replica(&keep).await;
    std::fs::rename(&directory, &away).expect("it can be moved");
    replica.create(ADS, "Not in a checkpoint yet").await;
    line(&replica.process, FAILS).await;
    std::fs::rename(&away, &directory).expect("it can be moved");
    line(&replica.process, &format!("over: {FAILS}")).await;
    assert_eq!(count(&replica.process, FAILS), 2, "{:#?}", replica.process.err());
}

#[tokio::test(flavor = "multi_thread")]
async fn failing_restores_are_logged_once_per_outage() {
    const FAILS: &str = "the journal's ads cannot be restored";
    let servers = Servers::start().await;
    let first = servers.replica(&[]).await;
    first.create(ADS, "Damaged, and mended").await;
    let sql = |text: &str| servers.postgres.sql(text).expect("PostgreSQL answers");
    sql("CREATE TABLE kept AS SELECT * FROM ads; UPDATE ads SET encoded = '\\x00'");
    let urls = (servers.postgres.url(), servers.redis.url());
    let second = Replica::launch(PLACARD, (&urls.0, &urls.1), &[]).await;
    let told = line(&second.process, FAILS).await;
    assert!(told.contains("an ad cannot be decoded"), "{told}");
    sql("UPDATE ads SET encoded = kept.encoded FROM kept WHERE kept.id = ads.id");
    line(&second.process, &format!("over: {FAILS}")).await;
    second.reaches(1).await;
    assert_eq!(count(&second.process, FAILS), 2, "{:#?}", second.process.err());
}

/// The log named the line of PostgreSQL's own source, and the layers of the queue that had met the error.
#[tokio::test(flavor = "multi_thread")]
async fn queue_error_is_logged_in_words_without_repetition() {
    let servers = Servers::start().await;
    let replica = servers.replica(&[]).await;
    replica.create(ADS, "Ends soon").await;
    servers.postgres.sql("ALTER SCHEMA apalis RENAME TO gone").expect("PostgreSQL answers");
    let failed = until("the queue's failure in the log", async || {
        replica.process.err().into_iter().find(|line| line.contains("the queue of expiry fails"))
    })
    .await;
    let says = "error=PostgreSQL says: ";
    assert!(failed.contains(says) && failed.matches("does not exist").count() == 1, "{failed}");
    assert!(!replica.process.err().concat().contains("at line"), "{:#?}", replica.process.err());
}

/// It named apalis' error types and the line in PostgreSQL's source.
#[tokio::test(flavor = "multi_thread")]
async fn failed_poll_of_the_queue_is_logged_in_one_sentence() {
    const SAYS: &str = "error=PostgreSQL says: ";
    let servers = Servers::start().await;
    let replica = servers.replica(&[]).await;
    replica.create(ADS, "Ends soon").await;
    let nth = Cell::new(0);
    let failed = until("a failed poll of the queue", async || {
        // What a poll returns has the form of this table, which PostgreSQL compares with the one of the last poll. There is
        // no table and no poll at first.
        nth.set(nth.get() + 1);
        let add = format!("ALTER TABLE apalis.jobs ADD COLUMN added_{} integer", nth.get());
        let _ = servers.postgres.sql(&add);
        replica.process.err().into_iter().find(|line| line.contains("the queue of expiry fails"))
    })
    .await;
    assert!(failed.contains(SAYS), "{failed}");
    assert!(!failed.contains("at line") && !failed.contains("PollNextError"), "{failed}");
}

/// The log said once in the life of a process that the connection was missing, and never that it was back.
#[tokio::test(flavor = "multi_thread")]
async fn commit_outage_is_logged_at_its_start_and_end() {
    const NONE: &str = "there is no connection to commit with";
    let mut servers = Servers::start().await;
    let replica = servers.replica(&[]).await;
    replica.create(ADS, "Before").await;
    servers.postgres.kill().await;
    let says = async |what: &str| {
        let what = what.to_owned();
        until("a line of the log", async || {
            replica.process.err().into_iter().find(|line| line.contains(&what))
        })
        .await
    };
    let begun = says(NONE).await;
    assert!(begun.contains("Connection refused"), "{begun}");
    // The queue's connections come from elsewhere, and fail for the same reason.
    let queue = says("the queue of expiry fails").await;
    assert!(!queue.contains("pool timed out"), "{queue}");
    servers.postgres.restart().await.expect("PostgreSQL starts again");
    says(&format!("over: {NONE}")).await;
}

/// Sends commands to Redis, and waits for its answers, none of which may be an error.
async fn says(servers: &Servers, commands: &str) {
    let redis = TcpStream::connect(("127.0.0.1", servers.redis.port())).await;
    let mut redis = redis.expect("Redis takes connections");
    redis.write_all(commands.as_bytes()).await.expect("Redis listens");
    redis.shutdown().await.expect("Redis listens");
    let mut answers = String::new();
    redis.read_to_string(&mut answers).await.expect("Redis answers");
    assert!(!answers.contains('-'), "{answers}");
}

/// A replica on a stream that it cannot use is ready, and says so in its pages and its log, until it can use the
/// stream.
#[tokio::test(flavor = "multi_thread")]
async fn unusable_stream_is_reported_with_its_cause() {
    let mut servers = Servers::start().await;
    let replica = servers.replica(&[]).await;
    replica.create(ADS, "By the stream").await;
    let fault = async |says: &'static str| {
        until(says, async || {
            let page = replica.json("/readyz").await;
            assert_eq!(page["status"], "ready");
            page["stream_fault"].as_str().filter(|fault| fault.contains(says)).map(str::to_owned)
        })
        .await
    };
    let works = async || {
        until("the stream to be used", async || {
            let page = replica.json("/readyz").await;
            (page["stream_fault"] == Value::Null).then_some(())
        })
        .await;
    };
    works().await;
    assert_eq!(replica.cluster().await["stream"].get("fault"), None);
    servers.redis.kill().await;
    fault("cannot connect: Connection refused").await;
    replica.create(ADS, "By the journal").await;
    servers.redis.restart().await.expect("Redis starts again");
    says(&servers, "CONFIG SET requirepass opensesame\r\nCLIENT KILL TYPE normal\r\n").await;
    fault("none is given (NOAUTH)").await;
    let told = replica.cluster().await["stream"]["fault"].clone();
    let status = ["status", "--target", &replica.url, "--once"];
    let shown = Process::start(PLACARD, &status, &[]).ended().await;
    let line = shown.out.iter().find(|line| line.contains("not used")).expect("status says it");
    assert!(line.contains("NOAUTH") && told.as_str().is_some_and(|told| line.contains(told)));
    says(&servers, "AUTH opensesame\r\nCONFIG SET requirepass \"\"\r\n").await;
    works().await;
    replica.create(ADS, "By the stream again").await;
}

/// Until its lease was over it was shown as ready, and for an hour it was counted as compared.
#[tokio::test(flavor = "multi_thread")]
async fn killed_replica_is_not_shown_ready_or_compared() {
    let servers = Servers::start().await;
    let [one, other] = servers.replicas::<2>().await;
    one.create(ADS, "On both").await;
    other.reaches(1).await;
    let url = servers.postgres.url();
    let verify = ["verify", "--postgres-url", &url, "--target", &one.url];
    until("both to be compared", async || {
        let ended = Process::start(PLACARD, &verify, &[]).ended().await;
        assert!(ended.status.success(), "{:?}", ended.err);
        ended.out[0].contains("2 replicas compared").then_some(())
    })
    .await;
    let address = other.url.trim_start_matches("http://").to_owned();
    other.process.kill().await;
    let status = ["status", "--target", &one.url, "--once"];
    until("the one that was killed in the table", async || {
        let shown = Process::start(PLACARD, &status, &[]).ended().await;
        let row = shown.out.iter().find(|line| line.starts_with(&address)).expect("it has a row");
        row.contains("not heard of for ").then_some(())
    })
    .await;
    let ended = Process::start(PLACARD, &verify, &[]).ended().await;
    assert!(ended.status.success() && ended.out[0].contains("1 replicas compared"), "{ended:#?}");
    let told = ended.out.iter().find(|line| line.contains("is not compared"));
    assert!(told.is_some_and(|told| told.contains(&address)), "{ended:#?}");
}
