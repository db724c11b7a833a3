//! Replicas whose machine's clock differs from PostgreSQL's: ads are shown by PostgreSQL's. These tests set
//! PostgreSQL's clock wrong, which has the same effect.

use std::time::{Duration, SystemTime};

use placard_model::Timestamp;
use placard_testkit::proxy::{Flow, Proxy, Then, Way};
use placard_testkit::wait::until;
use reqwest::Method;
use serde_json::{Value, json};

use crate::cluster::{ADS, PLACARD, Replica, Servers, name};

const SECOND: i64 = 1_000_000;

/// Returns the time of this machine's clock plus `seconds`.
fn in_seconds(seconds: i64) -> Timestamp {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("it is past 1970");
    let micros = i64::try_from(since.as_micros()).expect("a time in range");
    Timestamp::EPOCH.saturating_add_micros(micros + seconds * SECOND)
}

/// Creates an ad with this window, both in seconds from now; its id.
async fn create(replica: &Replica, title: &str, begins: i64, ends: i64) -> String {
    let body = json!({
        "title": title, "content": "for everyone",
        "start_at": in_seconds(begins).to_string(), "end_at": in_seconds(ends).to_string(),
    });
    let answer = replica.send(Method::POST, ADS, Some(&body), None).await;
    let (status, ad) = (answer.status(), answer.json::<Value>().await.expect("the answer is JSON"));
    assert_eq!(status, 201, "{ad}");
    ad["id"].as_str().expect("an ad has an id").to_owned()
}

async fn status(replica: &Replica, id: &str) -> String {
    let ad = replica.json(&format!("{ADS}/{id}")).await;
    ad["status"].as_str().unwrap_or_else(|| panic!("no status in {ad}")).to_owned()
}

/// The titles of the ads that are listed.
async fn listed(replica: &Replica) -> Vec<String> {
    let page = replica.json(ADS).await;
    let ads = page["ads"].as_array().expect("a listing has ads");
    let title = |ad: &Value| ad["title"].as_str().expect("an ad has a title").to_owned();
    let mut titles: Vec<_> = ads.iter().map(title).collect();
    titles.sort();
    titles
}

/// A machine that was 60 s fast showed what had not begun, and hid what had not ended, for ten minutes.
#[tokio::test(flavor = "multi_thread")]
async fn first_answer_already_follows_postgresqls_clock() {
    for ahead in [-60, 60] {
        let servers = Servers::start().await;
        servers.postgres.set_clock(ahead).expect("its clock can be set");
        let replica = servers.replica(&[]).await;
        replica.reaches(0).await;
        // By PostgreSQL's clock each is half a minute on the one side or on the other.
        let begun = create(&replica, "begun", ahead - 30, ahead + 3_600).await;
        let to_begin = create(&replica, "to begin", ahead + 30, ahead + 3_600).await;
        let to_end = create(&replica, "to end", ahead - 3_600, ahead + 30).await;
        for restarted in [None, Some(servers.replica(&[]).await)] {
            let replica = restarted.as_ref().unwrap_or(&replica);
            replica.reaches(3).await;
            assert_eq!(status(replica, &begun).await, "active", "{ahead}");
            assert_eq!(status(replica, &to_begin).await, "scheduled", "{ahead}");
            assert_eq!(status(replica, &to_end).await, "active", "{ahead}");
            assert_eq!(listed(replica).await, ["begun", "to end"], "{ahead}");
        }
    }
}

/// Readers' clocks followed PostgreSQL's forward at once, but back only gradually, by one part in ten; and ads that the
/// index had dropped stayed out.
#[tokio::test(flavor = "multi_thread")]
async fn readers_follow_postgresqls_clock_when_set_back() {
    let servers = Servers::start().await;
    servers.postgres.set_clock(0).expect("its clock can be set");
    let replica = servers.replica(&[]).await;
    replica.reaches(0).await;
    create(&replica, "ends in half an hour", -30, 1_800).await;
    create(&replica, "begins in half an hour", 1_800, 7_200).await;
    assert_eq!(listed(&replica).await, ["ends in half an hour"]);
    servers.postgres.set_clock(3_600).expect("its clock can be set");
    until("readers to follow", async || {
        (listed(&replica).await == ["begins in half an hour"]).then_some(())
    })
    .await;
    servers.postgres.set_clock(0).expect("its clock can be set");
    until("readers to follow back", async || {
        (listed(&replica).await == ["ends in half an hour"]).then_some(())
    })
    .await;
}

