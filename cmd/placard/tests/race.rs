//! A thousand clients race for the last units of a pool, on three replicas that are killed, held and cut off from PostgreSQL. It
//! is a program of its own, since nothing else gets much done beside it.

#![allow(clippy::disallowed_methods, reason = "tests use clocks, chance and tasks as they like")]

use std::sync::Arc;
use std::time::Duration;

use placard_testkit::port::Port;
use placard_testkit::process::Process;
use placard_testkit::proxy::Proxy;
use placard_testkit::replica::Serve;
use placard_testkit::servers::postgres::PostgresServer;
use placard_testkit::servers::redis::RedisServer;
use placard_testkit::wait::{PATIENCE, until};
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use reqwest::{Client, Response, StatusCode};
use serde_json::{Value, json};
use uuid::Uuid;

const PLACARD: &str = env!("CARGO_BIN_EXE_placard");
const POOLS: &str = "/api/v1/pool";
const RESERVATIONS: &str = "/api/v1/reservation";

/// Runs of the race.
const RUNS: u64 = 20;
const CLIENTS: u64 = 1_000;
const UNITS: u64 = 100;
/// Longer than a replica waits for anything before it answers.
const ANSWER: Duration = Duration::from_secs(8);

/// A replica that keeps its address when it is started again.
struct Place {
    process: Option<Process>,
    port: Port,
}

/// Three replicas behind proxies of PostgreSQL's, and a client for all.
struct Race {
    postgres: PostgresServer,
    redis: RedisServer,
    proxies: Vec<Proxy>,
    places: Vec<Place>,
    client: Client,
    urls: Vec<String>,
}

impl Race {
    async fn start() -> Self {
        let (postgres, redis) = tokio::join!(PostgresServer::start(), RedisServer::start());
        let postgres = postgres.expect("a private PostgreSQL starts");
        let redis = redis.expect("a private Redis starts");
        let mut proxies = Vec::new();
        for _ in 0..3 {
            proxies.push(Proxy::start(postgres.port()).await.expect("a proxy listens"));
        }
        let places: Vec<_> =
            (0..3).map(|_| Place { process: None, port: Port::reserve() }).collect();
        let urls = places
            .iter()
            .map(|place| format!("http://127.0.0.1:{}", place.port.number()))
            .collect();
        let client = Client::builder().no_proxy().timeout(ANSWER).build();
        let client = client.expect("a client can be made");
        let mut race = Self { postgres, redis, proxies, places, client, urls };
        for nth in 0..3 {
            race.launch(nth);
            race.is_ready(nth).await;
        }
        race
    }

    fn launch(&mut self, nth: usize) {
        let listen = self.places[nth].port.address().to_string();
        let postgres = self.postgres.url_through(self.proxies[nth].port());
        let redis = self.redis.url();
        let serve = Serve {
            listen: &listen,
            drain_delay: "0",
            postgres_url: &postgres,
            redis_url: &redis,
            options: &[],
        };
        let process = Process::start(PLACARD, &serve.arguments(), &serve.variables());
        self.places[nth].process = Some(process);
    }

    async fn is_ready(&self, nth: usize) {
        let url = format!("{}/readyz", self.urls[nth]);
        until("a replica to be ready", async || {
            let answer = self.client.get(&url).send().await.ok()?;
            (answer.status() == StatusCode::OK).then_some(())
        })
        .await;
    }

    fn process(&self, nth: usize) -> &Process {
        self.places[nth].process.as_ref().expect("the replica runs")
    }

    /// What a replica shows at a path.
    async fn json(&self, nth: usize, path: &str) -> (StatusCode, Value) {
        let answer = self.client.get(format!("{}{path}", self.urls[nth])).send().await;
        read(answer.expect("the replica answers")).await
    }

    /// One of each fault, while clients race.
    async fn befall(&mut self, rng: &mut SmallRng) {
        let order = rng.random_range(0..3);
        let [killed, held, cut] = [0, 1, 2].map(|nth| (order + nth) % 3);
        let pause = |rng: &mut SmallRng| Duration::from_millis(rng.random_range(0..60));
        tokio::time::sleep(pause(rng)).await;
        self.process(held).pause();
        tokio::time::sleep(pause(rng)).await;
        self.proxies[cut].cut();
        tokio::time::sleep(pause(rng)).await;
        let process = self.places[killed].process.take().expect("the replica runs");
        process.kill().await;
        self.launch(killed);
        self.proxies[cut].cut();
        tokio::time::sleep(pause(rng)).await;
        self.process(held).resume();
        for nth in 0..3 {
            self.is_ready(nth).await;
        }
    }
}

