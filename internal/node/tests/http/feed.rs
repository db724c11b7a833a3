//! Clients that follow the log, in pages and as a stream of events.

use placard_testkit::wait::{PATIENCE, until};
use reqwest::header::{ACCEPT, HeaderMap};
use rusqlite::Connection;
use serde_json::{Value, json};

use crate::pools::{create as create_pool, pool, reserve};
use crate::server::{Answer, Server, ad, ad_with, all};
use crate::{both, document};

both!(
    each_change_comes_once_with_what_it_has_left,
    pages_follow_each_other_by_id_and_by_version,
    request_waits_for_the_next_change,
    cursor_outside_the_history_is_refused,
    broken_parameters_of_a_feed_are_named,
);

pub(crate) const CHANGES: &str = "/api/v1/changes";

/// The events of an answer, one in each line.
fn events(answer: Answer) -> Vec<Value> {
    let answer = answer.is(200);
    assert_eq!(answer.header("content-type"), Some("application/x-ndjson"));
    let text = String::from_utf8(answer.body.to_vec()).expect("lines are text");
    text.lines().map(|line| serde_json::from_str(line).expect("a line is JSON")).collect()
}

fn versions(events: &[Value]) -> Vec<u64> {
    events.iter().map(|event| event["version"].as_u64().expect("a number")).collect()
}

fn id(event: &Value) -> &str {
    event["id"].as_str().expect("an id is text")
}

async fn page(server: &Server, query: &str) -> Vec<Value> {
    events(server.get(&format!("{CHANGES}?{query}")).await)
}

/// Writes this many ads.
async fn write(server: &Server, ads: usize) {
    for _ in 0..ads {
        server.create(&ad()).await;
    }
}

async fn each_change_comes_once_with_what_it_has_left(server: Server) {
    let first = server.get(CHANGES).await;
    assert_eq!((first.version(), events(first).len()), (0, 0));
    let created = server.create(&ad()).await;
    let patch = server.call("PATCH", &created.location()).json(&json!({ "country": ["TW"] }));
    let patched = patch.send().await.is(200).json();
    server.call("DELETE", &created.location()).send().await.is(200);
    let pool = create_pool(&server, &pool()).await;
    let reservation = reserve(&server, &pool.id(), 4).await;
    let shrink = server.call("PATCH", &reservation.location());
    shrink.json(&json!({ "amount": 3, "expires_at": null })).send().await.is(200);
    let release = format!("{}?used=1", reservation.location());
    server.call("DELETE", &release).send().await.is(200);
    let pause = server.call("PATCH", &pool.location()).json(&json!({ "paused": true }));
    let paused = pause.send().await.is(200).json();
    server.call("DELETE", &pool.location()).send().await.is(200);

    let events = page(&server, "").await;
    assert_eq!(versions(&events), (1..=9).collect::<Vec<_>>());
    for event in &events {
        for (field, value) in [("reason", "client"), ("principal", "")] {
            assert_eq!(event[field], value, "{event}");
        }
        assert_eq!(event["item"], 0);
    }
    let (ad, pool, hold) = (json!(created.id()), json!(pool.id()), json!(reservation.id()));
    let expected = [
        ("ad_put", "ad", &ad, json!({ "ad": created.json() })),
        ("ad_put", "ad", &ad, json!({ "ad": patched })),
        ("ad_deleted", "ad", &ad, json!({ "ad": null })),
    ];
    for (event, (change, subject, id, after)) in events.iter().zip(expected) {
        assert_eq!(
            (&event["change"], &event[subject], &event["after"]),
            (&json!(change), id, &after)
        );
    }
    let balance = |reserved, used| {
        json!({ "balances": [
            { "pool": pool, "reserved": reserved, "allotted": 0, "used": used, "lost": 0 }
        ] })
    };
    assert_eq!((&events[3]["change"], &events[3]["pool"]), (&json!("pool_put"), &pool));
    assert_eq!(events[3]["after"]["pool"]["available"], 10);
    let given = &events[4]["given"][0];
    assert_eq!((&given["id"], &given["amount"], &given["owner"]), (&hold, &json!(4), &Value::Null));
    assert_eq!((&events[4]["change"], &events[4]["after"]), (&json!("moves"), &balance(4, 0)));
    assert_eq!(events[5]["given"][0]["amount"], 3);
    assert_eq!(events[5]["after"], balance(3, 0));
    let closed = &events[6]["closed"][0];
    assert_eq!((&closed["hold"], &closed["used"]), (&hold, &json!(1)));
    assert_eq!((&closed["reason"], &closed["until"].is_string()), (&json!("closed"), &true));
    assert_eq!((&events[6]["given"], &events[6]["after"]), (&json!([]), &balance(0, 1)));
    assert_eq!((&events[7]["after"]["pool"]["paused"], &paused["used"]), (&json!(true), &json!(1)));
    assert_eq!(events[8]["after"], json!({ "pool": null }));
    // The list of batches: each item is an entry of the same request.
    server.post(crate::server::BATCH, &json!([ad_with(json!({})), ad_with(json!({}))])).await;
    let batch = page(&server, "after=9").await;
    assert_eq!(versions(&batch), [10, 11]);
    assert_eq!(batch[0]["request"], batch[1]["request"]);
    assert_eq!((&batch[0]["item"], &batch[1]["item"]), (&json!(0), &json!(1)));
}

