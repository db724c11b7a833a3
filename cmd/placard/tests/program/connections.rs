//! What happens to connections: idle ones, half-closed ones, those on which a request was refused, and those for which
//! there is no room.

use std::time::{Duration, Instant};

use placard_testkit::wait::until;
use placard_testkit::wire::{Wire, get, post};

use crate::server::{Server, ad};

const ADS: &str = "/api/v1/ad";

/// Another connection sends a head too slowly: its end shows that the deadline has passed.
#[tokio::test]
async fn an_idle_connection_outlives_the_deadline_of_a_head() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::on(directory.path()).await;
    let (mut silent, mut idle) = (Wire::open(&server.url).await, Wire::open(&server.url).await);
    assert_eq!(idle.ask(&get(ADS)).await.expect("an answer").status, 200);
    let mut slow = Wire::open(&server.url).await;
    slow.send("GET / HTTP/1.1\r\nhost: ").await;
    slow.ended().await;
    for wire in [&mut silent, &mut idle] {
        assert_eq!(wire.ask(&get(ADS)).await.expect("an answer").status, 200);
    }
}

#[tokio::test]
async fn connections_end_only_after_the_idle_timeout() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::with(directory.path(), &["--idle-timeout", "1"]).await;
    // The server counts whole milliseconds.
    let timeout = Duration::from_millis(999);
    let body = ad("Read to its end").to_string();
    for request in [None, Some((get(ADS), 200)), Some((post(ADS, &body), 201))] {
        let since = Instant::now();
        let mut wire = Wire::open(&server.url).await;
        if let Some((request, status)) = request {
            assert_eq!(wire.ask(&request).await.expect("an answer").status, status);
        }
        wire.ended().await;
        assert!(since.elapsed() >= timeout, "ended after {:?}", since.elapsed());
    }
}

/// Returns how many connections the server has, and how many it has ended, by reason. The connection that asks counts
/// too.
async fn counted(server: &Server) -> (u64, [u64; 4]) {
    let metrics = Wire::open(&server.url).await.ask(get("/metrics")).await.expect("metrics");
    let count = |name: &str| {
        let line = metrics.body.lines().find_map(|line| line.strip_prefix(name));
        let count = line.unwrap_or_else(|| panic!("{name} is missing in {}", metrics.body));
        count.trim().parse().expect("a count")
    };
    let ended = ["room", "idle", "head", "stalled"]
        .map(|reason| count(&format!("placard_connections_ended_total{{reason=\"{reason}\"}} ")));
    (count("placard_connections "), ended)
}

#[tokio::test]
async fn connections_that_make_room_are_counted() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::with(directory.path(), &["--connections-max", "4"]).await;
    assert_eq!(counted(&server).await, (1, [0; 4]));
    let mut wires = Vec::new();
    for _ in 0..4 {
        let mut wire = Wire::open(&server.url).await;
        assert_eq!(wire.ask(get(ADS)).await.expect("an answer").status, 200);
        wires.push(wire);
    }
    let mut new = Wire::open(&server.url).await;
    assert_eq!(new.ask(get(ADS)).await.expect("an answer").status, 200);
    let (_, [room, idle, head, stalled]) = counted(&server).await;
    assert!(room > 0, "one has made room");
    assert_eq!((idle, head, stalled), (0, 0, 0));
}

#[tokio::test]
async fn connections_ended_by_idle_timeout_are_counted() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::with(directory.path(), &["--idle-timeout", "1"]).await;
    Wire::open(&server.url).await.ended().await;
    until("the count", async || (counted(&server).await == (1, [0, 1, 0, 0])).then_some(())).await;
}

#[tokio::test]
async fn longest_idle_connection_makes_room_for_a_new_one() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::with(directory.path(), &["--connections-max", "4"]).await;
    let mut wires = Vec::new();
    for _ in 0..4 {
        let mut wire = Wire::open(&server.url).await;
        assert_eq!(wire.ask(&get(ADS)).await.expect("an answer").status, 200);
        wires.push(wire);
        // Idle for longer than the next one, by more than a clock's tick.
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let mut new = Wire::open(&server.url).await;
    assert_eq!(new.ask(&get(ADS)).await.expect("an answer").status, 200);
    wires.remove(0).ended().await;
    for mut wire in wires {
        assert_eq!(wire.ask(&get(ADS)).await.expect("an answer").status, 200);
    }
}

#[tokio::test]
async fn silent_connections_make_room_before_idle_ones() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::with(directory.path(), &["--connections-max", "16"]).await;
    let mut idle = Wire::open(&server.url).await;
    assert_eq!(idle.ask(&get(ADS)).await.expect("an answer").status, 200);
    let mut silent = Vec::new();
    for _ in 0..200 {
        silent.push(Wire::open(&server.url).await);
    }
    for _ in 0..24 {
        let mut check = Wire::open(&server.url).await;
        assert_eq!(check.ask(&get("/readyz")).await.expect("an answer").status, 200);
    }
    assert_eq!(idle.ask(&get(ADS)).await.expect("an answer").status, 200);
}

