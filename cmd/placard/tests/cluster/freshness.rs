//! Replicas that poll the journal's head and do not get its entries: a path that swallows large packets lets head polls
//! through, and nothing that contains an ad. Their state is old, however recent their last head poll is.

use placard_testkit::proxy::{Flow, Proxy, Way};
use placard_testkit::wait::until;
use reqwest::{Method, Response, StatusCode};
use serde_json::{Value, json};

use crate::cluster::{ADS, PLACARD, Replica, Servers, name, version};

/// More than a head poll is answered, and less than a log with a large ad in it.
const FITS: usize = 4_096;

/// A replica's path to both servers.
struct Path {
    postgres: Proxy,
    redis: Proxy,
    urls: [String; 2],
}

impl Path {
    async fn new(servers: &Servers) -> Self {
        let proxy = async |port| Proxy::start(port).await.expect("a proxy starts");
        let postgres = proxy(servers.postgres.port()).await;
        let redis = proxy(servers.redis.port()).await;
        let urls = [
            servers.postgres.url_through(postgres.port()),
            format!("redis://127.0.0.1:{}", redis.port()),
        ];
        Self { postgres, redis, urls }
    }

    async fn replica(&self, arguments: &[&str]) -> Replica {
        Replica::start(PLACARD, (&self.urls[0], &self.urls[1]), arguments).await
    }

    /// One that may refuse everything for now.
    async fn launch(&self, arguments: &[&str]) -> Replica {
        Replica::launch(PLACARD, (&self.urls[0], &self.urls[1]), arguments).await
    }

    /// Sets whether large packets are swallowed; nothing comes by Redis then.
    fn swallow(&self, swallows: bool) {
        let (large, any) = match swallows {
            true => (Flow::Swallow(FITS), Flow::Hold),
            false => (Flow::Pass, Flow::Pass),
        };
        self.postgres.set(Way::Answers, large);
        self.redis.set(Way::Answers, any);
    }

    /// Sets whether both servers are unreachable: new connections are refused, and existing ones cut.
    fn refuse(&self, refuses: bool) {
        for proxy in [&self.postgres, &self.redis] {
            proxy.refuse(refuses);
            if refuses {
                proxy.cut();
            }
        }
    }
}

async fn id(replica: &Replica, title: &str) -> String {
    let ad = replica.create(ADS, title).await;
    ad["id"].as_str().expect("an ad has an id").to_owned()
}

/// Creates an ad that does not fit through; its version.
async fn large(replica: &Replica) -> u64 {
    let mut ad = crate::cluster::ad("a large one");
    ad["content"] = "x".repeat(9_000).into();
    let answer = replica.send(Method::POST, ADS, Some(&ad), None).await;
    assert_eq!(answer.status(), StatusCode::CREATED);
    version(&answer)
}

/// Returns how old an answer says that it may be, in milliseconds.
fn stale(answer: &Response) -> Option<u64> {
    let value = answer.headers().get("placard-stale")?;
    Some(value.to_str().ok().and_then(|text| text.parse().ok()).expect("an age is a number"))
}

/// Returns the status and the text of `/readyz`.
async fn readiness(replica: &Replica) -> (u16, String) {
    let answer = replica.get("/readyz").await;
    let status = answer.status().as_u16();
    let page: Value = answer.json().await.expect("the answer is JSON");
    (status, page["status"].as_str().expect("a status").to_owned())
}

async fn metric(replica: &Replica, name: &str) -> f64 {
    let text = replica.get("/metrics").await.text().await.expect("the answer is text");
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.and_then(|value| value.parse().ok()).unwrap_or_else(|| panic!("no {name} in {text}"))
}

async fn becomes(replica: &Replica, code: u16, status: &str) {
    until(&format!("{code} {status} of /readyz"), async || {
        (readiness(replica).await == (code, status.to_owned())).then_some(())
    })
    .await;
}

