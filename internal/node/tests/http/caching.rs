//! `Cache-Control`: no cache, whatever its defaults, may reuse an answer that depends on state or time.

use serde_json::json;
use uuid::Uuid;

use crate::both;
use crate::server::{ADS, BATCH, Server, ad};

both!(answers_that_depend_on_state_are_not_stored, documents_may_be_kept);

async fn answers_that_depend_on_state_are_not_stored(server: Server) {
    let path = server.create(&ad()).await.location();
    let unknown = format!("{ADS}/{}", Uuid::new_v4());
    let paths = [
        ADS,
        &format!("{ADS}?age=0"),
        &path,
        &unknown,
        "/api/v1/cluster",
        "/livez",
        "/readyz",
        "/metrics",
        "/none",
        "/docs/none",
        BATCH,
    ];
    for path in paths {
        for method in ["GET", "HEAD", "BREW"] {
            let answer = server.call(method, path).send().await;
            assert_eq!(answer.header("cache-control"), Some("no-store"), "{method} {path}");
        }
    }
    for call in [
        server.call("POST", ADS).json(&ad()),
        server.call("POST", ADS).json(&json!({})),
        server.call("POST", ADS).untyped("{}"),
        server.call("POST", BATCH).json(&json!([ad()])),
        server.call("PUT", &path).header("if-match", "\"9\"").json(&ad()),
        server.call("PATCH", &path).json(&json!({ "title": "Changed" })),
        server.call("GET", &path).header("if-none-match", "*"),
        server.call("DELETE", &path),
    ] {
        let answer = call.send().await;
        assert_eq!(answer.header("cache-control"), Some("no-store"), "{answer:?}");
    }
}

async fn documents_may_be_kept(server: Server) {
    for path in ["/openapi.json", "/docs/", "/docs/swagger-ui.css"] {
        for method in ["GET", "HEAD"] {
            let answer = server.call(method, path).send().await.is(200);
            assert_eq!(answer.header("cache-control"), Some("max-age=300"), "{method} {path}");
        }
    }
}
