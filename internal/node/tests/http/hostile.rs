//! Attacks that only a socket can show: endless bodies, endless heads, and slow peers. Each is refused or cut off, and
//! afterwards the server still answers. The tests wait for deadlines, and do not measure them.

use placard_model::limits;
use placard_testkit::wait::until;
use placard_testkit::wire::Wire;

use crate::server::{ADS, BATCH, Server, ad};

const GIB: u64 = 1 << 30;

fn post(path: &str, fields: &str) -> String {
    format!("POST {path} HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n{fields}\r\n")
}

macro_rules! against_a_node {
    ($($(#[$doc:meta])* async fn $name:ident($server:ident, $wire:ident) $body:block)+) => {
        $(
            $(#[$doc])*
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                let $server = Server::over_socket().await;
                #[allow(unused_mut, reason = "one macro for all")]
                let mut $wire = Wire::open($server.address()).await;
                $body
                $server.still_answers().await;
            }
        )+
    };
}

against_a_node! {
    async fn an_announced_gibibyte_is_refused_before_it_is_sent(server, wire) {
        wire.send(post(ADS, &format!("content-length: {GIB}\r\n"))).await;
        wire.answer().await.expect("an answer").problem(413, "body-too-large");
        let mut batch = Wire::open(server.address()).await;
        batch.send(post(BATCH, &format!("content-length: {GIB}\r\n"))).await;
        batch.answer().await.expect("an answer").problem(413, "body-too-large");
    }

    async fn expect_continue_is_refused_without_the_body(server, wire) {
        let fields = format!("expect: 100-continue\r\ncontent-length: {GIB}\r\n");
        wire.send(post(ADS, &fields)).await;
        let answer = wire.answer().await.expect("an answer");
        let answer = if answer.status == 100 { wire.answer().await.expect("an answer") } else { answer };
        answer.problem(413, "body-too-large");
    }

    async fn sent_gibibyte_is_refused_without_reading_it_all(server, wire) {
        wire.send(post(ADS, &format!("content-length: {GIB}\r\n"))).await;
        assert!(wire.flood(&[b' '; 1 << 16], GIB).await < GIB, "all of it was taken");
        wire.answer().await.expect("an answer").problem(413, "body-too-large");
    }

    async fn chunked_gibibyte_is_refused_without_reading_it_all(server, wire) {
        for path in [ADS, BATCH] {
            let mut wire = Wire::open(server.address()).await;
            wire.send(post(path, "transfer-encoding: chunked\r\n")).await;
            let chunk = [b"10000\r\n", &[b' '; 1 << 16][..], b"\r\n"].concat();
            assert!(wire.flood(&chunk, GIB).await < GIB, "all of it was taken");
            wire.answer().await.expect("an answer").problem(413, "body-too-large");
        }
        drop(wire);
    }

    async fn chunked_body_is_accepted(server, wire) {
        let text = ad().to_string();
        wire.send(post(ADS, "transfer-encoding: chunked\r\n")).await;
        for piece in text.as_bytes().chunks(7) {
            wire.send([format!("{:x}\r\n", piece.len()).as_bytes(), piece, b"\r\n"].concat()).await;
        }
        wire.send("0\r\n\r\n").await;
        assert_eq!(wire.answer().await.expect("an answer").status, 201);
    }

    async fn a_connection_outlives_a_bad_request(server, wire) {
        let text = ad().to_string();
        for (sent, status) in [("{", 400), (&text, 201), ("[]", 400), (&text, 201)] {
            wire.send(post(ADS, &format!("content-length: {}\r\n", sent.len()))).await;
            wire.send(sent).await;
            assert_eq!(wire.answer().await.expect("an answer").status, status);
        }
    }

    /// However the bytes are split: what follows a request waits for its turn.
    async fn requests_sent_together_are_answered_in_turn(server, wire) {
        let text = ad().to_string();
        let with_length = post(ADS, &format!("content-length: {}\r\n", text.len())) + &text;
        let empty = post(ADS, "content-length: 0\r\n");
        let get = format!("GET {ADS} HTTP/1.1\r\nhost: x\r\n\r\n");
        let chunked = post(ADS, "transfer-encoding: chunked\r\n");
        let chunked = format!("{chunked}{:x}\r\n{text}\r\n0\r\n\r\n", text.len());
        let requests = [&get, &with_length, &get, &with_length, &empty, &chunked].map(String::as_str);
        for size in [1, 7, 100, 1_000, 10_000] {
            let mut wire = Wire::open(server.address()).await;
            for piece in requests.concat().as_bytes().chunks(size) {
                wire.send(piece).await;
            }
            for status in [200, 201, 200, 201, 400, 201] {
                assert_eq!(wire.answer().await.expect("an answer").status, status, "by {size}");
            }
            wire.send(&get).await;
            assert_eq!(wire.answer().await.expect("an answer").status, 200, "by {size}");
        }
        drop(wire);
    }

    async fn an_oversize_head_is_refused(server, wire) {
        let sent = wire.send(format!("GET {ADS} HTTP/1.1\r\nhost: x\r\nx: {}\r\n\r\n", "x".repeat(1 << 20)));
        sent.await;
        refused(wire).await;
        let mut many = Wire::open(server.address()).await;
        let fields: String = (0..limits::HEADERS_MAX).map(|n| format!("x{n}: {n}\r\n")).collect();
        many.send(format!("GET {ADS} HTTP/1.1\r\nhost: x\r\n{fields}\r\n")).await;
        refused(many).await;
        let mut long = Wire::open(server.address()).await;
        long.send(format!("GET {ADS}?{} HTTP/1.1\r\nhost: x\r\n\r\n", "x".repeat(1 << 20))).await;
        refused(long).await;
    }

    /// Sends it in one piece and in many, since a refusal must not depend on which bytes arrive together.
    async fn a_head_is_served_up_to_its_bound_and_not_beyond(server, wire) {
        for piece in [limits::HEAD_BYTES_MAX * 2, 1_000] {
            for (beyond, status) in [(0, 200), (1, 431), (35_000, 431)] {
                let mut wire = Wire::open(server.address()).await;
                let rest = format!("GET {ADS} HTTP/1.1\r\nhost: x\r\nx: \r\n\r\n").len();
                let value = "x".repeat(limits::HEAD_BYTES_MAX - rest + beyond);
                let head = format!("GET {ADS} HTTP/1.1\r\nhost: x\r\nx: {value}\r\n\r\n");
                for piece in head.as_bytes().chunks(piece) {
                    // The server may have refused it meanwhile.
                    wire.send(piece).await;
                }
                let answer = wire.answer().await.map(|answer| answer.status);
                assert_eq!(answer, Some(status), "{beyond} bytes beyond, sent by {piece}");
                if status == 431 {
                    wire.closed().await;
                }
            }
        }
        drop(wire);
    }

    async fn head_with_too_many_fields_is_431(server, wire) {
        for (more, status) in [(0, 200), (1, 431)] {
            let mut wire = Wire::open(server.address()).await;
            let fields = limits::HEADERS_MAX - 1 + more;
            let fields: String = (0..fields).map(|n| format!("x{n}: {n}\r\n")).collect();
            wire.send(format!("GET {ADS} HTTP/1.1\r\nhost: x\r\n{fields}\r\n")).await;
            assert_eq!(wire.answer().await.expect("an answer").status, status, "{more} more");
        }
        drop(wire);
    }

    async fn request_without_exactly_one_host_is_refused(server, wire) {
        for (version, hosts, status) in [
            ("1.1", "host: x\r\n", 200),
            ("1.0", "", 200),
            ("1.1", "", 400),
            ("1.1", "host: x\r\nhost: y\r\n", 400),
            ("1.1", "host: x\r\nHost: x\r\n", 400),
            ("1.0", "host: x\r\nhost: x\r\n", 400),
        ] {
            let mut wire = Wire::open(server.address()).await;
            wire.send(format!("GET {ADS} HTTP/{version}\r\n{hosts}\r\n")).await;
            let answer = wire.answer().await.expect("an answer").status;
            assert_eq!(answer, status, "HTTP/{version} {hosts:?}");
            if status == 400 {
                wire.closed().await;
            }
        }
        drop(wire);
    }

    async fn a_head_without_end_is_cut_off(server, wire) {
        wire.send(format!("GET {ADS} HTTP/1.1\r\nhost: x\r\nx: ")).await;
        assert!(wire.flood(&[b'x'; 1 << 16], GIB).await < GIB, "all of it was taken");
        refused(wire).await;
    }

    async fn malformed_http_is_refused(server, wire) {
        for sent in [
            "\r\n\r\n\r\n\r\nhello\r\n\r\n".to_owned(),
            "\u{16}\u{3}\u{1}\0\0\r\n\r\n".to_owned(),
            format!("GET {ADS}\r\n\r\n"),
            format!("GET {ADS} HTTP/3.0\r\nhost: x\r\n\r\n"),
            format!("GET {ADS} HTTP/1.1\r\nhost x\r\n\r\n"),
            post(ADS, "content-length: many\r\n"),
            post(ADS, "content-length: 1\r\ncontent-length: 2\r\n"),
            post(ADS, "content-length: -1\r\n"),
            post(ADS, "content-length: 99999999999999999999999\r\n"),
        ] {
            let mut wire = Wire::open(server.address()).await;
            wire.send(&sent).await;
            refused(wire).await;
        }
        drop(wire);
    }

    async fn a_broken_chunk_is_refused(server, wire) {
        wire.send(post(ADS, "transfer-encoding: chunked\r\n")).await;
        wire.send("zz\r\n{}\r\n0\r\n\r\n").await;
        wire.answer().await.expect("an answer").problem(400, "body-broken");
    }

    async fn a_body_that_ends_early_writes_nothing(server, wire) {
        let text = ad().to_string();
        wire.send(post(ADS, &format!("content-length: {}\r\n", text.len() + 1))).await;
        wire.send(text).await;
        drop(wire);
        assert_eq!(server.list("").await.1, 0);
    }

    async fn many_silent_connections_lock_no_client_out(server, wire) {
        let mut silent = Vec::new();
        for _ in 0..500 {
            silent.push(Wire::open(server.address()).await);
        }
        server.still_answers().await;
        drop((silent, wire));
    }
}

/// Refused by the protocol itself: with a 4xx, or by closing.
async fn refused(mut wire: Wire) {
    if let Some(answer) = wire.answer().await {
        assert!((400..500).contains(&answer.status), "{answer:?}");
    }
    wire.closed().await;
}

/// All at once, since each takes as long as its deadline.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slow_peers_are_cut_off() {
    let server = Server::over_socket().await;
    let mut long = ad();
    long["content"] = "x".repeat(10_000).into();
    let batch: Vec<_> = (0..100).map(|_| long.clone()).collect();
    server.post(BATCH, &batch.into()).await.is(200);
    let open = || Wire::open(server.address());
    tokio::join!(
        a_slow_head(open().await),
        a_slow_head_behind_a_request(
            open().await,
            format!("GET {ADS} HTTP/1.1\r\nhost: x\r\n\r\n")
        ),
        a_slow_head_behind_a_request(open().await, post(ADS, "content-length: 1\r\n") + "{"),
        a_slow_head_behind_a_request(
            open().await,
            post(ADS, "transfer-encoding: chunked\r\n") + "1\r\n{\r\n0\r\n\r\n",
        ),
        a_slow_body(open().await),
        a_slow_body_in_chunks(open().await),
        a_body_in_trickles(open().await),
        a_peer_that_takes_no_answers(open().await),
    );
    server.still_answers().await;
}

async fn a_slow_head(mut wire: Wire) {
    wire.send(format!("GET {ADS} HTTP/1.1\r\nhost: x\r\n")).await;
    wire.closed().await;
}

/// A part of it comes with the request before it.
async fn a_slow_head_behind_a_request(mut wire: Wire, request: String) {
    wire.send(format!("{request}GET {ADS} HTTP/1.1\r\nhost: ")).await;
    assert!(wire.answer().await.is_some(), "{request} is not answered");
    wire.closed().await;
}

async fn a_slow_body(mut wire: Wire) {
    wire.send(post(ADS, "content-length: 100\r\n")).await;
    wire.send("{\"title\":").await;
    wire.answer().await.expect("an answer").problem(408, "body-too-slow");
    wire.closed().await;
}

async fn a_slow_body_in_chunks(mut wire: Wire) {
    wire.send(post(BATCH, "transfer-encoding: chunked\r\n")).await;
    wire.send("1\r\n[\r\n").await;
    wire.answer().await.expect("an answer").problem(408, "body-too-slow");
    wire.closed().await;
}

/// Never idle, and never done.
async fn a_body_in_trickles(mut wire: Wire) {
    wire.send(post(ADS, "content-length: 100000\r\n")).await;
    let trickled = until("the end of the server's patience", async || {
        (!wire.send(" ").await || wire.has_answer().await).then_some(())
    });
    trickled.await;
    wire.answer().await.expect("an answer").problem(408, "body-too-slow");
    wire.closed().await;
}

/// Answers that the peer does not read do not pile up: the server stops reading, and then drops the connection.
async fn a_peer_that_takes_no_answers(wire: Wire) {
    let request = format!("GET {ADS}?limit=100 HTTP/1.1\r\nhost: x\r\n\r\n").repeat(100);
    assert!(wire.drops_unread(request.as_bytes()).await, "the connection lasts");
}
