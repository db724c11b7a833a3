//! Heads of requests that are HTTP as far as the parser knows, and are refused all the same: each with a problem, by its
//! RFC.

use placard_testkit::wait::until;
use placard_testkit::wire::{Raw, Wire};
use serde_json::Value;

use crate::server::{ADS, Server, ad};

/// Sends a head, and an empty body if it needs one, on a connection of its own, and returns the answer; the server must
/// then close.
async fn refused(server: &Server, head: &str) -> Raw {
    let mut wire = Wire::open(server.address()).await;
    wire.send(head).await;
    let answer = wire.answer().await.unwrap_or_else(|| panic!("{head:?} is not answered"));
    assert!(answer.head.to_ascii_lowercase().contains("connection: close\r\n"), "{answer:?}");
    wire.closed().await;
    answer
}

/// It says all that every answer says.
fn whole(answer: &Raw, status: u16, kind: &str) -> Value {
    for field in ["x-request-id: ", "cache-control: no-store\r\n"] {
        assert!(answer.head.contains(field), "{field:?} is missing in {}", answer.head);
    }
    answer.problem(status, kind)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn host_that_names_no_host_is_refused() {
    let server = Server::over_socket().await;
    for host in [
        "a b", "u@h", "a,b", "x:99999", "x:y", "x:-1", "x:80:80", "[::1", "::1", "[x]", "a/b",
        "x?", "%zz", "\u{e9}",
    ] {
        let answer =
            refused(&server, &format!("GET /livez HTTP/1.1\r\nhost: {host}\r\n\r\n")).await;
        whole(&answer, 400, "invalid-host");
        if host.contains(['/', '?']) {
            // In a target the path begins there.
            continue;
        }
        let target = format!("GET http://{host}/livez HTTP/1.1\r\nhost: x\r\n\r\n");
        let mut wire = Wire::open(server.address()).await;
        wire.send(target).await;
        assert_eq!(wire.answer().await.map(|answer| answer.status), Some(400), "http://{host}/");
        wire.closed().await;
    }
    for host in [
        "",
        "x",
        "x:",
        "x:80",
        "x:65535",
        "a_b.example",
        "127.0.0.1:8080",
        "[::1]",
        "[::1]:80",
        "%41",
    ] {
        let mut wire = Wire::open(server.address()).await;
        wire.send(format!("GET /livez HTTP/1.1\r\nhost: {host}\r\n\r\n")).await;
        assert_eq!(wire.answer().await.map(|answer| answer.status), Some(200), "{host:?}");
    }
    server.still_answers().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn heads_that_are_refused_have_problem_bodies() {
    let server = Server::over_socket().await;
    let long = "x".repeat(65_000);
    for (head, status, kind) in [
        ("GET /livez HTTP/1.1\r\n\r\n".to_owned(), 400, "invalid-host"),
        ("GET /livez HTTP/1.1\r\nhost: x\r\nhost: x\r\n\r\n".to_owned(), 400, "invalid-host"),
        (
            format!("GET /livez HTTP/1.1\r\nhost: x\r\na: {long}\r\nb: {}\r\n\r\n", &long[..600]),
            431,
            "head-too-large",
        ),
        ("GET * HTTP/1.1\r\nhost: x\r\n\r\n".to_owned(), 400, "invalid-target"),
        ("GET x:1 HTTP/1.1\r\nhost: x\r\n\r\n".to_owned(), 400, "invalid-target"),
        ("GET livez HTTP/1.1\r\nhost: x\r\n\r\n".to_owned(), 400, "invalid-target"),
        ("GET ftp://x/livez HTTP/1.1\r\nhost: x\r\n\r\n".to_owned(), 400, "invalid-target"),
        ("CONNECT x:1 HTTP/1.1\r\nhost: x:1\r\n\r\n".to_owned(), 501, "not-implemented"),
        ("CONNECT /livez HTTP/1.1\r\nhost: x\r\n\r\n".to_owned(), 501, "not-implemented"),
    ] {
        whole(&refused(&server, &head).await, status, kind);
    }
    let mut wire = Wire::open(server.address()).await;
    wire.send("GET http://x/livez HTTP/1.1\r\nhost: y\r\nx-request-id: mine\r\n\r\n").await;
    let answer = wire.answer().await.expect("an answer");
    assert_eq!(answer.status, 200);
    let named = "GET /livez HTTP/1.1\r\nhost: a b\r\nx-request-id: mine\r\n\r\n";
    let answer = refused(&server, named).await;
    assert!(answer.head.contains("x-request-id: mine\r\n"), "{}", answer.head);
    server.still_answers().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn transfer_codings_other_than_chunked_are_501() {
    let server = Server::over_socket().await;
    let fields = "content-type: application/json\r\n";
    for coding in [
        "gzip, chunked",
        "identity, chunked",
        "chunked, chunked",
        "gzip\r\ntransfer-encoding: chunked",
    ] {
        let head = format!(
            "POST {ADS} HTTP/1.1\r\nhost: x\r\n{fields}transfer-encoding: {coding}\r\n\r\n0\r\n\r\n"
        );
        whole(&refused(&server, &head).await, 501, "not-implemented");
    }
    let text = ad().to_string();
    let mut wire = Wire::open(server.address()).await;
    wire.send(format!(
        "POST {ADS} HTTP/1.1\r\nhost: x\r\n{fields}transfer-encoding: Chunked\r\n\r\n"
    ))
    .await;
    wire.send(format!("{:x}\r\n{text}\r\n0\r\n\r\n", text.len())).await;
    assert_eq!(wire.answer().await.map(|answer| answer.status), Some(201));
    server.still_answers().await;
}

/// A balancer may go by one and this server by the other: then they disagree where the next request begins.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_length_beside_a_transfer_coding_is_refused() {
    let server = Server::over_socket().await;
    let (text, coding) = (ad().to_string(), "transfer-encoding: chunked\r\n");
    let length = format!("Content-Length: {}\r\n", text.len());
    let body = format!("{:x}\r\n{text}\r\n0\r\n\r\n", text.len());
    for fields in [[coding, &length], [&length, coding]] {
        let fields = fields.concat();
        let head = format!(
            "POST {ADS} HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n{fields}\r\n"
        );
        // Together, in pieces, and behind another request.
        whole(&refused(&server, &format!("{head}{body}")).await, 400, "ambiguous-length");
        let mut wire = Wire::open(server.address()).await;
        for piece in head.as_bytes().chunks(3) {
            wire.send(piece).await;
        }
        whole(&wire.answer().await.expect("an answer"), 400, "ambiguous-length");
        let mut wire = Wire::open(server.address()).await;
        wire.send(format!("GET /livez HTTP/1.1\r\nhost: x\r\n\r\n{head}{body}")).await;
        assert_eq!(wire.answer().await.map(|answer| answer.status), Some(200));
        whole(&wire.answer().await.expect("an answer"), 400, "ambiguous-length");
        wire.closed().await;
    }
    assert_eq!(server.list("").await.1, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn heads_that_are_refused_are_counted() {
    let server = Server::over_socket().await;
    let counted = async || {
        let metrics = server.get("/metrics").await.is(200);
        let text = String::from_utf8(metrics.body.to_vec()).expect("metrics are text");
        ["400", "431", "501", "503"].map(|status| {
            let name = format!("placard_http_refused_total{{status=\"{status}\"}} ");
            let count = text.lines().find_map(|line| line.strip_prefix(&name));
            count.unwrap_or_else(|| panic!("{name} is missing in {text}")).to_owned()
        })
    };
    assert_eq!(counted().await, ["0"; 4]);
    // The parser refuses malformed heads, and heads that do not end.
    let long = "x".repeat(100_000);
    for (head, status) in [
        ("GET /livez HTTP/1.1\r\n\r\n".to_owned(), 400),
        ("GET livez HTTP/1.1\r\nhost: x\r\n\r\n".to_owned(), 400),
        ("GET /livez HTTP/1.1\r\nhost x\r\n\r\n".to_owned(), 400),
        ("CONNECT x:1 HTTP/1.1\r\nhost: x:1\r\n\r\n".to_owned(), 501),
        (format!("GET /livez HTTP/1.1\r\nhost: x\r\na: {long}\r\n\r\n"), 431),
    ] {
        let mut wire = Wire::open(server.address()).await;
        wire.send(&head).await;
        assert_eq!(wire.answer().await.map(|answer| answer.status), Some(status));
        wire.closed().await;
    }
    until("the counts", async || (counted().await == ["3", "1", "1", "0"]).then_some(())).await;
}
