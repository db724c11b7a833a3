//! The task board: it is off by default, has a listener of its own, requires the right to see it, and is read-only.
//! These tests use the tasks of an embedded server; the cluster tests cover a cluster's.

use std::path::Path;
use std::time::{Duration, SystemTime};

use placard_model::Timestamp;
use placard_testkit::process::{Ended, Process};
use placard_testkit::wait::until;
use reqwest::{Method, RequestBuilder, Response};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::server::{ANY_PORT, PLACARD, Server};

const TOKEN: &str = "correct-horse-battery";
const TASKS: &str = "/api/v1/queues/placard-expiry/tasks";

/// A server with a board, and where that is.
struct Boarded {
    server: Server,
    board: String,
}

impl Boarded {
    async fn start(directory: &Path, listen: &str, arguments: &[&str]) -> Self {
        let arguments = [&["--admin-listen", listen][..], arguments].concat();
        let mut server = Server::with(directory, &arguments).await;
        let board = |line: &str| line.strip_prefix("Its task board is at ").map(str::to_owned);
        let board = server.process.line("the board's address", board).await;
        let boarded = Self { server, board: board.replace("0.0.0.0", "127.0.0.1") };
        // A moment after the first start there is no queue yet.
        until("the queue", async || (boarded.get(TASKS).await.status() != 503).then_some(())).await;
        boarded
    }

    fn ask(&self, method: Method, path: &str) -> RequestBuilder {
        self.server.client.request(method, format!("{}{path}", self.board))
    }

    async fn get(&self, path: &str) -> Response {
        self.ask(Method::GET, path).send().await.expect("the board answers")
    }

    async fn json(&self, path: &str) -> Value {
        // 503 says that the queue cannot be read at the moment.
        let answer = until(path, async || {
            let answer = self.get(path).await;
            (answer.status() != 503).then_some(answer)
        });
        let answer = answer.await;
        assert_eq!(answer.status(), 200, "{path}");
        answer.json().await.expect("the answer is JSON")
    }
}

fn text(path: &Path) -> &str {
    path.to_str().expect("the path is text")
}

/// The whole second that is so far away.
fn second_in(ahead: Duration) -> u64 {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("it is past 1970");
    (now + ahead).as_secs()
}