/// All connections up to the maximum have a request that is not finished.
#[tokio::test]
async fn health_checks_are_answered_in_a_full_house() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::with(directory.path(), &["--connections-max", "8"]).await;
    let body = ad("Not finished yet").to_string();
    let request = post(ADS, &body);
    let (most, rest) = request.split_at(request.len() - 1);
    let mut wires = Vec::new();
    for _ in 0..8 {
        let mut wire = Wire::open(&server.url).await;
        wire.send(most).await;
        wires.push(wire);
    }
    for path in ["/livez", "/readyz", "/metrics"] {
        let mut check = Wire::open(&server.url).await;
        let answer = check.ask(&get(path)).await.expect("an answer");
        assert_eq!((answer.status, answer.is_last()), (200, true), "{}", answer.head);
    }
    let mut other = Wire::open(&server.url).await;
    let answer = other.ask(&get(ADS)).await.expect("an answer");
    assert_eq!((answer.status, answer.is_last()), (503, true), "{}", answer.head);
    assert!(answer.head.contains("\r\nx-request-id: "), "{}", answer.head);
    assert!(answer.body.contains("/problems/overloaded"), "{}", answer.body);
    // It spoke of writes.
    assert!(answer.body.contains("as many connections as"), "{}", answer.body);
    for wire in &mut wires {
        assert_eq!(wire.ask(rest).await.expect("an answer").status, 201);
    }
}

/// The system queues them; the server is held, so that it accepts none meanwhile.
#[tokio::test]
async fn thousand_connections_queue_while_server_is_held() {
    let most = std::fs::read_to_string("/proc/sys/net/core/somaxconn").unwrap();
    let many = most.trim().parse::<usize>().unwrap().min(1_000);
    let directory = tempfile::tempdir().unwrap();
    let arguments = ["--admin-listen", "127.0.0.1:0"];
    let mut server = Server::with(directory.path(), &arguments).await;
    let board = |line: &str| line.strip_prefix("Its task board is at ").map(str::to_owned);
    let board = server.process.line("the task board's address", board).await;
    server.process.pause();
    for url in [&server.url, &board] {
        let mut wires = Vec::new();
        for _ in 0..many {
            wires.push(Wire::open(url).await);
        }
    }
    server.process.resume();
    assert_eq!(server.get("/livez").await.status(), 200);
}

#[tokio::test]
async fn half_closed_client_gets_its_answer() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::on(directory.path()).await;
    let body = ad("Half closed").to_string();
    for _ in 0..20 {
        for (request, status) in [(post(ADS, &body), 201), (get(ADS), 200)] {
            let mut wire = Wire::open(&server.url).await;
            wire.send(&request).await;
            wire.shut().await;
            assert_eq!(wire.answer().await.expect("an answer").status, status);
            wire.ended().await;
        }
    }
    assert_eq!(server.ads().await, 20);
}

/// They come while the server is held. When it goes on, it must take them for given up: each client has closed its
/// sending side or the connection.
#[tokio::test]
async fn held_server_does_not_perform_abandoned_writes() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::on(directory.path()).await;
    let mut long = ad("Given up");
    long["content"] = "x".repeat(10_000).into();
    server.process.pause();
    let mut waiting = Vec::new();
    for number in 0..20 {
        // The longer one is read in pieces.
        let (ad, status) = if number % 4 < 2 { (ad("Given up"), 503) } else { (long.clone(), 400) };
        let mut wire = Wire::open(&server.url).await;
        wire.send(post(ADS, &ad.to_string())).await;
        wire.shut().await;
        // The others are closed.
        waiting.extend((number % 2 == 0).then_some((wire, status)));
    }
    let mut read = Wire::open(&server.url).await;
    read.send(get(ADS)).await;
    read.shut().await;
    // That long it is held, and has as long again to find them.
    tokio::time::sleep(Duration::from_secs(5)).await;
    server.process.resume();
    for (mut wire, status) in waiting {
        let answer = wire.answer().await.expect("an answer");
        assert_eq!(answer.status, status, "{}", answer.head);
        wire.ended().await;
    }
    assert_eq!(read.answer().await.expect("an answer").status, 200);
    server.create(&ad("Of somebody who waits")).await;
    assert_eq!(server.ads().await, 1);
}

/// The body is never sent, and the server does not take the next bytes for it.
#[tokio::test]
async fn an_answer_before_the_body_was_read_is_the_last() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::on(directory.path()).await;
    for (path, media, status) in [
        (ADS, "text/plain", 415),
        ("/nowhere", "application/json", 404),
        ("/readyz", "application/json", 405),
    ] {
        for fields in ["expect: 100-continue\r\n", ""] {
            let mut wire = Wire::open(&server.url).await;
            let head = format!(
                "POST {path} HTTP/1.1\r\nhost: x\r\ncontent-type: {media}\r\n{fields}content-length: 100\r\n\r\n"
            );
            let answer = wire.ask(&head).await.expect("an answer");
            assert_eq!(answer.status, status, "{}", answer.head);
            assert!(answer.is_last(), "{path} {fields:?}: {}", answer.head);
            wire.send(get(ADS)).await;
            wire.ended().await;
        }
    }
}

