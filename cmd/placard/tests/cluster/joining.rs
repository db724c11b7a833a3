//! Replicas that come, go and come back.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use placard_testkit::wait::until;
use reqwest::StatusCode;

use crate::cluster::{ADS, Servers, name};

#[tokio::test(flavor = "multi_thread")]
async fn replicas_that_join_during_writes_are_equal() {
    let servers = Servers::start().await;
    let first = servers.replica(&[]).await;
    let (stop, written) = (AtomicBool::new(false), AtomicU64::new(0));
    let writing = async {
        while !stop.load(Ordering::Relaxed) {
            first.create(ADS, "written while others join").await;
            written.fetch_add(1, Ordering::Relaxed);
        }
    };
    let joining = async {
        let mut joined = Vec::new();
        for _ in 0..2 {
            let before = written.load(Ordering::Relaxed);
            let replica = servers.replica(&[]).await;
            // Ready means at or above the head at the time of joining.
            let total = replica.json(&format!("{ADS}?limit=1")).await["total"].as_u64();
            assert!(total >= Some(before), "{total:?} of {before}");
            joined.push(replica);
        }
        stop.store(true, Ordering::Relaxed);
        joined
    };
    let ((), joined) = tokio::join!(writing, joining);
    let total = written.load(Ordering::Relaxed);
    for replica in &joined {
        replica.reaches(total).await;
        assert_eq!(replica.json(&format!("{ADS}?limit=1")).await["total"], total);
    }
    servers.verify(&joined[1]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_replica_restarts_from_its_checkpoint() {
    let servers = Servers::start().await;
    let directory = tempfile::tempdir().expect("a directory can be made");
    let arguments = ["--data-dir", name(directory.path()), "--checkpoint-every", "1"];
    let replica = servers.replica(&arguments).await;
    for nth in 0..20 {
        replica.create(ADS, &format!("before, {nth}")).await;
    }
    let checkpoint = directory.path().join("checkpoint");
    until("a checkpoint", async || checkpoint.exists().then_some(())).await;
    replica.process.kill().await;
    let other = servers.replica(&[]).await;
    other.create(ADS, "while it was away").await;
    let back = servers.replica(&arguments).await;
    back.reaches(21).await;
    assert_eq!(back.json(ADS).await["total"], 21);
    let metrics = back.get("/metrics").await.text().await.expect("the answer is text");
    assert!(metrics.contains("placard_checkpoints_loaded_total 1"), "{metrics}");
    for cause in ["start", "fork", "digest", "gap", "format"] {
        let none = format!("placard_restores_total{{cause=\"{cause}\"}} 0\n");
        assert!(metrics.contains(&none), "{metrics}");
    }
    let metrics = other.get("/metrics").await.text().await.expect("the answer is text");
    assert!(metrics.contains("placard_restores_total{cause=\"start\"} 1\n"), "{metrics}");
    servers.verify(&back).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn checkpoint_lets_replica_serve_without_postgresql() {
    let mut servers = Servers::start().await;
    let directory = tempfile::tempdir().expect("a directory can be made");
    let arguments = ["--data-dir", name(directory.path()), "--checkpoint-every", "1"];
    let replica = servers.replica(&arguments).await;
    replica.create(ADS, "there before").await;
    let checkpoint = directory.path().join("checkpoint");
    until("a checkpoint", async || checkpoint.exists().then_some(())).await;
    replica.process.kill().await;
    servers.postgres.stop().await.expect("PostgreSQL stops");
    let back = servers.replica(&arguments).await;
    assert_eq!(back.json(ADS).await["total"], 1);
    assert_eq!(back.get("/readyz").await.status(), StatusCode::OK);
    servers.postgres.restart().await.expect("PostgreSQL starts");
    until("a write that goes through", async || {
        let body = crate::cluster::ad("there after");
        let answer = back.send(reqwest::Method::POST, ADS, Some(&body), Some("after")).await;
        (answer.status() == StatusCode::CREATED).then_some(())
    })
    .await;
    assert_eq!(back.json(ADS).await["total"], 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_that_stops_leaves_the_register() {
    let servers = Servers::start().await;
    let [stays, goes] = servers.replicas::<2>().await;
    goes.process.terminate();
    assert!(goes.process.ended().await.status.success());
    until("one replica in the register", async || {
        let page = stays.cluster().await;
        (page["members"].as_array().map(Vec::len) == Some(1)).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_redis_replicas_go_on_by_the_journal() {
    let mut servers = Servers::start().await;
    let replicas = servers.replicas::<2>().await;
    replicas[0].create(ADS, "with Redis").await;
    servers.redis.kill().await;
    for nth in 0..5 {
        let created = replicas[nth % 2].create(ADS, "without Redis").await;
        let at = &created["version"];
        let read = replicas[(nth + 1) % 2].get(&format!("{ADS}?min_version={at}")).await;
        assert_eq!(read.status(), StatusCode::OK);
    }
    servers.redis.restart_empty().await.expect("Redis starts");
    for nth in 0..5 {
        replicas[nth % 2].create(ADS, "with Redis again").await;
    }
    for replica in &replicas {
        replica.reaches(11).await;
        until("the stream to be tailed again", async || {
            let page = replica.cluster().await;
            let tails = |member: &serde_json::Value| member["tails"] == "stream";
            page["members"].as_array().is_some_and(|all| all.iter().all(tails)).then_some(())
        })
        .await;
    }
    servers.verify(&replicas[0]).await;
}
