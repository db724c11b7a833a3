//! kill -9 in the middle of a storm of writes, repeatedly: no acknowledged write is lost, no write is done twice, and
//! the log is complete.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use placard_testkit::ledger::Known;
use placard_testkit::seed::seed;
use placard_testkit::wait::until;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde_json::Value;
use tokio::task::JoinSet;
use uuid::Uuid;

use crate::journal;
use crate::server::{Server, client};
use crate::writer::{Shared, Writer};

const WRITERS: usize = 8;
const ROUNDS: usize = 8;
/// A round goes on for up to this number of answers.
const ANSWERS_MAX: usize = 600;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kills_in_a_write_storm_lose_and_double_nothing() {
    let seed = seed("placard", "storm");
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let directory = tempfile::tempdir().unwrap();
    let shared = Arc::new(Shared::default());
    let mut writers: Vec<_> = (0..WRITERS).map(|name| Writer::new(name, seed)).collect();
    let mut server = Server::on(directory.path()).await;
    let mut seen = 0;
    for round in 0..ROUNDS {
        let until_killed =
            shared.answered.load(Ordering::Relaxed) + rng.random_range(1..=ANSWERS_MAX);
        let mut storm = JoinSet::new();
        for mut writer in writers.drain(..) {
            let (url, shared) = (server.url.clone(), Arc::clone(&shared));
            storm.spawn(async move {
                writer.storm(&client(), &url, &shared).await;
                writer
            });
        }
        let reading = tokio::spawn(read(server.url.clone(), seen));
        until("enough answers", async || {
            (shared.answered.load(Ordering::Relaxed) >= until_killed).then_some(())
        })
        .await;
        if round % 4 == 3 {
            // Asked to stop, it finishes what it has begun.
            server.stop().await;
        } else {
            server.process.kill().await;
        }
        writers = storm.join_all().await;
        seen = reading.await.expect("the reader does not panic");

        server = Server::on(directory.path()).await;
        let mut settling = JoinSet::new();
        for mut writer in writers.drain(..) {
            let (url, shared) = (server.url.clone(), Arc::clone(&shared));
            settling.spawn(async move {
                writer.settle(&client(), &url, &shared).await;
                writer
            });
        }
        writers = settling.join_all().await;
        compare(&server, directory.path(), &shared).await;
        println!(
            "round {round}: {} writes are answered for",
            shared.answered.load(Ordering::Relaxed)
        );
    }
    server.stop().await;
}

/// Reads until the server is gone: no read is older than the one before, across kills. The version seen last.
async fn read(url: String, mut seen: u64) -> u64 {
    let client = client();
    while let Ok(answer) = client.get(format!("{url}/api/v1/ad?min_version={seen}")).send().await {
        assert_eq!(answer.status(), 200, "what was seen at version {seen} is gone");
        let version = answer.headers()["placard-version"].to_str().map(str::parse);
        let version = version.ok().and_then(Result::ok).expect("a version is a number");
        assert!(version >= seen, "{version} was read after {seen}");
        seen = version;
    }
    seen
}

/// The journal's file, the server's answers and the ledger say the same.
async fn compare(server: &Server, directory: &Path, shared: &Shared) {
    let ledger = shared.ledger.lock().expect("no writer panics").clone();
    let journal = journal::read(directory);
    // Every acknowledged write is one entry, and there is no entry beside them.
    assert!(ledger.versions().iter().copied().eq(1..=journal.version), "lost or done twice");
    assert_eq!(&journal.ads, ledger.ads());
    assert_eq!(&served(server, journal.version).await, ledger.ads());
}

/// All ads that the server serves, page by page.
async fn served(server: &Server, version: u64) -> BTreeMap<Uuid, Known> {
    let mut ads = BTreeMap::new();
    loop {
        let path = format!("/api/v1/ad?limit=100&offset={}&min_version={version}", ads.len());
        let page = server.json(&path).await;
        let listed = page["ads"].as_array().unwrap_or_else(|| panic!("{page}"));
        if listed.is_empty() {
            assert_eq!(page["total"], ads.len());
            return ads;
        }
        for ad in listed {
            let text = |name: &str| ad[name].as_str().expect("it is text").to_owned();
            let id = text("id").parse().expect("an id is a UUID");
            let version = ad.get("version").and_then(Value::as_u64).expect("an ad has a version");
            assert!(
                ads.insert(id, Known { version, title: text("title") }).is_none(),
                "{id} twice"
            );
        }
    }
}
