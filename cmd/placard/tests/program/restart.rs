//! Stopped and started again on the same directory: everything is as it was.

use serde_json::{Value, json};

use crate::server::{Server, ad};

#[tokio::test]
async fn a_restart_keeps_everything() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::on(directory.path()).await;
    let keyed = || {
        async |server: &Server| -> Value {
            let create =
                server.client.post(server.path("/api/v1/ad")).header("idempotency-key", "k-1");
            let answer = create.json(&ad("With a key")).send().await.unwrap();
            assert_eq!(answer.status(), 201);
            answer.json().await.unwrap()
        }
    };
    let first = keyed()(&server).await;
    let mut ads = Vec::new();
    for n in 0..30 {
        ads.push(server.create(&ad(&format!("Number {n}"))).await);
    }
    for (n, shown) in ads.iter().enumerate() {
        let path = server.path(&format!("/api/v1/ad/{}", shown["id"].as_str().unwrap()));
        if n % 3 == 0 {
            assert_eq!(server.client.delete(path).send().await.unwrap().status(), 200);
        } else if n % 3 == 1 {
            let patch = server.client.patch(path).json(&json!({ "country": ["TW"] }));
            assert_eq!(patch.send().await.unwrap().status(), 200);
        }
    }
    let listing = "/api/v1/ad?limit=100";
    let before = server.json(listing).await;
    assert_eq!(before["total"], 21);
    server.stop().await;

    let server = Server::on(directory.path()).await;
    let after = server.get(listing).await;
    assert_eq!(after.headers()["placard-version"], "51");
    assert_eq!(after.json::<Value>().await.unwrap(), before);
    assert_eq!(keyed()(&server).await, first, "the key is remembered");
    assert_eq!(server.create(&ad("One more")).await["version"], 52);
    server.stop().await;
}
