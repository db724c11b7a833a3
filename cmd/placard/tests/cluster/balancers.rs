//! Replicas behind HAProxy, nginx and Caddy, with the configurations that operators are given, under clients that keep their
//! connections: replicas are restarted in turn, and one is held.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use placard_testkit::port::Port;
use placard_testkit::process::Process;
use placard_testkit::replica::Serve;
use placard_testkit::servers::caddy::Caddy;
use placard_testkit::servers::haproxy::HaProxy;
use placard_testkit::servers::nginx::Nginx;
use placard_testkit::wait::until;
use reqwest::Client;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::task::JoinSet;
use uuid::Uuid;

use crate::cluster::{ADS, PLACARD, Replica, Servers, ad};

const CLIENTS: usize = 64;
const REPLICAS: usize = 3;
/// Each replica twice, unless the environment says how many.
const RESTARTS: usize = 6;
/// Longer than HAProxy needs to find that a replica is about to go; nginx does not ask.
const DRAIN_DELAY_MS: &str = "2000";
const PAUSE: Duration = Duration::from_millis(50);

/// What a client sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Read,
    Write,
    KeyedWrite,
}

/// Clients of one balancer, each of which sends one request after the other.
pub(crate) struct Crowd {
    url: String,
    stop: Arc<AtomicBool>,
    answers: Vec<Arc<AtomicUsize>>,
    running: JoinSet<(usize, Vec<String>)>,
}

impl Crowd {
    pub(crate) fn start(balancer: u16, kinds: &[Kind]) -> Self {
        Self::of(CLIENTS, balancer, kinds)
    }

    pub(crate) fn of(clients: usize, balancer: u16, kinds: &[Kind]) -> Self {
        let (url, stop) = (format!("http://127.0.0.1:{balancer}{ADS}"), Arc::default());
        let (mut answers, mut running) = (Vec::new(), JoinSet::new());
        for kind in kinds.iter().cycle().take(clients) {
            let answered = Arc::new(AtomicUsize::new(0));
            answers.push(Arc::clone(&answered));
            running.spawn(client(url.clone(), *kind, Arc::clone(&stop), answered));
        }
        Self { url, stop, answers, running }
    }

    /// Waits until every client has had `more` further answers.
    pub(crate) async fn goes_on(&self, more: usize) {
        let counts = || self.answers.iter().map(|count| count.load(Ordering::Relaxed));
        let before: Vec<_> = counts().collect();
        until("an answer for each client", async || {
            counts().zip(&before).all(|(count, before)| count >= before + more).then_some(())
        })
        .await;
    }

    /// Ends all clients, and returns how many writes were acknowledged. None may have failed.
    pub(crate) async fn acknowledged(self) -> usize {
        self.stop.store(true, Ordering::Relaxed);
        let (mut written, mut failed) = (0, Vec::new());
        for (acknowledged, failures) in self.running.join_all().await {
            written += acknowledged;
            failed.extend(failures);
        }
        assert!(failed.is_empty(), "at {}: {} failed: {failed:#?}", self.url, failed.len());
        written
    }
}

async fn client(
    url: String,
    kind: Kind,
    stop: Arc<AtomicBool>,
    answers: Arc<AtomicUsize>,
) -> (usize, Vec<String>) {
    let client = Client::builder().no_proxy().build().expect("a client can be made");
    let (mut acknowledged, mut failed) = (0, Vec::new());
    while !stop.load(Ordering::Relaxed) {
        let request = match kind {
            Kind::Read => client.get(&url),
            Kind::Write | Kind::KeyedWrite => client.post(&url).json(&ad("Behind a balancer")),
        };
        let request = match kind {
            Kind::KeyedWrite => request.header("idempotency-key", Uuid::new_v4().to_string()),
            Kind::Read | Kind::Write => request,
        };
        match request.send().await {
            Ok(answer) if answer.status().is_success() => {
                answers.fetch_add(1, Ordering::Relaxed);
                acknowledged += usize::from(kind != Kind::Read);
                // The connection is used again once its answer was read.
                if let Err(error) = answer.bytes().await {
                    failed.push(format!("{kind:?}: {error:?}"));
                }
            }
            Ok(answer) => {
                let status = answer.status();
                failed.push(format!(
                    "{kind:?}: {status} {}",
                    answer.text().await.unwrap_or_default()
                ));
            }
            Err(error) => failed.push(format!("{kind:?}: {error:?}")),
        }
        tokio::time::sleep(PAUSE).await;
    }
    (acknowledged, failed)
}

