//! `placard demo`: an embedded server with generated ads and a few pools, and lines to try that do what they promise.

use std::path::Path;
use std::time::Duration;

use placard_testkit::process::Process;
use placard_testkit::wait::until;
use reqwest::Method;
use serde_json::Value;

use crate::server::{ANY_PORT, PLACARD, Server, client};

async fn demo(ads: &str, variables: &[(&str, &str)]) -> Server {
    let arguments = ["demo", "--ads", ads, "--listen", ANY_PORT];
    Server::of(Process::start(PLACARD, &arguments, variables)).await
}

/// A `curl` line as a shell would read it: words, some of them in single quotes.
fn words(line: &str) -> Vec<String> {
    let (mut words, mut word, mut quoted) = (Vec::new(), None::<String>, false);
    for c in line.chars() {
        match c {
            '\'' => {
                quoted = !quoted;
                word.get_or_insert_default();
            }
            ' ' if !quoted => words.extend(word.take()),
            c => {
                assert!(
                    quoted || !"&|;<>()$`\\\"*?#~".contains(c),
                    "{c} means something to a shell"
                );
                word.get_or_insert_default().push(c);
            }
        }
    }
    assert!(!quoted, "a quote is open in {line}");
    words.extend(word);
    words
}

/// Does what `curl` would.
async fn perform(line: &str) -> (u16, Value) {
    let words = words(line);
    let (mut method, mut url, mut body) = (Method::GET, None, None);
    let mut fields = Vec::new();
    let mut rest = words.iter().skip(1);
    while let Some(word) = rest.next() {
        match word.as_str() {
            "-H" => fields.extend(rest.next().and_then(|field| field.split_once(": "))),
            "-d" => {
                body = rest.next();
                if method == Method::GET {
                    method = Method::POST;
                }
            }
            "-X" => {
                let name = rest.next().expect("a method");
                method = name.parse().expect("a method");
            }
            word => assert!(url.replace(word).is_none(), "two URLs in {line}"),
        }
    }
    let mut request = client().request(method, url.expect("a URL"));
    for (name, value) in fields {
        request = request.header(name, value);
    }
    if let Some(body) = body {
        request = request.body(body.clone());
    }
    let answer = request.send().await.expect("the server answers");
    (answer.status().as_u16(), answer.json().await.expect("the answer is JSON"))
}

#[tokio::test]
async fn demos_curl_commands_work() {
    let mut server = demo("1000", &[]).await;
    server.process.line("the last line", |line| line.contains(" -X PATCH ").then_some(())).await;
    let out = server.process.out();
    let lines: Vec<_> =
        out.iter().map(|line| line.trim()).filter(|line| line.starts_with("curl ")).collect();
    assert_eq!(lines.len(), 6, "{out:#?}");

    let (status, page) = perform(lines[0]).await;
    assert_eq!(status, 200);
    assert!(lines[0].contains("/api/v1/ad?age=24&gender=F&country=TW&platform=ios&limit=3"));
    let ads = page["ads"].as_array().unwrap();
    assert_eq!(ads.len(), 3);
    for ad in ads {
        let open_or = |name: &str, value: &str| match &ad[name] {
            Value::Null => true,
            listed => listed.as_array().unwrap().contains(&value.into()),
        };
        assert!(
            open_or("gender", "F") && open_or("country", "TW") && open_or("platform", "ios"),
            "{ad}"
        );
        let bound = |name: &str, open| ad[name].as_u64().unwrap_or(open);
        assert!((bound("age_start", 1)..=bound("age_end", 100)).contains(&24), "{ad}");
    }
    let total = page["total"].as_u64().unwrap();
    assert!(total > 3 && total < 1_000, "{total}");
    let everything =
        server.json("/api/v1/ad?age=24&gender=F&country=TW&platform=ios&limit=100").await;
    assert_eq!(everything["ads"].as_array().unwrap().len() as u64, total.min(100));

    let (status, page) = perform(lines[1]).await;
    assert_eq!(status, 200);
    assert!(!page["ads"].as_array().unwrap().is_empty(), "the second line shows something");

    let (status, created) = perform(lines[2]).await;
    assert_eq!(status, 201, "{created}");
    let id = created["id"].as_str().unwrap();
    assert_eq!(server.json(&format!("/api/v1/ad/{id}")).await["status"], "active");
    assert_eq!(server.ads().await, 1_001);

    // Three of the first slot are reserved, and do not lapse any more.
    let (status, page) = perform(lines[3]).await;
    assert_eq!((status, &page["total"]), (200, &1.into()), "{page}");
    let slot = &page["pools"][0];
    assert_eq!(slot["available"], 20, "{slot}");
    let (status, reserved) = perform(lines[4]).await;
    assert_eq!((status, &reserved["pool"]), (201, &slot["id"]), "{reserved}");
    assert!(reserved["expires_at"].is_string(), "{reserved}");
    let (status, confirmed) = perform(lines[5]).await;
    assert_eq!((status, &confirmed["id"]), (200, &reserved["id"]), "{confirmed}");
    assert!(confirmed["expires_at"].is_null(), "{confirmed}");
    let pool = slot["id"].as_str().unwrap();
    let slot = server.json(&format!("/api/v1/pool/{pool}")).await;
    assert_eq!((&slot["reserved"], &slot["available"]), (&3.into(), &17.into()), "{slot}");
    assert_eq!(server.json("/api/v1/pool").await["total"], 3);
    server.stop().await;
}

fn entries(directory: &Path) -> usize {
    std::fs::read_dir(directory).expect("the directory can be read").count()
}

#[tokio::test]
async fn demo_leaves_no_files_behind() {
    let directory = tempfile::tempdir().unwrap();
    let variables = [("TMPDIR", directory.path().to_str().unwrap())];
    let server = demo("0", &variables).await;
    assert_eq!(server.ads().await, 0);
    assert_eq!(entries(directory.path()), 1);
    server.stop().await;
    assert_eq!(entries(directory.path()), 0);
}

/// Millions of ads take a while to generate, and an operator who waits for them may have had enough.
#[tokio::test]
async fn demo_can_be_stopped_while_it_fills() {
    for signal in [Process::terminate, Process::interrupt] {
        let directory = tempfile::tempdir().unwrap();
        let variables = [("TMPDIR", directory.path().to_str().unwrap())];
        let arguments = ["demo", "--ads", "10000000", "--listen", ANY_PORT];
        let process = Process::start(PLACARD, &arguments, &variables);
        until("a journal that grows", async || {
            let mut made = std::fs::read_dir(directory.path()).expect("the directory can be read");
            let log = made.next()?.ok()?.path().join("journal.sqlite-wal");
            std::fs::metadata(log).is_ok_and(|log| log.len() > 1 << 20).then_some(())
        })
        .await;
        signal(&process);
        let ended = tokio::time::timeout(Duration::from_secs(10), process.ended()).await;
        let ended = ended.expect("it ends long before it is full");
        assert_eq!(ended.status.code(), Some(0), "{ended:#?}");
        assert_eq!(entries(directory.path()), 0, "nothing is left behind");
    }
}

/// The demo talks to its own server without a proxy in between.
#[tokio::test]
async fn demo_ignores_proxy_env() {
    let nowhere = "http://127.0.0.1:1";
    let proxies =
        ["HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"].map(|name| (name, nowhere));
    let cleared = [("NO_PROXY", ""), ("no_proxy", "")];
    let server = demo("10", &[&proxies[..], &cleared].concat()).await;
    assert_eq!(server.ads().await, 10);
    server.stop().await;
}
