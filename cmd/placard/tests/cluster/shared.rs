//! Clusters that share a Redis without knowing of each other.

use placard_testkit::wait::until;
use reqwest::StatusCode;

use crate::cluster::{ADS, PLACARD, Replica, Servers};

/// Reads on each of the others after each write: longer than the stream needs to bring it.
const READS: usize = 25;
const ROUNDS: usize = 12;

/// Writes an ad, and reads it repeatedly on the replicas of the other clusters.
async fn write(on: &Replica, others: &[&Replica], title: &str) {
    let answer = on.create(ADS, title).await;
    let path = format!("{ADS}/{}", answer["id"].as_str().expect("an ad has an id"));
    for _ in 0..READS {
        for other in others {
            assert_eq!(other.get(&path).await.status(), StatusCode::NOT_FOUND, "{title}");
        }
    }
    assert_eq!(on.get(&path).await.status(), StatusCode::OK);
}

/// All in turn, so that their versions go together.
async fn all_write(replicas: [&Replica; 2]) {
    for round in 0..ROUNDS {
        let [one, other] = if round % 2 == 0 { replicas } else { [replicas[1], replicas[0]] };
        write(one, &[other], &format!("of one cluster, {round}")).await;
        write(other, &[one], &format!("of another cluster, {round}")).await;
    }
    for replica in replicas {
        let total = replica.json(&format!("{ADS}?limit=1")).await["total"].as_u64();
        assert!(total >= Some(2 * ROUNDS as u64 / 2), "{total:?}");
        let metrics = replica.get("/metrics").await.text().await.expect("the answer is text");
        for never in ["placard_forks_total", "placard_stream_rejects_total"] {
            assert!(metrics.contains(&format!("\n{never} 0\n")), "{never}");
        }
    }
}

/// An ad that was written to one was shown by the other, for as long as its journal took to contradict.
#[tokio::test(flavor = "multi_thread")]
async fn clusters_sharing_a_redis_show_only_their_own_ads() {
    let servers = Servers::start().await;
    servers.postgres.sql("CREATE DATABASE other").expect("a database can be made");
    let database = |name: &str| servers.postgres.url().replace("/postgres?", &format!("/{name}?"));
    let one = servers.replica(&[]).await;
    let other = servers.replica_at(PLACARD, &database("other"), &[]).await;
    all_write([&one, &other]).await;
    // A copy has the same history too.
    other.process.terminate();
    assert!(other.process.ended().await.status.success());
    until("a copy of the database", async || {
        servers.postgres.sql("CREATE DATABASE copy TEMPLATE other").ok()
    })
    .await;
    let other = servers.replica_at(PLACARD, &database("other"), &[]).await;
    let copy = servers.replica_at(PLACARD, &database("copy"), &[]).await;
    for replica in [&other, &copy] {
        replica.reaches(ROUNDS as u64).await;
    }
    all_write([&other, &copy]).await;
}