/// A checkpoint is read by the machine's clock, and the index must undo what it did by that clock.
#[tokio::test(flavor = "multi_thread")]
async fn journal_corrects_checkpoint_read_by_a_fast_clock() {
    let servers = Servers::start().await;
    servers.postgres.set_clock(-3_600).expect("its clock can be set");
    let proxy = Proxy::start(servers.postgres.port()).await.expect("a proxy starts");
    let postgres = servers.postgres.url_through(proxy.port());
    let directory = tempfile::tempdir().expect("a directory can be made");
    let arguments = ["--data-dir", name(directory.path()), "--checkpoint-every", "1"];
    let redis = servers.redis.url();
    let start = async || Replica::start(PLACARD, (&postgres, &redis), &arguments).await;
    let replica = start().await;
    replica.reaches(0).await;
    create(&replica, "ends in half an hour", -7_200, -1_800).await;
    create(&replica, "begins in half an hour", -1_800, 7_200).await;
    let checkpoint = directory.path().join("checkpoint");
    until("a checkpoint with both", async || {
        let bytes = std::fs::read(&checkpoint).ok()?;
        let has = |title: &str| bytes.windows(title.len()).any(|text| text == title.as_bytes());
        (has("ends in half an hour") && has("begins in half an hour")).then_some(())
    })
    .await;
    replica.process.kill().await;
    proxy.refuse(true);
    proxy.cut();
    let replica = start().await;
    let answer = until("an answer from the checkpoint", async || {
        let answer = replica.get(ADS).await;
        (answer.status() == 200).then_some(answer)
    })
    .await;
    // It has nothing better, and says so.
    assert_eq!(answer.headers()["placard-clock"], "machine");
    assert_eq!(listed(&replica).await, ["begins in half an hour"]);
    let ready = replica.get("/readyz").await;
    assert_eq!(
        (ready.status().as_u16(), ready.headers()["placard-clock"].as_bytes()),
        (200, &b"machine"[..])
    );
    assert_eq!(metric(&replica, "placard_clock_anchored").await, "0");
    proxy.refuse(false);
    let answer = until("an answer by the journal's clock", async || {
        let answer = replica.get(ADS).await;
        (!answer.headers().contains_key("placard-clock")).then_some(answer)
    })
    .await;
    let page: Value = answer.json().await.expect("the answer is JSON");
    assert_eq!(page["ads"][0]["title"], "ends in half an hour", "{page}");
    assert_eq!(listed(&replica).await, ["ends in half an hour"]);
    assert_eq!(metric(&replica, "placard_clock_anchored").await, "1");
}

async fn metric(replica: &Replica, name: &str) -> String {
    let text = replica.get("/metrics").await.text().await.expect("the answer is text");
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("no {name} in {text}")).to_owned()
}

/// Half of the time to connect was added to the readers' clock: ads were shown that long before they began.
#[tokio::test(flavor = "multi_thread")]
async fn time_to_connect_is_no_part_of_the_journals_time() {
    const ADS_MAX: i64 = 600;
    const APART: i64 = 100_000;
    /// Less than a head poll may take.
    const HELD: Duration = Duration::from_millis(1_200);
    /// Half of what a poll takes, on a busy machine.
    const BOUND: i64 = 300_000;
    let servers = Servers::start().await;
    let other = servers.replica(&[]).await;
    other.reaches(0).await;
    // One ad begins every 0.1 s, so that the number of shown ads gives the readers' time.
    let first = in_seconds(1);
    let begins = |nth: i64| first.saturating_add_micros(nth * APART);
    let ad = |nth| {
        json!({
            "title": "One of many", "content": "for everyone",
            "start_at": begins(nth).to_string(), "end_at": in_seconds(3_600).to_string(),
        })
    };
    let batch = Value::from((0..ADS_MAX).map(ad).collect::<Vec<_>>());
    let path = format!("{ADS}/batch");
    assert_eq!(other.send(Method::POST, &path, Some(&batch), None).await.status(), 200);
    let proxy = Proxy::start(servers.postgres.port()).await.expect("a proxy starts");
    let postgres = servers.postgres.url_through(proxy.port());
    // The first head poll prepares its statement, which takes long.
    proxy.trap(b"statement_timestamp() AS now", Then::HoldAnswers);
    let redis = servers.redis.url();
    let held = async {
        proxy.sprung().await;
        tokio::time::sleep(HELD).await;
        proxy.set(Way::Answers, Flow::Pass);
    };
    let (replica, ()) = tokio::join!(Replica::start(PLACARD, (&postgres, &redis), &[]), held);
    let path = format!("{ADS}?limit=1");
    for _ in 0..50 {
        let before = in_seconds(0);
        let shown = replica.json(&path).await["total"].as_i64().expect("a listing has a total");
        let after = in_seconds(0);
        assert!((1..ADS_MAX).contains(&shown), "{shown} says nothing");
        let (last, next) = (begins(shown - 1), begins(shown));
        assert!(last <= after.saturating_add_micros(BOUND), "{last} has begun at {after}");
        assert!(next >= before.saturating_add_micros(-BOUND), "{next} has not begun at {before}");
    }
}