async fn read(answer: Response) -> (StatusCode, Value) {
    (answer.status(), answer.json().await.expect("the answer is JSON"))
}

/// A client: it wants one unit, and asks any replica under one id until it has a definite answer. Returns whether it has got
/// one.
async fn wants(client: Client, urls: Arc<[String]>, pool: Uuid, id: Uuid, seed: u64) -> bool {
    let mut rng = SmallRng::seed_from_u64(seed);
    let body = json!({ "pool": pool.to_string(), "amount": 1, "id": id.to_string() });
    let asked = async {
        loop {
            let url = &urls[rng.random_range(0..urls.len())];
            let answer = client.post(format!("{url}{RESERVATIONS}")).json(&body).send().await;
            let Ok(answer) = answer else { continue };
            match answer.status() {
                StatusCode::CREATED | StatusCode::OK => return true,
                // Written, and not shown here yet: it is asked again until it is.
                StatusCode::ACCEPTED => {}
                StatusCode::CONFLICT => {
                    let (_, problem) = read(answer).await;
                    assert_eq!(problem["type"], "/problems/capacity-exhausted", "{problem}");
                    return false;
                }
                StatusCode::SERVICE_UNAVAILABLE | StatusCode::GATEWAY_TIMEOUT => {}
                other => panic!("{other} for {id}"),
            }
            tokio::time::sleep(Duration::from_millis(rng.random_range(1..50))).await;
        }
    };
    let answered = tokio::time::timeout(4 * PATIENCE, asked).await;
    answered.expect("a client gets an answer in the end")
}

#[tokio::test(flavor = "multi_thread")]
async fn race_for_100_units_makes_100_reservations() {
    let mut race = Race::start().await;
    let urls: Arc<[String]> = race.urls.clone().into();
    for run in 0..RUNS {
        let mut rng = SmallRng::seed_from_u64(run);
        let pool = {
            let body = json!({ "name": format!("Run {run}"), "capacity": UNITS });
            let answer = race.client.post(format!("{}{POOLS}", urls[0])).json(&body).send().await;
            let (status, made) = read(answer.expect("the replica answers")).await;
            assert_eq!(status, StatusCode::CREATED, "{made}");
            made["id"].as_str().and_then(|id| id.parse::<Uuid>().ok()).expect("an id")
        };
        let clients = (0..CLIENTS).map(|nth| {
            let id = Uuid::from_u128(u128::from(run + 1) << 64 | u128::from(nth));
            let (client, urls) = (race.client.clone(), Arc::clone(&urls));
            (id, tokio::spawn(wants(client, urls, pool, id, run * CLIENTS + nth)))
        });
        let clients: Vec<_> = clients.collect();
        race.befall(&mut rng).await;
        let (mut got, mut refused) = (Vec::new(), Vec::new());
        for (id, client) in clients {
            let has_one = client.await.expect("a client does not panic");
            if has_one { got.push(id) } else { refused.push(id) }
        }
        assert_eq!(got.len() as u64, UNITS, "in run {run}");
        for nth in 0..3 {
            until("the last reservation on the replica", async || {
                let (_, shown) = race.json(nth, &format!("{POOLS}/{pool}")).await;
                let (reserved, available) = (&shown["reserved"], &shown["available"]);
                assert!(reserved.as_u64() <= Some(UNITS), "{shown}");
                (*reserved == UNITS && *available == 0).then_some(())
            })
            .await;
        }
        let shown = |id: &Uuid| format!("{RESERVATIONS}/{id}");
        assert_eq!(race.json(1, &shown(&got[0])).await.0, StatusCode::OK);
        assert_eq!(race.json(2, &shown(&refused[0])).await.0, StatusCode::NOT_FOUND);
    }
    let verify = ["verify", "--postgres-url", &race.postgres.url(), "--target", &urls[0]];
    let ended = Process::start(PLACARD, &verify, &[]).ended().await;
    assert!(ended.status.success(), "verify: {:#?} {:#?}", ended.out, ended.err);
}