async fn pages_follow_each_other_by_id_and_by_version(server: Server) {
    write(&server, 7).await;
    let whole = page(&server, "limit=1000").await;
    assert_eq!(versions(&whole), [1, 2, 3, 4, 5, 6, 7]);
    for by_id in [true, false] {
        let (mut after, mut read) = ("0".to_owned(), Vec::new());
        loop {
            let events = page(&server, &format!("after={after}&limit=3")).await;
            let Some(last) = events.last() else { break };
            after = if by_id { id(last).to_owned() } else { last["version"].to_string() };
            assert!(events.len() <= 3);
            read.extend(events);
        }
        assert_eq!(read, whole);
    }
    // The header is what a browser sends with the URL that it had first.
    let call = server.call("GET", &format!("{CHANGES}?after=1"));
    let resumed = events(call.header("last-event-id", id(&whole[4])).send().await);
    assert_eq!(versions(&resumed), [6, 7]);
    let head = server.call("HEAD", CHANGES).send().await.is(200);
    assert_eq!((head.version(), head.body.len()), (7, 0));
    let asked = server.call("GET", CHANGES).header("if-none-match", "\"1\"").send().await;
    asked.names(&["header if-none-match"]);
}

async fn request_waits_for_the_next_change(server: Server) {
    write(&server, 1).await;
    let write_later = async {
        until("a client that waits", async || {
            let page = server.get("/metrics").await.is(200);
            let page = String::from_utf8_lossy(&page.body).into_owned();
            page.contains("\nplacard_feed_clients 1\n").then_some(())
        })
        .await;
        write(&server, 1).await;
    };
    let (waited, ()) = tokio::join!(page(&server, "after=1&wait=10"), write_later);
    assert_eq!(versions(&waited), [2]);
    assert_eq!(page(&server, "after=2&wait=1").await.len(), 0);
    // What is there is not waited for.
    assert_eq!(versions(&page(&server, "wait=10").await), [1, 2]);
}

async fn cursor_outside_the_history_is_refused(server: Server) {
    write(&server, 3).await;
    let own = page(&server, "").await;
    let other = |version: u64| format!("after={version}-{}", "5a".repeat(32));
    for query in [other(0), other(1), other(3), "after=9".to_owned()] {
        let refused = server.get(&format!("{CHANGES}?{query}")).await;
        let problem = refused.problem(409, "not-in-history");
        assert_eq!(problem["version"], 3, "{query}");
    }
    let stream = server.call("GET", &format!("{CHANGES}?{}", other(2)));
    let stream = stream.header("accept", "text/event-stream").send().await;
    stream.problem(409, "not-in-history");
    let query = format!("after={}", id(&own[2]));
    assert_eq!(page(&server, &query).await.len(), 0);
}

async fn broken_parameters_of_a_feed_are_named(server: Server) {
    let broken = [
        ("after=x&limit=0&wait=11&x=1", &["after", "limit", "wait", "x"][..]),
        ("after=&limit=1001&wait=-1", &["after", "limit", "wait"]),
        ("after=1-ab", &["after"]),
        ("after=1&after=2", &["after"]),
    ];
    for (query, names) in broken {
        let places: Vec<_> = names.iter().map(|name| format!("parameter {name}")).collect();
        let places: Vec<_> = places.iter().map(String::as_str).collect();
        server.get(&format!("{CHANGES}?{query}")).await.names(&places);
    }
    let call = server.call("GET", &format!("{CHANGES}?limit=x")).header("last-event-id", "x");
    call.send().await.names(&["parameter limit", "header last-event-id"]);
    let call = server.call("GET", &format!("{CHANGES}?limit=1&wait=1"));
    let call = call.header("accept", "application/json, Text/Event-Stream;q=0.9");
    call.send().await.names(&["parameter limit", "parameter wait"]);
}

