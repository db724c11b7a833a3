//! The servers, and replicas on them.

use std::net::TcpStream;
use std::path::Path;

use placard_testkit::port::Port;
use placard_testkit::process::{Ended, Process};
use placard_testkit::replica::Serve;
use placard_testkit::servers::postgres::PostgresServer;
use placard_testkit::servers::redis::RedisServer;
use placard_testkit::wait::until;
use reqwest::{Client, Method, Response};
use serde_json::{Value, json};

pub(crate) const PLACARD: &str = env!("CARGO_BIN_EXE_placard");
pub(crate) const ADS: &str = "/api/v1/ad";

/// A private PostgreSQL and a private Redis.
pub(crate) struct Servers {
    pub(crate) postgres: PostgresServer,
    pub(crate) redis: RedisServer,
}

impl Servers {
    pub(crate) async fn start() -> Self {
        let (postgres, redis) = tokio::join!(PostgresServer::start(), RedisServer::start());
        Self {
            postgres: postgres.expect("a private PostgreSQL starts"),
            redis: redis.expect("a private Redis starts"),
        }
    }

    /// A replica that serves; it may still be restoring.
    pub(crate) async fn replica(&self, arguments: &[&str]) -> Replica {
        self.replica_of(PLACARD, arguments).await
    }

    /// As [`Servers::replica`], of another build.
    pub(crate) async fn replica_of(&self, program: &str, arguments: &[&str]) -> Replica {
        self.replica_at(program, &self.postgres.url(), arguments).await
    }

    /// As [`Servers::replica_of`], with its journal in another database.
    pub(crate) async fn replica_at(
        &self,
        program: &str,
        postgres: &str,
        arguments: &[&str],
    ) -> Replica {
        Replica::start(program, (postgres, &self.redis.url()), arguments).await
    }

    /// The process of a replica, which may end before it serves.
    pub(crate) fn replica_starting(
        &self,
        program: &str,
        postgres: &str,
        arguments: &[&str],
    ) -> Process {
        starting(program, (postgres, &self.redis.url()), arguments)
    }

    /// Starts `N` replicas in sequence, and returns them together.
    pub(crate) async fn replicas<const N: usize>(&self) -> [Replica; N] {
        let mut started = Vec::new();
        for _ in 0..N {
            started.push(self.replica(&[]).await);
        }
        started.try_into().unwrap_or_else(|_| unreachable!("as many as were started"))
    }

    /// Verifies the journal, and compares every replica that `replica` knows with it.
    pub(crate) async fn verify(&self, replica: &Replica) {
        self.verify_by(PLACARD, replica).await;
    }

    /// As [`Servers::verify`], by another build.
    pub(crate) async fn verify_by(&self, program: &str, replica: &Replica) {
        let url = self.postgres.url();
        let arguments = ["verify", "--postgres-url", &url, "--target", &replica.url];
        let ended = Process::start(program, &arguments, &[]).ended().await;
        let Ended { status, out, err } = ended;
        assert!(status.success(), "verify ended with {status}: {out:#?} {err:#?}");
    }
}

fn starting(program: &str, (postgres, redis): (&str, &str), arguments: &[&str]) -> Process {
    let (listen, drain_delay) = ("127.0.0.1:0", "0");
    let serve =
        Serve { listen, drain_delay, postgres_url: postgres, redis_url: redis, options: arguments };
    Process::start(program, &serve.arguments(), &serve.variables())
}

/// A running replica, and a client for it.
pub(crate) struct Replica {
    pub(crate) process: Process,
    pub(crate) url: String,
    client: Client,
}

impl Replica {
    /// One that finds the servers at these URLs.
    pub(crate) async fn start(program: &str, servers: (&str, &str), arguments: &[&str]) -> Self {
        let mut process = starting(program, servers, arguments);
        let url = process.url().await;
        let client = Client::builder().no_proxy().build().expect("a client can be made");
        Self { process, url, client }
    }

    /// As [`Replica::start`], of one that may refuse everything for now, and then does not say where it listens.
    pub(crate) async fn launch(
        program: &str,
        (postgres, redis): (&str, &str),
        arguments: &[&str],
    ) -> Self {
        let port = Port::reserve();
        let listen = port.address().to_string();
        let serve = Serve {
            listen: &listen,
            drain_delay: "0",
            postgres_url: postgres,
            redis_url: redis,
            options: arguments,
        };
        let process = Process::start(program, &serve.arguments(), &serve.variables());
        until("the replica to listen", async || TcpStream::connect(&listen).ok()).await;
        let client = Client::builder().no_proxy().build().expect("a client can be made");
        Self { process, url: format!("http://{listen}"), client }
    }

    /// A replica that was started elsewhere.
    pub(crate) fn new(process: Process, url: String, client: Client) -> Self {
        Self { process, url, client }
    }

    pub(crate) async fn send(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
        key: Option<&str>,
    ) -> Response {
        let mut request = self.client.request(method, format!("{}{path}", self.url));
        if let Some(body) = body {
            request = request.json(body);
        }
        if let Some(key) = key {
            request = request.header("Idempotency-Key", key);
        }
        request.send().await.expect("the replica answers")
    }

    pub(crate) async fn get(&self, path: &str) -> Response {
        self.send(Method::GET, path, None, None).await
    }

    pub(crate) async fn json(&self, path: &str) -> Value {
        self.get(path).await.json().await.expect("the answer is JSON")
    }

    /// Creates an ad; the answer.
    pub(crate) async fn create(&self, path: &str, title: &str) -> Value {
        let answer = self.send(Method::POST, path, Some(&ad(title)), None).await;
        let status = answer.status();
        let body: Value = answer.json().await.expect("the answer is JSON");
        assert_eq!(status, 201, "{body}");
        body
    }

    /// Waits until this replica has published a version.
    pub(crate) async fn reaches(&self, version: u64) {
        until("the version on the replica", async || {
            let page = self.json("/readyz").await;
            (page["version"].as_u64() >= Some(version) && page["status"] == "ready").then_some(())
        })
        .await;
    }

    /// The page of the cluster.
    pub(crate) async fn cluster(&self) -> Value {
        self.json("/api/v1/cluster").await
    }
}

/// An ad that fits everyone.
pub(crate) fn ad(title: &str) -> Value {
    json!({
        "title": title, "content": "for everyone",
        "start_at": "2020-01-01T00:00:00Z", "end_at": "2099-01-01T00:00:00Z",
    })
}

/// The version that an answer carries.
pub(crate) fn version(answer: &Response) -> u64 {
    let version = answer.headers().get("placard-version").expect("the answer carries a version");
    version.to_str().ok().and_then(|text| text.parse().ok()).expect("a version is a number")
}

/// The directory's name as an argument.
pub(crate) fn name(directory: &Path) -> &str {
    directory.to_str().expect("the directory's name is text")
}
