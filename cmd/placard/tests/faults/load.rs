//! Clients. Each writer sends single requests under keys of their own, and repeats one on any replica until it
//! has an answer; each reader asks one replica. All that they are told is written down.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use placard_model::{Query, Version};
use placard_testkit::seed::seed;
use placard_testkit::wait::until;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use reqwest::{Client, Method, StatusCode};
use serde_json::{Value, json};
use tokio::task::JoinSet;
use uuid::Uuid;

/// Unless `PLACARD_FAULT_WRITERS` says otherwise.
pub(crate) const WRITERS: u64 = 6;
/// Ads that a writer has at the most.
const ADS: usize = 12;
/// Pause of a client after an answer that says nothing, and of a reader after each.
const PAUSE: Duration = Duration::from_millis(10);
/// Then a client gives a replica up and asks another one.
const REQUEST: Duration = Duration::from_secs(1);
/// One in so many pages is compared with the scan.
const SAMPLED: u64 = 5;
const PATH: &str = "/api/v1/ad";

/// A write that was acknowledged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Write {
    Put(Uuid, String),
    Delete(Uuid),
}

/// A page that was read.
#[derive(Debug, Clone)]
pub(crate) struct Sample {
    pub(crate) version: Version,
    pub(crate) query: Query,
    pub(crate) ids: Vec<Uuid>,
    pub(crate) total: u64,
}

/// Where a replica said that it stands: its chain and its digest.
type Positions = BTreeMap<Version, (String, String)>;

pub(crate) struct Load {
    urls: Vec<String>,
    client: Client,
    seed: u64,
    /// Writers and readers end.
    over: AtomicBool,
    /// Reads must be answered, by all replicas.
    strict: AtomicBool,
    reads: AtomicU64,
    written: Mutex<BTreeMap<Version, Write>>,
    samples: Mutex<Vec<Sample>>,
    positions: Mutex<Positions>,
    longest: Mutex<Duration>,
    /// Of each replica, the longest time that it took to answer a write with a success.
    answered_in: Mutex<Vec<Duration>>,
    /// The time from one write to the next, and when the next may begin.
    pace: Mutex<Option<(Duration, Instant)>>,
    tasks: Mutex<JoinSet<()>>,
}

/// What a variable says, or `usual`.
pub(crate) fn number(variable: &str, usual: u64) -> u64 {
    match std::env::var(variable) {
        Ok(text) => text.parse().unwrap_or_else(|_| panic!("{variable} is no number: {text}")),
        Err(_) => usual,
    }
}