/// A stream of events that a client reads.
struct Stream {
    answer: reqwest::Response,
    text: String,
}

impl Stream {
    async fn open(server: &Server, query: &str, last_event: Option<&str>) -> Self {
        let answer = Self::ask(server, query, last_event).await;
        assert_eq!(answer.status(), 200);
        let field = |headers: &HeaderMap, name: &str| {
            headers.get(name).map(|value| value.to_str().expect("ASCII").to_owned())
        };
        let headers = answer.headers();
        for (name, value) in [
            ("content-type", "text/event-stream"),
            ("cache-control", "no-store"),
            ("x-accel-buffering", "no"),
        ] {
            assert_eq!(field(headers, name).as_deref(), Some(value), "{name}");
        }
        assert!(field(headers, "placard-version").is_some());
        Self { answer, text: String::new() }
    }

    async fn ask(server: &Server, query: &str, last_event: Option<&str>) -> reqwest::Response {
        let client = reqwest::Client::builder().no_proxy().build().expect("a client can be made");
        let url = format!("http://{}{CHANGES}?{query}", server.address());
        let mut request = client.get(url).header(ACCEPT, "text/event-stream");
        if let Some(last_event) = last_event {
            request = request.header("last-event-id", last_event);
        }
        request.send().await.expect("the server answers")
    }

    /// The fields of the next event; `None` at the end. A block without data is passed over.
    async fn next(&mut self) -> Option<Vec<(String, String)>> {
        loop {
            while let Some((block, rest)) = self.text.split_once("\n\n") {
                let fields = block.lines().filter_map(|line| line.split_once(": "));
                let fields: Vec<_> =
                    fields.map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
                self.text = rest.to_owned();
                if fields.iter().any(|(name, _)| name == "data") {
                    return Some(fields);
                }
            }
            let chunk = tokio::time::timeout(PATIENCE, self.answer.chunk()).await;
            let chunk = chunk.expect("the stream goes on").expect("the stream ends whole")?;
            self.text += std::str::from_utf8(&chunk).expect("events are text");
        }
    }