/// Replicas that listen at the same ports whenever they are started.
pub(crate) struct Fleet {
    pub(crate) servers: Servers,
    pub(crate) ports: [u16; REPLICAS],
    /// Keeps the ports, so that no other process takes one while its replica is restarted.
    _reserved: [Port; REPLICAS],
    pub(crate) replicas: Vec<Replica>,
}

impl Fleet {
    pub(crate) async fn start() -> Self {
        let servers = Servers::start().await;
        let reserved: [_; REPLICAS] = std::array::from_fn(|_| Port::reserve());
        let ports = reserved.each_ref().map(Port::number);
        let mut fleet = Self { servers, ports, _reserved: reserved, replicas: Vec::new() };
        for port in ports {
            let replica = fleet.replica(port).await;
            fleet.replicas.push(replica);
        }
        fleet
    }

    async fn replica(&self, port: u16) -> Replica {
        let listen = format!("127.0.0.1:{port}");
        let (postgres, redis) = (self.servers.postgres.url(), self.servers.redis.url());
        let serve = Serve {
            listen: &listen,
            drain_delay: DRAIN_DELAY_MS,
            postgres_url: &postgres,
            redis_url: &redis,
            options: &[],
        };
        let mut process = Process::start(PLACARD, &serve.arguments(), &serve.variables());
        let url = process.url().await;
        let client = Client::builder().no_proxy().build().expect("a client can be made");
        Replica::new(process, url, client)
    }

    /// Kills the replica that was started first, and starts it again.
    pub(crate) async fn kill(&mut self, port: u16) {
        self.replicas.remove(0).process.kill().await;
        let replica = self.replica(port).await;
        self.replicas.push(replica);
    }

    /// Stops the replica that was started first, and starts it again.
    pub(crate) async fn restart(&mut self, port: u16) {
        let replica = self.replicas.remove(0);
        replica.process.terminate();
        let ended = replica.process.ended().await;
        assert!(ended.status.success(), "{ended:#?}");
        let replica = self.replica(port).await;
        self.replicas.push(replica);
    }

