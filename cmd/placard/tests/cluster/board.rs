//! The task board of a cluster: every replica's shows the one queue in PostgreSQL.

use std::time::Duration;

use placard_testkit::wait::until;
use reqwest::StatusCode;
use serde_json::{Value, json};

use crate::cluster::{Replica, Servers};
use crate::expiry::{create, second_in};

const LISTEN: [&str; 2] = ["--admin-listen", "127.0.0.1:0"];

async fn board(replica: &mut Replica) -> String {
    let board = |line: &str| line.strip_prefix("Its task board is at ").map(str::to_owned);
    replica.process.line("the board's address", board).await
}

/// Nothing while the queue cannot be asked, as before its tables are there.
async fn asked(board: &str, path: &str) -> Option<Value> {
    let client = reqwest::Client::builder().no_proxy().build().expect("a client can be made");
    let answer = client.get(format!("{board}/api/v1/{path}")).send().await;
    let answer = answer.expect("the board answers");
    if answer.status() == StatusCode::SERVICE_UNAVAILABLE {
        return None;
    }
    assert_eq!(answer.status(), StatusCode::OK, "{path}");
    Some(answer.json().await.expect("the answer is JSON"))
}

async fn json(board: &str, path: &str) -> Value {
    asked(board, path).await.expect("the queue can be asked")
}

#[tokio::test(flavor = "multi_thread")]
async fn every_replica_shows_the_queue_that_they_share() {
    let servers = Servers::start().await;
    let (mut one, mut other) = (servers.replica(&LISTEN).await, servers.replica(&LISTEN).await);
    create(&one, 3, &second_in(Duration::from_secs(50))).await;
    let boards = [board(&mut one).await, board(&mut other).await];
    let mut shown = Vec::new();
    for board in &boards {
        let task = until("the task", async || {
            let tasks = asked(board, "queues/placard-expiry/tasks?status=Pending").await?;
            tasks.as_array().expect("a list of tasks").first().cloned()
        })
        .await;
        assert_eq!(
            (&task["ctx"]["run_at"], &task["ctx"]["queue"]),
            (&task["args"], &json!("placard-expiry"))
        );
        let id = task["ctx"]["task_id"].as_str().expect("a task has an id");
        assert_eq!(json(board, &format!("queues/placard-expiry/tasks/{id}")).await, task);
        shown.push(task);
        until("both replicas' workers", async || {
            let workers = json(board, "queues/placard-expiry/workers").await;
            (workers.as_array().expect("a list of workers").len() == 2).then_some(())
        })
        .await;
        let queues = json(board, "queues").await;
        let names: Vec<_> =
            queues.as_array().expect("a list").iter().map(|one| &one["name"]).collect();
        assert_eq!(names, ["placard-expiry"]);
        json(board, "overview").await;
    }
    assert_eq!(shown[0], shown[1]);
}
