//! `placard autoscale` as a process: its command, its metrics, its log and its end. Its replicas are embedded servers
//! behind a real HAProxy.

use std::fs;
use std::time::Instant;

use placard_testkit::process::Process;
use placard_testkit::servers::haproxy::HaProxy;
use placard_testkit::wait::until;
use reqwest::StatusCode;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::server::{PLACARD, Server, client};

const MANUAL: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/OPERATIONS.md");
const HEADING: &str = "\n### Metrics of the autoscaler\n";
const TABLE: &str = "| metric | kind | what |\n|---|---|---|\n";

/// A server behind a balancer, and an autoscaler that wants two.
struct Scaled {
    autoscaler: Process,
    metrics: String,
    directory: TempDir,
    _server: Server,
    _haproxy: HaProxy,
}

impl Scaled {
    /// Starts it with this command, which a shell runs in its directory and which finds the number in `$1`.
    async fn start(script: &str, options: &[&str]) -> Self {
        Self::with(script, options, &[]).await
    }

    async fn with(script: &str, options: &[&str], variables: &[(&str, &str)]) -> Self {
        let directory = tempfile::tempdir().expect("a directory can be made");
        let server = Server::on(&directory.path().join("data")).await;
        let port = server.url.rsplit_once(':').and_then(|(_, port)| port.parse().ok());
        let haproxy = HaProxy::start(&[port.expect("a port")]).await.expect("HAProxy starts");
        let balancer = format!("http://127.0.0.1:{}", haproxy.statistics());
        let first = ["autoscale", "--balancer", &balancer, "--interval", "1"];
        let second = ["--sessions-per-replica", "100", "--metrics-listen", "127.0.0.1:0"];
        let script = format!("cd {} && {script}", directory.path().display());
        let command = ["--", "sh", "-c", &script, "sh", "{replicas}"];
        let arguments = [&first[..], &second, options, &command].concat();
        let mut autoscaler = Process::start(PLACARD, &arguments, variables);
        let metrics = autoscaler.url().await;
        Self { autoscaler, metrics, directory, _server: server, _haproxy: haproxy }
    }

    /// Waits until its metrics have these lines.
    async fn shows(&self, lines: &[&str]) {
        let client = client();
        until(&format!("{lines:?}"), async || {
            let text = client.get(&self.metrics).send().await.ok()?.text().await.ok()?;
            let has = |line: &&str| text.contains(&format!("\n{line}\n"));
            lines.iter().all(has).then_some(())
        })
        .await;
    }

    fn file(&self, name: &str) -> Option<String> {
        fs::read_to_string(self.directory.path().join(name)).ok()
    }
}

/// Starts an autoscaler whose balancer does not answer.
fn unanswered() -> Process {
    let arguments = ["autoscale", "--requests-per-replica", "1", "--interval", "1"];
    let places = ["--balancer", "http://127.0.0.1:1", "--metrics-listen", "127.0.0.1:0"];
    let arguments = [&arguments[..], &places, &["--", "false", "{replicas}"]].concat();
    Process::start(PLACARD, &arguments, &[])
}

/// Returns the number that a page of metrics has under this name.
fn number(text: &str, name: &str) -> f64 {
    let found = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    found.and_then(|number| number.parse().ok()).unwrap_or_else(|| panic!("no {name}: {text}"))
}

fn has_line(lines: &[String], parts: &[&str]) -> bool {
    lines.iter().any(|line| parts.iter().all(|part| line.contains(part)))
}

#[tokio::test]
async fn failing_command_is_logged_and_waits() {
    let scaled =
        Scaled::start("echo $1 >> asked && echo 'no such service' >&2 && exit 3", &[]).await;
    scaled
        .shows(&[
            "placard_autoscale_ups_total 1",
            "placard_autoscale_commands_failed_total 1",
            "placard_autoscale_backing_off 1",
            "placard_autoscale_replicas 1",
            "placard_autoscale_replicas_wanted 2",
        ])
        .await;
    assert_eq!(scaled.file("asked").as_deref(), Some("2\n"));
    scaled.autoscaler.terminate();
    let ended = scaled.autoscaler.ended().await;
    assert_eq!(ended.status.code(), Some(0), "{ended:#?}");
    assert!(
        has_line(&ended.err, &[" INFO ", "scaling", "from=1", "to=2", "why=\"up\""]),
        "{ended:#?}"
    );
    assert!(has_line(&ended.err, &[" WARN ", "no such service", "retry_in_s=10"]), "{ended:#?}");
}

#[tokio::test]
async fn dry_run_logs_the_command_and_does_not_run_it() {
    let scaled = Scaled::start("echo $1 >> asked", &["--dry-run", "--replicas-min", "4"]).await;
    // It goes on as if it had been run.
    scaled.shows(&["placard_autoscale_ups_total 1", "placard_autoscale_replicas_serving 4"]).await;
    assert_eq!(scaled.file("asked"), None);
    scaled.autoscaler.terminate();
    let ended = scaled.autoscaler.ended().await;
    assert!(has_line(&ended.err, &["scaling", "dry_run=true", "sh 4"]), "{ended:#?}");
}