    /// Waits until every replica has this number of ads.
    async fn has(&self, ads: usize) {
        for replica in &self.replicas {
            let total = async || replica.json(ADS).await["total"].as_u64();
            until("the ads on a replica", async || {
                (total().await >= Some(ads as u64)).then_some(())
            })
            .await;
            assert_eq!(total().await, Some(ads as u64), "a write was done twice");
        }
        self.servers.verify(&self.replicas[0]).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn restarts_behind_balancers_fail_no_request() {
    let mut fleet = Fleet::start().await;
    let haproxy = HaProxy::start(&fleet.ports).await.expect("HAProxy starts");
    let nginx = Nginx::start(fleet.ports).await.expect("nginx starts");
    let caddy = Caddy::start(fleet.ports).await.expect("Caddy starts");
    up([haproxy.port(), caddy.port()]).await;
    let kinds = [Kind::Read, Kind::Write, Kind::Read, Kind::KeyedWrite];
    let ports = [haproxy.port(), nginx.port(), caddy.port()];
    let crowds = ports.map(|port| Crowd::start(port, &kinds));
    let restarts = std::env::var("PLACARD_RESTARTS").ok().map(|many| many.parse());
    let restarts = restarts.map_or(RESTARTS, |many| many.expect("a number of restarts"));
    for port in fleet.ports.into_iter().cycle().take(restarts) {
        for crowd in &crowds {
            crowd.goes_on(1).await;
        }
        fleet.restart(port).await;
    }
    let mut written = 0;
    for crowd in crowds {
        written += crowd.acknowledged().await;
    }
    fleet.has(written).await;
}

/// The replica is held in the middle of clients' requests, and goes on later.
#[tokio::test(flavor = "multi_thread")]
async fn held_replica_fails_no_read_or_keyed_write() {
    let fleet = Fleet::start().await;
    let haproxy = HaProxy::start(&fleet.ports).await.expect("HAProxy starts");
    let nginx = Nginx::start(fleet.ports).await.expect("nginx starts");
    let caddy = Caddy::start(fleet.ports).await.expect("Caddy starts");
    up([haproxy.port(), caddy.port()]).await;
    let kinds = [Kind::Read, Kind::KeyedWrite];
    let crowds = [
        Crowd::start(haproxy.port(), &kinds),
        Crowd::start(nginx.port(), &kinds),
        // Caddy does not keep bodies, so it sends no write again.
        Crowd::start(caddy.port(), &[Kind::Read]),
    ];
    for crowd in &crowds {
        crowd.goes_on(2).await;
    }
    fleet.replicas[0].process.pause();
    let [behind_haproxy, behind_nginx, behind_caddy] = &crowds;
    // nginx does not know that it is held, and goes on asking it. Caddy waits for what it had asked before it knew.
    tokio::join!(behind_haproxy.goes_on(3), behind_nginx.goes_on(1), behind_caddy.goes_on(1));
    fleet.replicas[0].process.resume();
    for crowd in &crowds {
        crowd.goes_on(1).await;
    }
    let mut written = 0;
    for crowd in crowds {
        written += crowd.acknowledged().await;
    }
    fleet.has(written).await;
}

/// Waits until these balancers have found a replica ready.
pub(crate) async fn up<const N: usize>(balancers: [u16; N]) {
    let client = Client::builder().no_proxy().build().expect("a client can be made");
    for port in balancers {
        let url = format!("http://127.0.0.1:{port}{ADS}");
        until("an answer through the balancer", async || {
            let answer = client.get(&url).send().await.ok()?;
            answer.status().is_success().then_some(())
        })
        .await;
    }
}

/// nginx takes "0" for false. The first server that is asked closes the connection without an answer.
#[tokio::test(flavor = "multi_thread")]
async fn a_write_whose_key_is_0_is_sent_again_by_nginx() {
    let mut ports = [0; REPLICAS];
    let (asked, mut servers) = (Arc::new(AtomicUsize::new(0)), JoinSet::new());
    for port in &mut ports {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await;
        let listener = listener.expect("there are free ports");
        *port = listener.local_addr().expect("it is bound").port();
        let asked = Arc::clone(&asked);
        servers.spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    let read = stream.read_buf(&mut head).await;
                    assert!(read.is_ok_and(|bytes| bytes > 0), "nginx sends a request");
                }
                if asked.fetch_add(1, Ordering::Relaxed) > 0 {
                    let answer = "HTTP/1.1 201 Created\r\ncontent-length: 0\r\n\r\n";
                    stream.write_all(answer.as_bytes()).await.expect("nginx reads the answer");
                }
            }
        });
    }
    let nginx = Nginx::start(ports).await.expect("nginx starts");
    let client = Client::builder().no_proxy().build().expect("a client can be made");
    let url = format!("http://127.0.0.1:{}{ADS}", nginx.port());
    let sent = client.post(url).header("idempotency-key", "0").send().await;
    assert_eq!(sent.expect("an answer").status(), 201);
    assert_eq!(asked.load(Ordering::Relaxed), 2);
}
