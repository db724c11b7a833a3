//! `placard verify` of an embedded journal, while its server runs and when it is stopped.

use std::path::Path;

use placard_testkit::process::{Ended, Process};
use placard_testkit::wait::until;
use rusqlite::Connection;
use serde_json::{Value, json};

use crate::server::{PLACARD, Server, ad};

async fn verify(directory: &Path, more: &[&str]) -> Ended {
    let directory = directory.to_str().expect("the name is text");
    let arguments = [&["verify", "--data-dir", directory][..], more].concat();
    Process::start(PLACARD, &arguments, &[]).ended().await
}

#[tokio::test]
async fn an_embedded_journal_is_verified() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::on(directory.path()).await;
    for nth in 0..3 {
        server.create(&ad(&format!("Sale number {nth}"))).await;
    }
    // What a replica has published is known from its last head poll.
    until("the replica to be at the head", async || {
        let page = server.json("/api/v1/cluster").await;
        (page["members"][0]["published"]["version"] == 3).then_some(())
    })
    .await;
    let target = ["--target", &server.url];
    let ended = verify(directory.path(), &target).await;
    let said = [
        "3 entries from version 0 to 3, 3 ads, 1 replicas compared",
        "The chain, the digest and the replicas agree.",
    ];
    assert_eq!((ended.status.code(), &ended.out[..]), (Some(0), &said.map(str::to_owned)[..]));
    server.create(&ad("The server goes on")).await;
    server.stop().await;
    let ended = verify(directory.path(), &[]).await;
    assert_eq!(ended.out[1..], ["The chain and the digest agree."], "{ended:?}");

    // The oldest entries are gone, as housekeeping leaves it.
    let file = Connection::open(directory.path().join("journal.sqlite")).unwrap();
    file.execute("DELETE FROM log WHERE version <= 2", []).unwrap();
    let ended = verify(directory.path(), &[]).await;
    let said = ["1 entries from version 3 to 4, 4 ads, 0 replicas compared"];
    assert_eq!((ended.status.code(), &ended.out[..1]), (Some(0), &said.map(str::to_owned)[..]));
}

#[tokio::test]
async fn pools_and_holds_of_a_journal_are_counted() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::on(directory.path()).await;
    let post = async |path: &str, body: Value| -> Value {
        let sent = server.client.post(server.path(path)).json(&body).send().await;
        let answer = sent.expect("the server answers").error_for_status().expect("it is accepted");
        answer.json().await.expect("the answer is JSON")
    };
    let pool = post("/api/v1/pool", json!({ "name": "Seats", "capacity": 9 })).await;
    post("/api/v1/pool", json!({ "name": "Slots", "capacity": 9 })).await;
    let wanted = json!({ "pool": pool["id"], "amount": 2 });
    for _ in 0..3 {
        post("/api/v1/reservation", wanted.clone()).await;
    }
    let closed = post("/api/v1/reservation", wanted).await;
    let path = format!("/api/v1/reservation/{}", closed["id"].as_str().unwrap());
    let answer = server.client.delete(server.path(&path)).send().await;
    assert_eq!(answer.expect("the server answers").status(), 200);
    server.stop().await;
    let ended = verify(directory.path(), &[]).await;
    let said = [
        "7 entries from version 0 to 7, 0 ads, 2 pools, 3 holds, 1 tombstones, 0 replicas compared",
        "The chain and the digest agree.",
    ];
    assert_eq!((ended.status.code(), &ended.out[..]), (Some(0), &said.map(str::to_owned)[..]));
}

#[tokio::test]
async fn a_damaged_embedded_journal_is_found_out() {
    for (damage, found) in [
        ("DELETE FROM ads WHERE title = 'Sale number 1'", "the ads sum to"),
        ("UPDATE log SET bytes = x'00' WHERE version = 2", "the chain breaks at entry 2"),
        ("DELETE FROM log WHERE version = 2", "entry 3 follows entry 1"),
        ("DELETE FROM log WHERE version = 3", "the head is at version 3, the log ends at 2"),
    ] {
        let directory = tempfile::tempdir().unwrap();
        let server = Server::on(directory.path()).await;
        for nth in 0..3 {
            server.create(&ad(&format!("Sale number {nth}"))).await;
        }
        server.stop().await;
        let file = Connection::open(directory.path().join("journal.sqlite")).unwrap();
        assert_eq!(file.execute(damage, []).unwrap(), 1, "{damage}");
        drop(file);
        let ended = verify(directory.path(), &[]).await;
        assert_eq!(ended.status.code(), Some(1), "{damage}: {ended:?}");
        let wrong = |line: &String| line.starts_with("WRONG: ") && line.contains(found);
        assert!(ended.out.iter().any(wrong), "{damage}: {ended:?}");
    }
}

#[tokio::test]
async fn a_directory_without_a_journal_is_not_verified() {
    let directory = tempfile::tempdir().unwrap();
    let ended = verify(directory.path(), &[]).await;
    assert_eq!((ended.status.code(), ended.err.len()), (Some(1), 1), "{ended:?}");
    assert!(ended.err[0].contains("there is no journal in"), "{ended:?}");
    assert!(std::fs::read_dir(directory.path()).unwrap().next().is_none(), "it made a file");
}