/// HAProxy's `option httpchk` alone asks `OPTIONS /` by HTTP/1.0, without a host. The answer follows `/readyz`, also where
/// browsers are let in.
#[tokio::test]
async fn options_request_reports_readiness_to_a_balancer() {
    let directory = tempfile::tempdir().unwrap();
    let arguments = ["--drain-delay", "600000", "--cors-origin", "*"];
    let server = Server::with(directory.path(), &arguments).await;
    let checks = [
        "OPTIONS / HTTP/1.0\r\n\r\n",
        "OPTIONS / HTTP/1.1\r\nhost: x\r\n\r\n",
        "OPTIONS * HTTP/1.1\r\nhost: x\r\n\r\n",
        "OPTIONS /readyz HTTP/1.1\r\nhost: x\r\n\r\n",
    ];
    let statuses = async || {
        let mut statuses = Vec::new();
        for check in checks {
            let answer = Wire::open(&server.url).await.ask(check).await.expect("an answer");
            assert!(answer.head.contains("\r\nallow: GET, HEAD"), "{}", answer.head);
            statuses.push(answer.status);
        }
        statuses
    };
    assert_eq!(statuses().await, [200; 4]);
    assert_eq!(server.get("/readyz/404").await.status(), 200);
    server.process.terminate();
    until("a 503 on /readyz", async || (server.get("/readyz").await.status() == 503).then_some(()))
        .await;
    assert_eq!(statuses().await, [503; 4]);
    assert_eq!(server.get("/readyz/404").await.status(), 404);
}

/// Also by a client that asks for another protocol with each request, as Java's does.
#[tokio::test]
async fn a_refused_body_of_a_hundred_megabytes_is_taken_in() {
    const MEGABYTE: usize = 1_000_000;
    let directory = tempfile::tempdir().unwrap();
    let server = Server::on(directory.path()).await;
    let length = 100 * MEGABYTE;
    let piece = vec![b' '; MEGABYTE];
    for fields in ["", "connection: upgrade\r\nupgrade: h2c\r\n"] {
        let mut wire = Wire::open(&server.url).await;
        let head = format!(
            "POST {ADS} HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n{fields}content-length: {length}\r\n\r\n"
        );
        wire.send(head).await;
        for sent in 0..100 {
            assert!(wire.send(&piece).await, "broken after {sent} MB, with {fields:?}");
        }
        assert_eq!(wire.answer().await.expect("an answer").status, 413);
        wire.ended().await;
    }
}

/// The rest of the refused request is still arriving when the answer is sent.
#[tokio::test]
async fn a_head_that_is_too_large_gets_its_answer() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::on(directory.path()).await;
    let mut wire = Wire::open(&server.url).await;
    let head = format!("GET {ADS} HTTP/1.1\r\nhost: x\r\nx: {}\r\n\r\n", "x".repeat(8 << 20));
    assert!(wire.send(head).await, "broken while the head was sent");
    assert_eq!(wire.answer().await.expect("an answer").status, 431);
    wire.ended().await;
}

/// A connection that is open before the drain, and one that is opened during it.
#[tokio::test]
async fn answers_during_a_drain_close_their_connection() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::with(directory.path(), &["--drain-delay", "3000"]).await;
    let body = ad("During the drain").to_string();
    let mut wires = Vec::new();
    for request in [get(ADS), post(ADS, &body), get("/livez"), get("/nowhere")] {
        let mut wire = Wire::open(&server.url).await;
        assert!(!wire.ask(&get(ADS)).await.expect("an answer").is_last());
        wires.push((wire, request));
    }
    server.process.terminate();
    until("a 503 on /readyz", async || {
        let ready = server.get("/readyz").await;
        (ready.status() == 503).then_some(())
    })
    .await;
    for (mut wire, request) in wires {
        assert!(!wire.has_ended(), "an idle connection has ended");
        let mut new = Wire::open(&server.url).await;
        for wire in [&mut wire, &mut new] {
            let answer = wire.ask(&request).await.expect("an answer");
            assert!(answer.is_last(), "{request}: {}", answer.head);
        }
        wire.ended().await;
        new.ended().await;
    }
    assert_eq!(server.process.ended().await.status.code(), Some(0));
}

/// Without a delay too, what is idle has a moment; then it ends, and does not hold up the program.
#[tokio::test]
async fn stopping_server_serves_idle_connection_once_more() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::on(directory.path()).await;
    let (mut busy, mut idle) = (Wire::open(&server.url).await, Wire::open(&server.url).await);
    for wire in [&mut busy, &mut idle] {
        assert_eq!(wire.ask(&get(ADS)).await.expect("an answer").status, 200);
    }
    server.process.terminate();
    let last = until("the last answer", async || {
        let answer = busy.ask(&get(ADS)).await.expect("an answer");
        answer.is_last().then_some(answer)
    });
    assert_eq!(last.await.status, 200);
    idle.ended().await;
    assert_eq!(server.process.ended().await.status.code(), Some(0));
}