    /// The next change, whose id is that of its event.
    async fn change(&mut self) -> Value {
        let fields = self.next().await.expect("the stream goes on");
        let [(id_field, event_id), (data_field, data)] = &fields[..] else { panic!("{fields:?}") };
        assert_eq!((id_field.as_str(), data_field.as_str()), ("id", "data"));
        document::check_event(data);
        let change: Value = serde_json::from_str(data).expect("data is JSON");
        assert_eq!(id(&change), event_id);
        change
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stream_goes_on_and_resumes_behind_its_last_event() {
    let server = Server::over_socket().await;
    write(&server, 2).await;
    let mut stream = Stream::open(&server, "", None).await;
    let mut seen = vec![stream.change().await, stream.change().await];
    for _ in 0..3 {
        write(&server, 1).await;
        seen.push(stream.change().await);
    }
    assert_eq!(seen, page(&server, "").await);
    let metrics = server.get("/metrics").await.is(200);
    let metrics = String::from_utf8_lossy(&metrics.body).into_owned();
    for line in ["feed_clients 1", "feed_entries_total 10", "feed_refused_total 0"] {
        assert!(metrics.contains(&format!("\nplacard_{line}\n")), "{metrics}");
    }
    drop(stream);
    write(&server, 2).await;
    let mut again = Stream::open(&server, "after=0", Some(id(&seen[4]))).await;
    assert_eq!(versions(&[again.change().await, again.change().await]), [6, 7]);
    // One that begins at the end waits.
    let mut new = Stream::open(&server, "after=7", None).await;
    write(&server, 1).await;
    assert_eq!(new.change().await["version"], 8);
    assert_eq!(again.change().await["version"], 8);
}

/// Deletes the oldest entries of the log, as housekeeping does.
fn trim(server: &Server, up_to: u64) {
    let journal =
        Connection::open(server.directory().join("journal.sqlite")).expect("the journal opens");
    journal.execute("DELETE FROM log WHERE version <= ?1", [up_to]).expect("it is written");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cursor_before_a_trimmed_log_is_gone() {
    let server = Server::over_socket().await;
    write(&server, 6).await;
    trim(&server, 3);
    for query in ["", "after=0", "after=2"] {
        let gone = server.get(&format!("{CHANGES}?{query}")).await.problem(410, "log-trimmed");
        assert!(gone["detail"].as_str().is_some_and(|text| text.contains("entry 4")), "{gone}");
        assert_eq!(Stream::ask(&server, query, None).await.status(), 410);
    }
    assert_eq!(versions(&page(&server, "after=3").await), [4, 5, 6]);
    let server = Server::over_socket().await;
    write(&server, 3).await;
    trim(&server, 3);
    server.get(&format!("{CHANGES}?after=2")).await.problem(410, "log-trimmed");
    assert_eq!(page(&server, "after=3").await.len(), 0);
    write(&server, 1).await;
    assert_eq!(versions(&page(&server, "after=3").await), [4]);
}

/// Its first byte is the level that reading it needs.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn newer_entry_ends_a_stream_with_a_problem() {
    let server = Server::over_socket().await;
    write(&server, 4).await;
    let journal = Connection::open(server.directory().join("journal.sqlite"));
    let journal = journal.expect("the journal opens");
    let third = "SELECT bytes FROM log WHERE version = 3";
    let mut bytes: Vec<u8> =
        journal.query_row(third, [], |row| row.get(0)).expect("there is such an entry");
    bytes[0] = u8::MAX;
    let set = "UPDATE log SET bytes = ?1 WHERE version = 3";
    journal.execute(set, [bytes]).expect("it is written");
    // Behind an id it would not be the entry that follows.
    let page = server.get(&format!("{CHANGES}?after=2")).await;
    let problem = page.problem(503, "newer-format");
    assert!(problem["detail"].as_str().is_some_and(|text| text.contains("entry 3")), "{problem}");
    let mut stream = Stream::open(&server, "after=2", None).await;
    let last = stream.next().await.expect("it says why it ends");
    let [(kind, problem_kind), (data, problem)] = &last[..] else { panic!("{last:?}") };
    assert_eq!((kind.as_str(), problem_kind.as_str(), data.as_str()), ("event", "problem", "data"));
    let problem: Value = serde_json::from_str(problem).expect("data is JSON");
    assert_eq!(problem["type"], "/problems/newer-format");
    assert_eq!(stream.next().await, None);
    server.get(&format!("{CHANGES}?after=1")).await.problem(409, "not-in-history");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_client_more_than_the_most_is_refused() {
    const MOST: usize = placard_model::limits::FEED_CLIENTS_MAX;
    let server = Server::over_socket().await;
    let mut streams = all((0..MOST).map(|_| Stream::open(&server, "", None))).await;
    let refused = server.get(CHANGES).await;
    refused.problem(503, "overloaded");
    assert_eq!(refused.header("retry-after"), Some("1"));
    assert_eq!(Stream::ask(&server, "", None).await.status(), 503);
    // All others go on.
    server.still_answers().await;
    for stream in &mut streams {
        assert_eq!(stream.change().await["version"], 1);
    }
    drop(streams);
    until("room for another client", async || {
        // What is sent to clients that have gone tells the server that they have.
        write(&server, 1).await;
        (Stream::ask(&server, "", None).await.status() == 200).then_some(())
    })
    .await;
}

/// A stream that went on would keep the server from stopping.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn streams_end_whole_when_the_server_stops() {
    let server = Server::over_socket().await;
    write(&server, 1).await;
    let mut stream = Stream::open(&server, "", None).await;
    assert_eq!(stream.change().await["version"], 1);
    let waiting = reqwest::Client::builder().no_proxy().build().expect("a client can be made");
    let url = format!("http://{}{CHANGES}?after=1&wait=10", server.address());
    let waits = async { waiting.get(url).send().await.expect("it is answered").status() };
    let stop = async {
        until("both clients", async || {
            let metrics = server.get("/metrics").await;
            let metrics = String::from_utf8_lossy(&metrics.body).into_owned();
            metrics.contains("placard_feed_clients 2\n").then_some(())
        })
        .await;
        server.stop().await
    };
    let (waited, stopped) = tokio::join!(waits, stop);
    assert_eq!((waited.as_u16(), stopped), (200, true));
    assert_eq!(stream.next().await, None);
}