#[tokio::test]
async fn command_that_runs_is_finished_at_the_end() {
    let script = "touch begun && until [ -e go ]; do sleep 0.05; done && echo $1 > done";
    let scaled = Scaled::start(script, &[]).await;
    until("the command", async || scaled.file("begun")).await;
    scaled.autoscaler.terminate();
    until("the signal", async || {
        has_line(&scaled.autoscaler.err(), &["stopping", "SIGTERM"]).then_some(())
    })
    .await;
    assert_eq!(scaled.file("done"), None);
    fs::write(scaled.directory.path().join("go"), "").unwrap();
    let (autoscaler, directory) = (scaled.autoscaler, scaled.directory);
    let ended = autoscaler.ended().await;
    assert_eq!(ended.status.code(), Some(0), "{ended:#?}");
    assert_eq!(fs::read_to_string(directory.path().join("done")).unwrap(), "2\n");
}

/// The command may be half-way through starting or stopping replicas.
#[tokio::test]
async fn killed_autoscaler_leaves_its_command_alone() {
    let script =
        "touch begun && until [ -e go ]; do sleep 0.05; done && echo said >&2 && echo $1 > done";
    let scaled = Scaled::start(script, &[]).await;
    until("the command", async || scaled.file("begun")).await;
    let (autoscaler, directory) = (scaled.autoscaler, scaled.directory);
    assert!(autoscaler.kill().await.status.code().is_none());
    fs::write(directory.path().join("go"), "").unwrap();
    let done = directory.path().join("done");
    until("the command's end", async || {
        fs::read_to_string(&done).ok().filter(|text| text == "2\n")
    })
    .await;
}

/// Without a place for temporary files, what the command says goes into the log as it is.
#[tokio::test]
async fn command_runs_without_a_temporary_file() {
    let script = "echo said >&2 && echo $1 > done && exit 1";
    let scaled = Scaled::with(script, &[], &[("TMPDIR", "/nowhere")]).await;
    let done = async || scaled.file("done").filter(|text| text == "2\n");
    until("the command's end", done).await;
    scaled.shows(&["placard_autoscale_commands_failed_total 1"]).await;
    scaled.autoscaler.terminate();
    let ended = scaled.autoscaler.ended().await;
    assert!(ended.err.iter().any(|line| line == "said"), "{ended:#?}");
}

#[tokio::test]
async fn command_past_its_time_is_killed() {
    let scaled = Scaled::start("sleep 600", &["--command-timeout", "1"]).await;
    scaled.shows(&["placard_autoscale_commands_failed_total 1"]).await;
    let killed = ["WARN", "sh was killed: it had not ended after 1 s"];
    until("the line of the log", async || {
        has_line(&scaled.autoscaler.err(), &killed).then_some(())
    })
    .await;
}

#[tokio::test]
async fn silent_balancer_is_logged_and_nothing_is_done() {
    let mut autoscaler = unanswered();
    let metrics = autoscaler.url().await;
    let client = client();
    let text = until("two looks", async || {
        let text = client.get(&metrics).send().await.ok()?.text().await.ok()?;
        (number(&text, "placard_autoscale_looks_incomplete_total") >= 2.0).then_some(text)
    })
    .await;
    assert!(text.contains("\nplacard_autoscale_incomplete 1\n"), "{text}");
    assert!(text.contains("\nplacard_autoscale_ups_total 0\n"), "{text}");
    let root = metrics.replace("/metrics", "/");
    for (answer, status) in [
        (client.get(&root).send(), StatusCode::NOT_FOUND),
        (client.post(&metrics).send(), StatusCode::METHOD_NOT_ALLOWED),
    ] {
        assert_eq!(answer.await.unwrap().status(), status);
    }
    autoscaler.terminate();
    let ended = autoscaler.ended().await;
    assert_eq!(ended.status.code(), Some(0), "{ended:#?}");
    let says = ["WARN", "a balancer cannot be read", "cannot use http://127.0.0.1:1/metrics"];
    assert!(has_line(&ended.err, &says), "{ended:#?}");
}