fn lock<T>(of: &Mutex<T>) -> MutexGuard<'_, T> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Load {
    pub(crate) fn new(urls: Vec<String>, name: &str) -> Self {
        // One connection a request, as from many clients; none waits for one that is gone.
        let client = Client::builder().no_proxy().timeout(REQUEST).build();
        Self {
            urls,
            client: client.expect("a client can be made"),
            seed: seed("placard", name),
            over: AtomicBool::new(false),
            strict: AtomicBool::new(false),
            reads: AtomicU64::new(0),
            written: Mutex::default(),
            samples: Mutex::default(),
            positions: Mutex::default(),
            longest: Mutex::default(),
            answered_in: Mutex::default(),
            pace: Mutex::default(),
            tasks: Mutex::default(),
        }
    }

    /// So many writers begin, who together begin no more than so many writes a second.
    pub(crate) fn begin(self: &Arc<Self>, writers: u64, per_second: Option<u32>) {
        *lock(&self.pace) = per_second.map(|most| (Duration::from_secs(1) / most, Instant::now()));
        let mut tasks = lock(&self.tasks);
        for nth in 0..writers as usize {
            tasks.spawn(Arc::clone(self).write(nth));
        }
        for nth in 0..self.urls.len() {
            tasks.spawn(Arc::clone(self).read_from(nth));
            tasks.spawn(Arc::clone(self).watch(nth));
        }
    }

    /// Waits until another twenty writes are acknowledged.
    pub(crate) async fn goes_on(&self) {
        let enough = self.acknowledged() + 20;
        until("writes that go on", async || {
            self.has_not_failed();
            (self.acknowledged() >= enough).then_some(())
        })
        .await;
    }

    /// Lets the load go on for a while.
    pub(crate) async fn go_on_for(&self, time: Duration) {
        tokio::time::sleep(time).await;
        self.has_not_failed();
    }

    fn has_not_failed(&self) {
        if let Some(ended) = lock(&self.tasks).try_join_next() {
            ended.expect("a client has failed");
        }
    }

    /// From now on, or no more, a read that is not answered is a failure.
    pub(crate) fn reads_must_succeed(&self, strict: bool) {
        self.strict.store(strict, Ordering::SeqCst);
    }

    /// Ends the load; every write that was begun has its answer.
    pub(crate) async fn end(&self) {
        self.over.store(true, Ordering::SeqCst);
        let mut tasks = std::mem::take(&mut *lock(&self.tasks));
        while let Some(ended) = tasks.join_next().await {
            ended.expect("a client has failed");
        }
    }

    /// A write that a test made by itself was acknowledged.
    pub(crate) fn acknowledge(&self, version: Version, write: Write) {
        let twice = lock(&self.written).insert(version, write);
        assert_eq!(twice, None, "two writes were acknowledged as {version}");
    }

    /// Whether nobody writes any more.
    pub(crate) fn is_over(&self) -> bool {
        self.over.load(Ordering::SeqCst)
    }

    pub(crate) fn acknowledged(&self) -> usize {
        lock(&self.written).len()
    }

    pub(crate) fn written(&self) -> BTreeMap<Version, Write> {
        lock(&self.written).clone()
    }

    pub(crate) fn seed(&self) -> u64 {
        self.seed
    }

    pub(crate) fn samples(&self) -> Vec<Sample> {
        lock(&self.samples).clone()
    }

    pub(crate) fn positions(&self) -> Positions {
        lock(&self.positions).clone()
    }

    pub(crate) fn read(&self) -> u64 {
        self.reads.load(Ordering::Relaxed)
    }

    /// The longest time that a write took to be acknowledged.
    pub(crate) fn longest(&self) -> Duration {
        *lock(&self.longest)
    }

    /// Of each replica, the longest time that it took to answer a write since this was asked last.
    pub(crate) fn take_answered_in(&self) -> Vec<Duration> {
        let mut all = std::mem::take(&mut *lock(&self.answered_in));
        all.resize(self.urls.len(), Duration::ZERO);
        all
    }

    fn rng(&self, client: usize) -> ChaCha8Rng {
        ChaCha8Rng::seed_from_u64(self.seed ^ client as u64)
    }

    /// Waits for a writer's turn. What was not begun in time is not made up for.
    async fn turn(&self) {
        let due = lock(&self.pace).as_mut().map(|(pause, due)| {
            let turn = (*due).max(Instant::now());
            *due = turn + *pause;
            turn
        });
        if let Some(due) = due {
            tokio::time::sleep_until(due.into()).await;
        }
    }

    async fn write(self: Arc<Self>, nth: usize) {
        let (mut rng, mut ads) = (self.rng(nth), Vec::<Uuid>::new());
        for request in 0_u64.. {
            if self.over.load(Ordering::SeqCst) {
                return;
            }
            self.turn().await;
            let title = format!("writer {nth}, request {request}");
            let body = ad(&title, &mut rng);
            let key = format!("{nth}-{request}");
            let own = (!ads.is_empty()).then(|| rng.random_range(0..ads.len()));
            let chance = rng.random_range(0..10);
            let since = Instant::now();
            let (version, write) = match own {
                Some(at) if chance < 3 || ads.len() >= ADS => {
                    let id = ads.swap_remove(at);
                    let path = format!("{PATH}/{id}");
                    let answer = self.send(&mut rng, Method::DELETE, &path, None, &key).await;
                    (version(&answer), Write::Delete(id))
                }
                Some(at) if chance < 5 => {
                    let path = format!("{PATH}/{}", ads[at]);
                    let answer = self.send(&mut rng, Method::PUT, &path, Some(&body), &key).await;
                    (version(&answer), Write::Put(ads[at], title))
                }
                _ => {
                    let answer = self.send(&mut rng, Method::POST, PATH, Some(&body), &key).await;
                    let id = answer["id"].as_str().and_then(|id| id.parse().ok());
                    ads.push(id.expect("a created ad has an id"));
                    (version(&answer), Write::Put(ads[ads.len() - 1], title))
                }
            };
            let took = since.elapsed();
            let mut longest = lock(&self.longest);
            *longest = longest.max(took);
            drop(longest);
            self.acknowledge(version, write);
        }
    }

    /// Sends a write to one replica after the other until one has an answer; that must be a success.
    async fn send(
        &self,
        rng: &mut ChaCha8Rng,
        method: Method,
        path: &str,
        body: Option<&Value>,
        key: &str,
    ) -> Value {
        loop {
            let nth = rng.random_range(0..self.urls.len());
            let (url, since) = (&self.urls[nth], Instant::now());
            let mut request = self.client.request(method.clone(), format!("{url}{path}"));
            request = request.header("Idempotency-Key", key);
            if let Some(body) = body {
                request = request.json(body);
            }
            if let Ok(answer) = request.send().await {
                let status = answer.status();
                let text = answer.text().await;
                if let (true, Ok(text)) = (status.is_success(), &text) {
                    let mut all = lock(&self.answered_in);
                    all.resize(self.urls.len(), Duration::ZERO);
                    all[nth] = all[nth].max(since.elapsed());
                    return serde_json::from_str(text).expect("a success is JSON");
                }
                let again = [StatusCode::SERVICE_UNAVAILABLE, StatusCode::GATEWAY_TIMEOUT]
                    .contains(&status);
                assert!(again || text.is_err(), "{method} {path} under {key}: {status} {text:?}");
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    async fn read_from(self: Arc<Self>, nth: usize) {
        let mut rng = self.rng(1_000 + nth);
        while !self.over.load(Ordering::SeqCst) {
            let query = Query {
                age: rng.random_bool(0.5).then(|| rng.random_range(1..=100)),
                offset: rng.random_range(0..4),
                limit: rng.random_range(1..=100),
                ..Query::default()
            };
            let age = query.age.map(|age| format!("&age={age}")).unwrap_or_default();
            let Query { offset, limit, .. } = query;
            let path = format!("{PATH}?offset={offset}&limit={limit}{age}");
            let strict = self.strict.load(Ordering::SeqCst);
            let page = self.page(nth, &path).await;
            // A fault that begins while the read is under way may break it.
            let strict = strict && self.strict.load(Ordering::SeqCst);
            assert!(page.is_some() || !strict, "{path} was not answered by replica {nth}");
            if let Some((version, page)) = page {
                let count = self.reads.fetch_add(1, Ordering::Relaxed);
                if count.is_multiple_of(SAMPLED) {
                    let ids = page["ads"].as_array().into_iter().flatten();
                    let ids = ids.map(|ad| ad["id"].as_str().and_then(|id| id.parse().ok()));
                    let ids = ids.collect::<Option<_>>().expect("an ad has an id");
                    let total = page["total"].as_u64().expect("a page has its total");
                    lock(&self.samples).push(Sample { version, query, ids, total });
                }
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    async fn page(&self, nth: usize, path: &str) -> Option<(Version, Value)> {
        let answer = self.client.get(format!("{}{path}", self.urls[nth])).send().await.ok()?;
        let version = answer.headers().get("placard-version")?.to_str().ok()?.parse().ok()?;
        let answer = (answer.status() == StatusCode::OK).then_some(answer)?;
        Some((version, answer.json().await.ok()?))
    }

    /// Writes down where every replica says that it stands, as often as it says so.
    async fn watch(self: Arc<Self>, nth: usize) {
        while !self.over.load(Ordering::SeqCst) {
            if let Some((_, page)) = self.page(nth, "/api/v1/cluster").await {
                let members = page["members"].as_array().into_iter().flatten();
                for at in members.map(|member| &member["published"]) {
                    let said = |what: &str| at[what].as_str().unwrap_or_default().to_owned();
                    let sums = (said("chain"), said("digest"));
                    let version = at["version"].as_u64().unwrap_or_default();
                    let before = lock(&self.positions).insert(version, sums.clone());
                    let equal = before.is_none_or(|before| before == sums);
                    assert!(equal, "two replicas differ at version {version}: {page}");
                }
            }
            tokio::time::sleep(PAUSE * 5).await;
        }
    }
}

pub(crate) fn version(answer: &Value) -> Version {
    answer["version"]
        .as_u64()
        .unwrap_or_else(|| panic!("an acknowledged write has its version: {answer}"))
}

fn ad(title: &str, rng: &mut ChaCha8Rng) -> Value {
    let mut ad = json!({
        "title": title, "content": "for a while",
        "start_at": "2020-01-01T00:00:00Z",
        "end_at": format!("2099-01-{:02}T00:00:00Z", rng.random_range(1..29)),
    });
    if rng.random_bool(0.5) {
        let start = rng.random_range(1..90);
        ad["age_start"] = start.into();
        ad["age_end"] = (start + 10).into();
    }
    ad
}