async fn create_ending(server: &Server, second: u64) {
    let micros = i64::try_from(second * 1_000_000).expect("a time in range");
    let end = Timestamp::from_micros(micros).expect("a time in range");
    let ad = json!({
        "title": "It ends soon", "content": "for everyone",
        "start_at": "2020-01-01T00:00:00Z", "end_at": end.to_string(),
    });
    server.create(&ad).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn board_lists_the_queue_and_a_pending_task() {
    let directory = tempfile::tempdir().unwrap();
    let boarded = Boarded::start(directory.path(), ANY_PORT, &[]).await;
    // Within the minute for which tasks are created, and late enough that it is not over before the test looks at it.
    let second = second_in(Duration::from_secs(50));
    create_ending(&boarded.server, second).await;
    let task = until("the task", async || {
        let tasks = boarded.json(TASKS).await;
        tasks.as_array().expect("a list of tasks").first().cloned()
    })
    .await;
    assert_eq!(task["args"], second);
    let context = &task["ctx"];
    assert_eq!((&context["status"], &context["run_at"]), (&json!("Pending"), &json!(second)));
    let id = context["task_id"].as_str().expect("a task has an id");
    assert_eq!(boarded.json(&format!("{TASKS}/{id}")).await, task);
    assert_eq!(boarded.json("/api/v1/tasks").await.as_array().map(Vec::len), Some(1));
    let queues = boarded.json("/api/v1/queues").await;
    assert_eq!(queues.as_array().map(Vec::len), Some(1), "{queues}");
    assert_eq!(queues[0]["name"], "placard-expiry");
    let stats = queues[0]["stats"].as_array().expect("a queue has statistics");
    let pending = stats.iter().find(|one| one["title"] == "PENDING_JOBS");
    assert_eq!(pending.map(|one| &one["value"]), Some(&json!("1")), "{queues}");
    assert_eq!(boarded.json("/api/v1/workers").await.as_array().map(Vec::len), Some(1));
    // The API of ads knows nothing of it, nor it of ads.
    assert_eq!(boarded.server.get("/api/v1/queues").await.status(), 404);
    assert_eq!(boarded.get("/api/v1/ad").await.status(), 404);
    boarded.server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn board_pages_load_only_local_assets() {
    let directory = tempfile::tempdir().unwrap();
    let boarded = Boarded::start(directory.path(), ANY_PORT, &[]).await;
    let page = boarded.get("/").await;
    assert_eq!(page.headers()["content-type"], "text/html; charset=utf-8");
    assert_eq!(page.headers()["x-frame-options"], "DENY");
    let html = page.text().await.unwrap();
    assert!(!html.contains("://"), "{html}");
    let quoted = html.split(['"', '\'']).filter(|part| part.starts_with('/') && part.contains('.'));
    let mut assets: Vec<_> = quoted.collect();
    assets.sort_unstable();
    assets.dedup();
    assert_eq!(assets.len(), 3, "{html}");
    for asset in assets {
        let answer = boarded.get(asset).await;
        let expected = match asset.rsplit('.').next() {
            Some("js") => "application/javascript",
            Some("css") => "text/css",
            Some("wasm") => "application/wasm",
            _ => panic!("{asset} is nothing that is known"),
        };
        assert_eq!(
            (answer.status().as_u16(), &answer.headers()["content-type"]),
            (200, &expected.parse().unwrap())
        );
        assert!(!answer.bytes().await.unwrap().is_empty(), "{asset}");
    }
    // A page of the board, entered as an address, is the same file.
    assert_eq!(boarded.get("/queues").await.text().await.unwrap(), html);
    assert_eq!(boarded.get("/none.js").await.status(), 404);
    boarded.server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn board_refuses_writes_bad_pages_and_unknown_paths() {
    let directory = tempfile::tempdir().unwrap();
    let boarded = Boarded::start(directory.path(), ANY_PORT, &[]).await;
    for (method, path) in [
        (Method::PUT, TASKS),
        (Method::POST, TASKS),
        (Method::DELETE, "/api/v1/queues/placard-expiry"),
        (Method::PATCH, "/"),
    ] {
        let answer = boarded.ask(method, path).header("x-task-id", "none").json(&1).send().await;
        let answer = answer.expect("the board answers");
        assert_eq!(
            (answer.status().as_u16(), &answer.headers()["allow"]),
            (405, &"GET, HEAD".parse().unwrap())
        );
    }
    assert_eq!(boarded.json(TASKS).await, json!([]));
    for query in
        ["page=0", "page=100001", "page_size=0", "page_size=1001", "page=-1", "page_size=1&page=0"]
    {
        for path in [TASKS, "/api/v1/tasks"] {
            assert_eq!(boarded.get(&format!("{path}?{query}")).await.status(), 400, "{query}");
        }
    }
    for other in ["/api/v1", "/api/v1/", "/api/v1/none", "/api/v1/queues/none/tasks"] {
        assert_eq!(boarded.get(other).await.status(), 404, "{other}");
    }
    boarded.server.stop().await;
}

/// A page of any site may send requests to its own name, once that name resolves to this machine (DNS rebinding).
#[tokio::test(flavor = "multi_thread")]
async fn board_without_tokens_refuses_foreign_host_names() {
    let directory = tempfile::tempdir().expect("there is room");
    let boarded = Boarded::start(directory.path(), ANY_PORT, &[]).await;
    let status = async |host: &str| {
        let asked = boarded.ask(Method::GET, TASKS).header("host", host).send().await;
        asked.expect("the board answers").status()
    };
    for host in ["localhost", "LOCALHOST:80", "127.0.0.1:9091", "[::1]:9091"] {
        assert_eq!(status(host).await, 200, "{host}");
    }
    for host in ["evil.example", "localhost.evil.example:9091", "127.0.0.1.evil.example", "1"] {
        assert_eq!(status(host).await, 421, "{host}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn board_requires_a_token_when_tokens_are_set() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("tokens");
    std::fs::write(&file, format!("ann:{TOKEN}\n")).unwrap();
    for listen in [ANY_PORT, "0.0.0.0:0"] {
        let boarded =
            Boarded::start(directory.path(), listen, &["--admin-token-file", text(&file)]).await;
        for path in ["/", "/none.js", TASKS, "/api/v1/none"] {
            let ask = || boarded.ask(Method::GET, path);
            for call in [
                ask(),
                ask().bearer_auth("correct-horse-batterz"),
                ask().basic_auth("ann", Some("correct-horse-batterz")),
                ask().basic_auth(TOKEN, None::<&str>),
                ask().bearer_auth(TOKEN).basic_auth("ann", Some(TOKEN)),
            ] {
                let answer = call.send().await.expect("the board answers");
                assert_eq!(answer.status(), 401, "{path}");
                let asked: Vec<_> = answer.headers().get_all("www-authenticate").iter().collect();
                assert_eq!(asked, ["Bearer", "Basic realm=\"Placard\", charset=\"UTF-8\""]);
            }
            for call in [ask().bearer_auth(TOKEN), ask().basic_auth("anyone", Some(TOKEN))] {
                assert_ne!(call.send().await.expect("the board answers").status(), 401, "{path}");
            }
        }
        let put = boarded.ask(Method::PUT, TASKS).json(&1).send().await;
        assert_eq!(put.expect("the board answers").status(), 401);
        boarded.server.stop().await;
    }
}

async fn refused(arguments: &[&str]) {
    let ended: Ended = Process::start(PLACARD, arguments, &[]).ended().await;
    assert_eq!(ended.status.code(), Some(2), "{ended:#?}");
    let [line] = ended.err.as_slice() else { panic!("{ended:#?}") };
    assert!(line.starts_with("error: ") && line.contains("--admin-token-file"), "{line}");
    assert!(ended.out.is_empty(), "{ended:#?}");
}

#[tokio::test]
async fn non_loopback_board_requires_a_token_file() {
    let directory = tempfile::tempdir().unwrap();
    let serve = ["serve", "--listen", ANY_PORT, "--data-dir", text(directory.path())];
    for listen in ["0.0.0.0:0", "[::]:0", "192.0.2.1:9000"] {
        refused(&[&serve[..], &["--admin-listen", listen]].concat()).await;
        // A permission for every client to write ads does not include the task board.
        refused(&[&serve[..], &["--admin-listen", listen, "--insecure"]].concat()).await;
    }
}

#[tokio::test]
async fn board_is_off_by_default() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::on(directory.path()).await;
    for path in ["/queues", TASKS] {
        assert_eq!(server.get(path).await.status(), 404, "{path}");
    }
    let Ended { out, .. } = server.stop().await;
    assert_eq!(out.len(), 1, "{out:?}");
}

/// An address that another process listens on is an error of one line. The environment can give the address, and
/// standard output names it in one line.
#[tokio::test]
async fn board_address_comes_from_env_and_must_be_free() {
    let directory = tempfile::tempdir().unwrap();
    let serve = ["serve", "--listen", ANY_PORT, "--data-dir", text(directory.path())];
    let taken = tokio::net::TcpListener::bind(ANY_PORT).await.unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let ended =
        Process::start(PLACARD, &serve, &[("PLACARD_ADMIN_LISTEN", &address)]).ended().await;
    assert_eq!((ended.status.code(), ended.err.len()), (Some(1), 1), "{ended:#?}");
    assert!(ended.err[0].contains(&format!("cannot listen on {address}")), "{ended:#?}");
    drop(taken);
    let mut process = Process::start(PLACARD, &serve, &[("PLACARD_ADMIN_LISTEN", &address)]);
    let said = process
        .line("the board's address", |line| line.contains("board").then(|| line.to_owned()))
        .await;
    assert_eq!(said, format!("Its task board is at http://{address}"));
    process.terminate();
    assert_eq!(process.ended().await.status.code(), Some(0));
}

/// A request that has arrived is answered though the server stops; neither an idle connection nor a page that waits for
/// events keeps the server from stopping.
#[tokio::test(flavor = "multi_thread")]
async fn board_stops_with_the_server() {
    let directory = tempfile::tempdir().unwrap();
    let boarded = Boarded::start(directory.path(), ANY_PORT, &["--drain-delay", "300"]).await;
    let address = boarded.board.trim_start_matches("http://").to_owned();
    let idle = TcpStream::connect(&address).await.unwrap();
    let mut events = boarded.get("/api/v1/events").await;
    assert_eq!(events.headers()["content-type"], "text/event-stream");
    assert_eq!(events.chunk().await.unwrap().as_deref(), Some(&b":\n\n"[..]));
    let mut asking = TcpStream::connect(&address).await.unwrap();
    asking.write_all(b"GET / HTTP/1.1\r\nhost: localhost\r\n").await.unwrap();
    boarded.server.process.terminate();
    asking.write_all(b"\r\n").await.unwrap();
    let mut answer = vec![0; 12];
    asking.read_exact(&mut answer).await.unwrap();
    assert_eq!(answer, b"HTTP/1.1 200");
    drop(asking);
    // The end, not an error.
    assert_eq!(events.chunk().await.unwrap(), None);
    let ended = boarded.server.process.ended().await;
    assert_eq!(ended.status.code(), Some(0), "{ended:#?}");
    assert!(TcpStream::connect(&address).await.is_err(), "somebody listens still");
    drop(idle);
}