/// It was ready, and showed deleted ads silently, from the first head poll on.
#[tokio::test(flavor = "multi_thread")]
async fn old_checkpoint_is_behind_until_it_has_caught_up() {
    for refuses in [false, true] {
        let servers = Servers::start().await;
        let by = servers.replica(&[]).await;
        let path = Path::new(&servers).await;
        let directory = tempfile::tempdir().expect("a directory can be made");
        let mode = if refuses { "refuse" } else { "serve" };
        let arguments =
            ["--data-dir", name(directory.path()), "--checkpoint-every", "1", "--on-stale", mode];
        let replica = path.replica(&arguments).await;
        by.reaches(0).await;
        let taken_down = format!("{ADS}/{}", id(&by, "to be taken down").await);
        let checkpoint = directory.path().join("checkpoint");
        until("a checkpoint with the ad", async || {
            let bytes = std::fs::read(&checkpoint).ok()?;
            bytes.windows(16).any(|text| text == b"to be taken down").then_some(())
        })
        .await;
        replica.process.kill().await;
        assert_eq!(by.send(Method::DELETE, &taken_down, None, None).await.status(), 200);
        let newest = large(&by).await;
        path.refuse(true);
        let replica = path.launch(&arguments).await;
        if refuses {
            becomes(&replica, 503, "stale").await;
        } else {
            let answer = until("an answer from the checkpoint", async || {
                let answer = replica.get(&taken_down).await;
                (answer.status() == StatusCode::OK).then_some(answer)
            })
            .await;
            // Nobody knows how old it is.
            assert_eq!(stale(&answer), Some(999_999_999_999_999));
            assert_eq!(readiness(&replica).await, (200, "stale".to_owned()));
            assert!(metric(&replica, "placard_stale_seconds").await.is_infinite());
        }
        // PostgreSQL is heard of, and what it has does not come.
        path.swallow(true);
        path.refuse(false);
        if refuses {
            until("a poll that succeeds", async || {
                (metric(&replica, "placard_head_version").await >= newest as f64).then_some(())
            })
            .await;
            for _ in 0..50 {
                assert_eq!(replica.get(&taken_down).await.status(), 503);
            }
            assert_eq!(readiness(&replica).await.0, 503);
        } else {
            becomes(&replica, 200, "behind").await;
            assert_eq!(metric(&replica, "placard_behind").await, 1.0);
            for _ in 0..50 {
                let answer = replica.get(&taken_down).await;
                assert_eq!(
                    (answer.status(), stale(&answer)),
                    (StatusCode::OK, Some(999_999_999_999_999))
                );
            }
            let ready = replica.get("/readyz").await;
            assert_eq!(stale(&ready), Some(999_999_999_999_999));
        }
        path.swallow(false);
        until("the ad to be gone", async || {
            let answer = replica.get(&taken_down).await;
            let (status, stale) = (answer.status(), stale(&answer));
            assert!(status != StatusCode::OK || stale.is_some(), "shown as if it were current");
            (status == StatusCode::NOT_FOUND && stale.is_none()).then_some(())
        })
        .await;
        replica.reaches(newest).await;
        assert_eq!(metric(&replica, "placard_behind").await, 0.0);
    }
}

/// It was ready and unmarked for ever, also under `refuse`, though it was ever further behind.
#[tokio::test(flavor = "multi_thread")]
async fn replica_that_polls_but_gets_no_entries_is_behind() {
    for refuses in [false, true] {
        let servers = Servers::start().await;
        let by = servers.replica(&[]).await;
        let path = Path::new(&servers).await;
        let mode = if refuses { "refuse" } else { "serve" };
        let replica = path.replica(&["--on-stale", mode, "--stale-max", "1000"]).await;
        by.reaches(0).await;
        let taken_down = id(&by, "to be taken down").await;
        replica.reaches(1).await;
        path.swallow(true);
        let newest = large(&by).await;
        // Head polls go on, and so do its renewals in the register.
        if refuses {
            becomes(&replica, 503, "behind").await;
            let answer = replica.get(ADS).await;
            assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE);
        } else {
            becomes(&replica, 200, "behind").await;
            let answer = replica.get(ADS).await;
            let stale = stale(&answer).expect("it says how old it is");
            assert_eq!(answer.status(), StatusCode::OK);
            assert!((2_000..999_999_999_999_999).contains(&stale), "{stale} ms");
        }
        assert!(metric(&replica, "placard_stale_seconds").await > 2.0);
        // It has not published the takedown, and is not silent.
        let path_of_it = format!("{ADS}/{taken_down}?ack=all");
        let answer = by.send(Method::DELETE, &path_of_it, None, None).await;
        assert_eq!(answer.status(), StatusCode::ACCEPTED);
        let receipts: Value = answer.json().await.expect("the answer is JSON");
        let unconfirmed = receipts["receipts"]["unconfirmed"].as_array().map(Vec::len);
        assert_eq!(unconfirmed, Some(1), "{receipts}");
        path.swallow(false);
        becomes(&replica, 200, "ready").await;
        replica.reaches(newest + 1).await;
        let answer = replica.get(ADS).await;
        assert_eq!((answer.status(), stale(&answer)), (StatusCode::OK, None));
        let page: Value = answer.json().await.expect("the answer is JSON");
        assert_eq!(page["total"], json!(1), "{page}");
    }
}
