//! What clients of any replica may rely on.

use placard_testkit::process::Process;
use placard_testkit::wait::until;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::cluster::{ADS, PLACARD, Servers, ad, version};

#[tokio::test(flavor = "multi_thread")]
async fn a_write_on_any_replica_is_read_on_any_other() {
    let servers = Servers::start().await;
    let replicas = servers.replicas::<3>().await;
    for (nth, writer) in replicas.iter().enumerate() {
        let created = writer.create(ADS, &format!("written on {nth}")).await;
        let (id, at) = (created["id"].as_str().expect("an id"), &created["version"]);
        for reader in &replicas {
            let path = format!("{ADS}/{id}?min_version={at}");
            assert_eq!(reader.json(&path).await["title"], created["title"]);
            let page = reader.get(&format!("{ADS}?min_version={at}")).await;
            assert!(version(&page) >= at.as_u64().expect("a version"));
            let page: Value = page.json().await.expect("the answer is JSON");
            assert_eq!(page["total"], nth + 1);
        }
    }
    servers.verify(&replicas[0]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn takedown_is_confirmed_by_all_and_served_by_none() {
    let servers = Servers::start().await;
    let replicas = servers.replicas::<3>().await;
    for replica in &replicas {
        until("three replicas in the register", async || {
            let members = replica.cluster().await;
            (members["members"].as_array().map(Vec::len) == Some(3)).then_some(())
        })
        .await;
    }
    let created = replicas[0].create(&format!("{ADS}?ack=all"), "to be taken down").await;
    assert_eq!(created["receipts"]["confirmed"].as_array().map(Vec::len), Some(3));
    let path = format!("{ADS}/{}", created["id"].as_str().expect("an id"));
    let gone = replicas[1].send(Method::DELETE, &format!("{path}?ack=all"), None, None).await;
    assert_eq!(gone.status(), StatusCode::OK);
    let gone: Value = gone.json().await.expect("the answer is JSON");
    assert_eq!(gone["receipts"]["confirmed"].as_array().map(Vec::len), Some(3), "{gone}");
    for replica in &replicas {
        assert_eq!(replica.get(&path).await.status(), StatusCode::NOT_FOUND);
        assert_eq!(replica.json(ADS).await["total"], 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn key_sent_to_three_replicas_at_once_creates_one_ad() {
    let servers = Servers::start().await;
    let replicas = servers.replicas::<3>().await;
    for round in 0..10 {
        let (key, body) = (format!("key-{round}"), ad("only once"));
        let send = |nth: usize| replicas[nth].send(Method::POST, ADS, Some(&body), Some(&key));
        let (one, two, three) = tokio::join!(send(0), send(1), send(2));
        let mut ids = Vec::new();
        for answer in [one, two, three] {
            assert_eq!(answer.status(), StatusCode::CREATED);
            let created: Value = answer.json().await.expect("the answer is JSON");
            ids.push((created["id"].clone(), created["version"].clone()));
        }
        assert!(ids.iter().all(|id| *id == ids[0]), "{ids:?}");
        let another = ad("another");
        let other = replicas[round % 3].send(Method::POST, ADS, Some(&another), Some(&key));
        assert_eq!(other.await.status(), StatusCode::UNPROCESSABLE_ENTITY);
    }
    let head = replicas[0].cluster().await["head"]["version"].as_u64();
    assert!(head <= Some(10));
    servers.verify(&replicas[2]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn three_committers_write_one_gapless_log() {
    let servers = Servers::start().await;
    let replicas = servers.replicas::<3>().await;
    let write = |nth: usize| {
        let replica = &replicas[nth];
        async move {
            for at in 0..100 {
                replica.create(ADS, &format!("replica {nth}, ad {at}")).await;
            }
        }
    };
    tokio::join!(write(0), write(1), write(2), write(0), write(1), write(2));
    for replica in &replicas {
        replica.reaches(600).await;
        assert_eq!(replica.json(&format!("{ADS}?limit=1")).await["total"], 600);
    }
    servers.verify(&replicas[0]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_status_table_shows_every_replica() {
    let servers = Servers::start().await;
    let replicas = servers.replicas::<2>().await;
    until("both replicas in the table", async || {
        let arguments = ["status", "--once", "--target", &replicas[0].url];
        let ended = Process::start(PLACARD, &arguments, &[]).ended().await;
        assert!(ended.status.success(), "{:?}", ended.err);
        let ready = ended.out.iter().filter(|line| line.contains(" ready "));
        (ready.count() == 2).then_some(())
    })
    .await;
    let page = replicas[1].cluster().await;
    for member in page["members"].as_array().expect("a list of members") {
        assert!(member["lease_ms"].as_i64() > Some(0), "{member}");
        assert_eq!(member["lag_entries"], json!(0));
    }
}

/// What was heard last was shown as if it were new: the replicas of a cluster whose journal was away were all `ready`.
#[tokio::test(flavor = "multi_thread")]
async fn the_cluster_page_grows_old_while_the_journal_is_away() {
    let mut servers = Servers::start().await;
    let replica = servers.replica(&[]).await;
    servers.postgres.stop().await.expect("PostgreSQL stops");
    until("a page that is old", async || {
        let page = replica.cluster().await;
        let member = &page["members"][0];
        let is_old =
            member["silent_ms"].as_i64() > Some(2_000) && member["lease_ms"].as_i64() < Some(0);
        is_old.then_some(())
    })
    .await;
    let arguments = ["status", "--once", "--target", &replica.url];
    let ended = Process::start(PLACARD, &arguments, &[]).ended().await;
    let table = ended.out.concat();
    assert!(table.contains("not heard of for ") && !table.contains(" ready "), "{table}");
}