/// A balancer that is waited for must not make the rate of another one look greater than it is.
#[tokio::test]
async fn balancer_that_hangs_and_then_refuses_scales_nothing() {
    let listen = async || TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
    let (steady, hanging) = (listen().await, listen().await);
    let places = [&steady, &hanging].map(|one| one.local_addr().expect("it is bound"));
    let began = Instant::now();
    let serving = tokio::spawn(async move {
        loop {
            let Ok((stream, _)) = steady.accept().await else { continue };
            answer(stream, began).await;
        }
    });
    let balancers = places.map(|place| format!("http://{place}")).join(",");
    // Ten times the load would still be too little for a second replica.
    let options = ["autoscale", "--balancer", &balancers, "--requests-per-replica", "1000"];
    let more = ["--interval", "1", "--replicas-min", "1", "--metrics-listen", "127.0.0.1:0"];
    let arguments = [&options[..], &more, &["--", "true", "{replicas}"]].concat();
    let mut autoscaler = Process::start(PLACARD, &arguments, &[]);
    let metrics = autoscaler.url().await;
    let client = client();
    let asked = async || hanging.accept().await.expect("the autoscaler asks").0;
    for _ in 0..3 {
        answer(asked().await, began).await;
    }
    let held = [asked().await, asked().await, asked().await];
    drop((hanging, held));
    let looks = |text: &str| number(text, "placard_autoscale_looks_total");
    let page = async || client.get(&metrics).send().await.ok()?.text().await.ok();
    let before = until("the metrics", page).await;
    let after = until("three more looks", async || {
        page().await.filter(|text| looks(text) >= looks(&before) + 3.0)
    })
    .await;
    assert_eq!(number(&after, "placard_autoscale_replicas"), 1.0, "{after}");
    serving.abort();
}

/// Answers as a balancer with one replica and 100 requests a second: no HAProxy hangs when it is asked to.
async fn answer(mut stream: TcpStream, began: Instant) {
    let mut head = [0; 4096];
    let _ = stream.read(&mut head).await;
    let requests = (began.elapsed().as_secs_f64() * 100.0) as u64;
    let page = format!(
        "haproxy_process_uptime_seconds 1000\nhaproxy_process_start_time_seconds 1\n\
         haproxy_backend_current_queue{{proxy=\"replicas\"}} 0\n\
         haproxy_backend_current_sessions{{proxy=\"replicas\"}} 0\n\
         haproxy_backend_http_requests_total{{proxy=\"replicas\"}} {requests}\n\
         haproxy_backend_response_time_average_seconds{{proxy=\"replicas\"}} 0.001\n\
         haproxy_server_status{{proxy=\"replicas\",server=\"replica1\",state=\"UP\"}} 1\n"
    );
    let head = "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length";
    let answer = format!("{head}: {}\r\n\r\n{page}", page.len());
    let _ = stream.write_all(answer.as_bytes()).await;
}

/// The manual's table is what the page says; with `UPDATE` it is written.
#[tokio::test]
async fn the_manual_lists_the_metrics_of_the_autoscaler() {
    let mut autoscaler = unanswered();
    let page = client().get(autoscaler.url().await).send().await.expect("the autoscaler answers");
    let metrics = page.text().await.expect("metrics are text");
    let helps = metrics.lines().filter_map(|line| line.strip_prefix("# HELP ")?.split_once(' '));
    let rows: String = helps
        .map(|(name, help)| {
            let kind = format!("# TYPE {name} ");
            let kind = metrics.lines().find_map(|line| line.strip_prefix(&kind));
            format!("| `{name}` | {} | {help} |\n", kind.expect("a metric has a kind"))
        })
        .collect();
    let manual = fs::read_to_string(MANUAL).expect("the manual is there");
    let (before, section) = manual.split_once(HEADING).expect("the manual has the section");
    let (words, table) = section.split_once(TABLE).expect("the section has a table");
    let (written, after) = table.split_once("\n\n").expect("the table ends");
    if std::env::var_os("UPDATE").is_some() {
        let text = format!("{before}{HEADING}{words}{TABLE}{rows}\n{after}");
        fs::write(MANUAL, text).expect("it can be written");
    } else {
        assert_eq!(format!("{written}\n"), rows, "write it again with `make manual`");
    }
}

#[tokio::test]
async fn option_that_makes_no_sense_is_refused_in_one_line() {
    let valid = ["--balancer", "http://127.0.0.1:1", "--requests-per-replica", "1"];
    for (more, says) in [
        (
            &["--replicas-min", "5", "--replicas-max", "4", "--", "true", "{replicas}"][..],
            "--replicas-min 5",
        ),
        (&["--", "docker", "compose", "up"], "the command has no {replicas}"),
        (&["--", "", "{replicas}"], "the command has no program"),
        (
            &["--balancer", "http://127.0.0.1:1/metrics", "--", "true", "{replicas}"],
            "--balancer names http://127.0.0.1:1/metrics twice",
        ),
    ] {
        let arguments = [&["autoscale"][..], &valid, more].concat();
        let ended = Process::start(PLACARD, &arguments, &[]).ended().await;
        assert_eq!(ended.status.code(), Some(2), "{ended:#?}");
        assert!(matches!(ended.err.as_slice(), [line] if line.contains(says)), "{ended:#?}");
    }
}
