//! A write's trace, from its request to where it is applied.

use std::path::Path;

use placard_testkit::authority::Authority;
use placard_testkit::process::Process;
use placard_testkit::wait::until;
use reqwest::{Client, Method, Response};
use tokio::net::TcpListener;

use crate::cluster::{ADS, PLACARD, Replica, Servers, ad, name, version};
use crate::collector::{Collector, Span};

/// The caller's span in each trace.
const CALLER: [u8; 8] = [0xb7, 0xad, 0x6b, 0x71, 0x69, 0x20, 0x33, 0x31];

fn trace(number: u8) -> Vec<u8> {
    let mut id = vec![0x0a; 15];
    id.push(number);
    id
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Asks with a `traceparent` of this trace, which is recorded or not.
async fn ask(url: &str, method: Method, number: u8, recorded: bool) -> Response {
    let client = Client::builder().no_proxy().build().expect("a client can be made");
    let flags = if recorded { "01" } else { "00" };
    let parent = format!("00-{}-{}-{flags}", hex(&trace(number)), hex(&CALLER));
    let request = client.request(method.clone(), format!("{url}{ADS}"));
    let request = if method == Method::POST { request.json(&ad("traced")) } else { request };
    request.header("traceparent", parent).send().await.expect("the replica answers")
}

async fn replica(servers: &Servers, collector: &str, arguments: &[&str]) -> Replica {
    let traced = ["--otlp-endpoint", collector];
    servers.replica(&[&traced, arguments].concat()).await
}

/// Waits for a span of this trace, by its name, of a replica that is or is not this one.
async fn span_of(collector: &Collector, number: u8, name: &str, at: &Replica) -> Span {
    let is = |span: &Span| {
        span.trace == trace(number)
            && span.name == name
            && format!("http://{}", span.replica) == at.url
    };
    collector.span(&format!("the span {name} of {}", at.url), is).await
}

#[tokio::test(flavor = "multi_thread")]
async fn write_is_one_trace_from_request_to_every_replica() {
    let mut servers = Servers::start().await;
    let collector = Collector::start().await;
    let a = replica(&servers, &collector.url, &[]).await;
    let b = replica(&servers, &collector.url, &[]).await;
    let written = ask(&a.url, Method::POST, 1, true).await;
    assert_eq!(written.status(), 201);
    let version = version(&written).to_string();
    let request = span_of(&collector, 1, "POST /api/v1/ad", &a).await;
    assert_eq!(request.parent, CALLER);
    assert_eq!(request.attribute("http.route"), Some(ADS));
    assert_eq!(request.attribute("http.response.status_code"), Some("201"));
    let commit = span_of(&collector, 1, "commit", &a).await;
    assert_eq!(commit.attribute("placard.commit.requests"), Some("1"));
    let publish = span_of(&collector, 1, "publish", &a).await;
    let own = span_of(&collector, 1, "apply", &a).await;
    assert_eq!(own.attribute("placard.apply.from"), Some("commit"));
    let other = span_of(&collector, 1, "apply", &b).await;
    assert_eq!(other.attribute("placard.apply.from"), Some("stream"));
    for step in [&commit, &publish, &own, &other] {
        assert_eq!(step.parent, request.id, "{step:?}");
        assert_eq!(step.attribute("placard.version.first"), Some(version.as_str()), "{step:?}");
        assert_eq!(step.attribute("placard.version.last"), Some(version.as_str()), "{step:?}");
    }
    for waited_for in [&commit, &publish] {
        assert!(waited_for.nanos.0 < waited_for.nanos.1, "{waited_for:?} took no time");
    }

    // The log carries the trace too: without the stream the other replica still joins it.
    servers.redis.stop().await.expect("Redis can be stopped");
    ask(&a.url, Method::POST, 2, true).await;
    let healed = span_of(&collector, 2, "apply", &b).await;
    assert_eq!(healed.attribute("placard.apply.from"), Some("journal"));
    assert_eq!(healed.parent, span_of(&collector, 2, "POST /api/v1/ad", &a).await.id);
}

#[tokio::test(flavor = "multi_thread")]
async fn sampling_follows_the_caller_then_the_sample_rate() {
    let servers = Servers::start().await;
    let collector = Collector::start().await;
    let a = replica(&servers, &collector.url, &[]).await;
    let b = replica(&servers, &collector.url, &["--otlp-sample", "0"]).await;
    // A caller that does not record, a read without a trace context, and a write that was not sampled.
    ask(&a.url, Method::POST, 1, false).await;
    a.get(ADS).await;
    b.create(ADS, "not drawn").await;
    // A write without a trace context, which begins a trace, and a read that is part of one.
    a.create(ADS, "drawn").await;
    let read = ask(&b.url, Method::GET, 2, true).await;
    assert_eq!(read.status(), 200);
    // Spans are sent in their order: with these two those before them would be here.
    let is_root = |span: &Span| span.name == "POST /api/v1/ad" && span.parent.is_empty();
    let root = collector.span("the trace of a write", is_root).await;
    assert_eq!(format!("http://{}", root.replica), a.url);
    span_of(&collector, 2, "GET /api/v1/ad", &b).await;
    let apply = |span: &Span| span.name == "apply" && format!("http://{}", span.replica) == b.url;
    let applied = collector.span("the write on the other replica", apply).await;
    assert_eq!((applied.trace, applied.parent), (root.trace.clone(), root.id));
    let others = collector.spans().into_iter();
    let others: Vec<_> =
        others.filter(|span| span.trace != root.trace && span.trace != trace(2)).collect();
    assert_eq!(others, []);
}

/// Requests that are committed together keep their traces apart.
#[tokio::test(flavor = "multi_thread")]
async fn every_trace_of_a_batch_has_its_commit() {
    let servers = Servers::start().await;
    let collector = Collector::start().await;
    let a = replica(&servers, &collector.url, &[]).await;
    let writes: Vec<_> = (1..=16)
        .map(|number| {
            let url = a.url.clone();
            tokio::spawn(async move { ask(&url, Method::POST, number, true).await.status() })
        })
        .collect();
    for write in writes {
        assert_eq!(write.await.expect("a request does not panic"), 201);
    }
    for number in 1..=16 {
        let request = span_of(&collector, number, "POST /api/v1/ad", &a).await;
        for step in ["commit", "publish", "apply"] {
            assert_eq!(span_of(&collector, number, step, &a).await.parent, request.id, "{step}");
        }
    }
}

/// An embedded server that sends its spans there.
async fn traced_to(
    collector: &str,
    directory: &Path,
    variables: &[(&str, &str)],
) -> (Process, String) {
    let arguments = ["serve", "--listen", "127.0.0.1:0", "--data-dir", name(directory)];
    let arguments = [&arguments[..], &["--otlp-endpoint", collector]].concat();
    let mut process = Process::start(PLACARD, &arguments, variables);
    let url = process.url().await;
    (process, url)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collector_gets_the_headers_it_asks_for() {
    let collector = Collector::start().await;
    let directory = tempfile::tempdir().expect("a directory can be made");
    // In OpenTelemetry's format: a list, values percent-encoded.
    let headers = [("OTEL_EXPORTER_OTLP_HEADERS", "authorization=Bearer%20a-secret,x-tenant=ads")];
    let (_process, url) = traced_to(&collector.url, directory.path(), &headers).await;
    assert_eq!(ask(&url, Method::POST, 1, true).await.status(), 201);
    collector.span("the request", |span| span.trace == trace(1)).await;
    assert_eq!(collector.header("authorization").as_deref(), Some("Bearer a-secret"));
    assert_eq!(collector.header("x-tenant").as_deref(), Some("ads"));
}

/// The system's authorities are those of its own file, or of the one that SSL_CERT_FILE names.
#[tokio::test(flavor = "multi_thread")]
async fn a_collector_is_known_by_its_certificate() {
    let (authority, stranger) = (Authority::new(), Authority::new());
    let directory = tempfile::tempdir().expect("a directory can be made");
    let file = directory.path().join("authority.pem");
    std::fs::write(&file, authority.pem()).expect("the file can be written");
    let known = [("SSL_CERT_FILE", name(&file))];

    let collector = Collector::with_tls(&authority.sign("127.0.0.1")).await;
    let (_process, url) = traced_to(&collector.url, &directory.path().join("known"), &known).await;
    assert_eq!(ask(&url, Method::POST, 1, true).await.status(), 201);
    collector.span("the request", |span| span.trace == trace(1)).await;

    for (nth, shown) in [stranger.sign("127.0.0.1"), authority.sign("192.0.2.1")].iter().enumerate()
    {
        let collector = Collector::with_tls(shown).await;
        let data = directory.path().join(nth.to_string());
        let (process, url) = traced_to(&collector.url, &data, &known).await;
        loses_spans_and_nothing_else(process, &url).await;
        assert_eq!(collector.spans(), []);
    }
}

async fn spans_counted(url: &str, outcome: &str) -> u64 {
    let client = Client::builder().no_proxy().build().expect("a client can be made");
    let answer = client.get(format!("{url}/metrics")).send().await.expect("the server answers");
    let text = answer.text().await.expect("metrics are text");
    let name = format!("placard_spans_total{{outcome=\"{outcome}\"}} ");
    let count = text.lines().find_map(|line| line.strip_prefix(&name));
    count.and_then(|count| count.parse().ok()).expect("spans are counted")
}

/// No request waits for a collector that is down, or that accepts requests and never answers.
#[tokio::test(flavor = "multi_thread")]
async fn failing_collector_costs_only_spans() {
    let silent = TcpListener::bind("127.0.0.1:0").await.expect("there is a free port");
    let silent_url = format!("http://{}", silent.local_addr().expect("a listener has an address"));
    for collector in ["http://127.0.0.1:1", &silent_url] {
        let directory = tempfile::tempdir().expect("a directory can be made");
        let (process, url) = traced_to(collector, directory.path(), &[]).await;
        loses_spans_and_nothing_else(process, &url).await;
    }
}

async fn loses_spans_and_nothing_else(process: Process, url: &str) {
    for number in 1..=3 {
        assert_eq!(ask(url, Method::POST, number, true).await.status(), 201);
    }
    until("spans that failed", async || (spans_counted(url, "failed").await > 0).then_some(()))
        .await;
    assert_eq!(spans_counted(url, "sent").await, 0);
    assert_eq!(ask(url, Method::POST, 4, true).await.status(), 201);
    process.terminate();
    let ended = process.ended().await;
    assert!(ended.status.success(), "{ended:?}");
    let warned = ended.err.iter().filter(|line| line.contains("spans cannot be sent")).count();
    assert_eq!(warned, 1, "{ended:?}");
}
