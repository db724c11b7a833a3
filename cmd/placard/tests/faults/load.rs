//! Clients. Each writer sends single requests under keys of their own, and repeats one on any replica until it has an
//! answer; each reader asks one replica. All answers are recorded. What a replica says was not done must not have been:
//! when it is repeated, no replica may know the request's key.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use placard_model::{Query, Version};
use placard_testkit::seed::seed;
use placard_testkit::wait::until;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use reqwest::{Client, Method, Response, StatusCode};
use serde_json::{Value, json};
use tokio::task::JoinSet;
use uuid::Uuid;

use crate::clients::ANSWER;

/// Unless `PLACARD_FAULT_WRITERS` says otherwise.
pub(crate) const WRITERS: u64 = 6;
/// Ads that a writer has at the most.
const ADS: usize = 12;
/// Pause of a client after an answer without a result, and of a reader after each answer.
const PAUSE: Duration = Duration::from_millis(10);
/// After this time a writer gives a replica up and asks another one. Every other writer, and each that is bound to a
/// replica, has more patience ([`ANSWER`]), and gets the answer of a replica that cannot write; so do readers.
const REQUEST: Duration = Duration::from_secs(1);
/// Added to the numbers of writers that are bound to a replica.
const BOUND: usize = 500;
/// One in this number of pages is compared with the scan.
const SAMPLED: u64 = 5;
/// The content of every ad of a writer. Of all statements only the one that writes the ad has it.
pub(crate) const CONTENT: &str = "for a while";
pub(crate) const PATH: &str = "/api/v1/ad";

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

/// The position that a replica reported: version, chain and digest.
pub(crate) type Position = (Version, String, String);

/// Times of the writes that were begun since [`Load::ask`] last said which replicas the writers ask.
#[derive(Default)]
struct Times {
    /// From the first try to the acknowledgement.
    longest: Duration,
    /// When each writer has begun what has no answer yet.
    begun: BTreeMap<usize, Instant>,
}

/// Reads that must be answered, and were begun while PostgreSQL or Redis was away.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct StrictReads {
    pub(crate) made: u64,
    pub(crate) failed: u64,
    pub(crate) slowest: Duration,
}

/// A write, as it is sent until it has an answer.
struct Request<'w> {
    method: Method,
    path: String,
    body: Option<&'w Value>,
    key: String,
    /// The only replica that is asked, if any will not do.
    only: Option<usize>,
    /// How long to wait for an answer.
    patience: Duration,
}

pub(crate) struct Load {
    urls: Vec<String>,
    client: Client,
    seed: u64,
    /// Writers and readers end.
    over: AtomicBool,
    /// Reads must be answered, by all replicas.
    strict: AtomicBool,
    /// PostgreSQL or Redis is away.
    away: AtomicBool,
    reads: AtomicU64,
    /// The reads that must be answered and were begun while a server was away.
    strict_reads: Mutex<StrictReads>,
    written: Mutex<BTreeMap<Version, Write>>,
    samples: Mutex<Vec<Sample>>,
    positions: Mutex<BTreeSet<Position>>,
    /// The replicas that writers ask.
    asked: Mutex<Vec<usize>>,
    times: Mutex<Times>,
    /// Tries that were reported failed (503), of writes no try of which had an unknown outcome until then.
    reported: AtomicU64,
    /// The same, of writes that then had their answer without any try of unknown outcome: a commit would have shown.
    failed: AtomicU64,
    /// The number of times that the load has begun, so that no key is used twice.
    runs: AtomicU64,
    /// The time from one write to the next, and when the next may begin.
    pace: Mutex<Option<(Duration, Instant)>>,
    tasks: Mutex<JoinSet<()>>,
}

/// Returns the number in a variable, or `usual`.
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
        // Connections are kept and shared: one for each request would use up this machine's ports.
        let client = Client::builder().no_proxy().timeout(REQUEST).build();
        Self {
            asked: Mutex::new((0..urls.len()).collect()),
            urls,
            client: client.expect("a client can be made"),
            seed: seed("placard", name),
            over: AtomicBool::new(false),
            strict: AtomicBool::new(false),
            away: AtomicBool::new(false),
            reads: AtomicU64::new(0),
            strict_reads: Mutex::default(),
            written: Mutex::default(),
            samples: Mutex::default(),
            positions: Mutex::default(),
            times: Mutex::default(),
            reported: AtomicU64::new(0),
            failed: AtomicU64::new(0),
            runs: AtomicU64::new(0),
            pace: Mutex::default(),
            tasks: Mutex::default(),
        }
    }

    /// Starts `writers` writers, which together begin at most `per_second` writes a second.
    pub(crate) fn begin(self: &Arc<Self>, writers: u64, per_second: Option<u32>) {
        *lock(&self.pace) = per_second.map(|most| (Duration::from_secs(1) / most, Instant::now()));
        self.over.store(false, Ordering::SeqCst);
        self.runs.fetch_add(1, Ordering::SeqCst);
        let mut tasks = lock(&self.tasks);
        for nth in 0..writers as usize {
            tasks.spawn(Arc::clone(self).write(nth, None));
        }
        for nth in 0..self.urls.len() {
            tasks.spawn(Arc::clone(self).read_from(nth));
            tasks.spawn(Arc::clone(self).watch(nth));
        }
    }

    /// Another writer, who asks no replica but this one.
    pub(crate) fn write_on(self: &Arc<Self>, nth: usize) {
        let mut tasks = lock(&self.tasks);
        let number = BOUND + tasks.len();
        tasks.spawn(Arc::clone(self).write(number, Some(nth)));
    }

    /// From now on writers ask these replicas, but for those that are bound to one.
    pub(crate) fn ask(&self, replicas: &[usize]) {
        *lock(&self.asked) = replicas.to_owned();
        *lock(&self.times) = Times::default();
    }

    /// Returns the longest time from a write's first try until it was acknowledged, or until now, of the writes that
    /// were begun since the last [`Load::ask`].
    pub(crate) fn longest(&self) -> Duration {
        let times = lock(&self.times);
        times.begun.values().map(Instant::elapsed).fold(times.longest, Duration::max)
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

    /// Sets whether a read without an answer is a failure from now on.
    pub(crate) fn reads_must_succeed(&self, strict: bool) {
        self.strict.store(strict, Ordering::SeqCst);
    }

    /// From now on, or no more, PostgreSQL or Redis is away; reads that must be answered are counted meanwhile.
    pub(crate) fn server_is_away(&self, away: bool) {
        self.away.store(away, Ordering::SeqCst);
    }

    pub(crate) fn strict_reads(&self) -> StrictReads {
        *lock(&self.strict_reads)
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

    /// Returns true if no writer writes any more.
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

    pub(crate) fn positions(&self) -> BTreeSet<Position> {
        lock(&self.positions).clone()
    }

    pub(crate) fn read(&self) -> u64 {
        self.reads.load(Ordering::Relaxed)
    }

    /// Tries that were reported failed, and may yet be judged.
    pub(crate) fn reported(&self) -> u64 {
        self.reported.load(Ordering::Relaxed)
    }

    /// Returns the number of tries that were reported failed, and have not been committed: a later try of the same
    /// write, no try of which had an unknown outcome, has found that no replica knew its key.
    pub(crate) fn failed(&self) -> u64 {
        self.failed.load(Ordering::Relaxed)
    }

    /// Takes what was acknowledged after this version out of what must be in the log.
    pub(crate) fn loses_after(&self, head: Version) -> BTreeMap<Version, Write> {
        lock(&self.written).split_off(&(head + 1))
    }

    fn rng(&self, client: usize) -> ChaCha8Rng {
        ChaCha8Rng::seed_from_u64(self.seed ^ client as u64)
    }

    /// Waits for a writer's turn. Writes that were not begun in time are not made up for.
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

    async fn write(self: Arc<Self>, nth: usize, only: Option<usize>) {
        let (mut rng, mut ads) = (self.rng(nth), Vec::<Uuid>::new());
        let run = self.runs.load(Ordering::SeqCst);
        let patience = if only.is_some() || nth.is_multiple_of(2) { ANSWER } else { REQUEST };
        for request in 0_u64.. {
            if self.over.load(Ordering::SeqCst) {
                return;
            }
            self.turn().await;
            let title = format!("run {run}, writer {nth}, request {request}");
            let body = ad(&title, &mut rng);
            let own = (!ads.is_empty()).then(|| rng.random_range(0..ads.len()));
            let chance = rng.random_range(0..10);
            let (method, id) = match own {
                Some(at) if chance < 3 || ads.len() >= ADS => {
                    (Method::DELETE, Some(ads.swap_remove(at)))
                }
                Some(at) if chance < 5 => (Method::PUT, Some(ads[at])),
                _ => (Method::POST, None),
            };
            let deletes = method == Method::DELETE;
            let answer = self.send(
                &mut rng,
                Request {
                    method,
                    path: id.map_or_else(|| PATH.to_owned(), |id| format!("{PATH}/{id}")),
                    body: (!deletes).then_some(&body),
                    key: format!("{run}-{nth}-{request}"),
                    only,
                    patience,
                },
            );
            if only.is_none() {
                lock(&self.times).begun.insert(nth, Instant::now());
            }
            let answer = answer.await;
            self.answered(nth);
            let id = id.unwrap_or_else(|| {
                let id = answer["id"].as_str().and_then(|id| id.parse().ok());
                ads.push(id.expect("a created ad has an id"));
                ads[ads.len() - 1]
            });
            let write = if deletes { Write::Delete(id) } else { Write::Put(id, title) };
            self.acknowledge(version(&answer), write);
        }
    }

    /// A writer has its answer.
    fn answered(&self, nth: usize) {
        let mut times = lock(&self.times);
        // Unless it was begun before the measurement.
        if let Some(since) = times.begun.remove(&nth) {
            times.longest = times.longest.max(since.elapsed());
        }
    }

    /// Sends a write to one replica after the other until one has an answer; that must be a success.
    async fn send(&self, rng: &mut ChaCha8Rng, request: Request<'_>) -> Value {
        // Whether a try may have been committed: it was sent, and its outcome is unknown.
        let (mut unknown, mut failed) = (false, 0);
        loop {
            let nth = request.only.unwrap_or_else(|| {
                let asked = lock(&self.asked);
                asked[rng.random_range(0..asked.len())]
            });
            match self.try_once(nth, &request).await {
                Ok(answer) => {
                    let status = answer.status();
                    let replayed = answer.headers().contains_key("idempotency-replayed");
                    let Request { method, path, key, .. } = &request;
                    match (status, answer.text().await) {
                        (status, Ok(text)) if status.is_success() => {
                            assert!(
                                unknown || !replayed,
                                "{method} {path} under {key} is committed, and was reported failed {failed} times"
                            );
                            // Otherwise the key may be known from the other tries.
                            if !unknown {
                                self.failed.fetch_add(failed, Ordering::Relaxed);
                            }
                            return serde_json::from_str(&text).expect("a success is JSON");
                        }
                        (StatusCode::SERVICE_UNAVAILABLE, _) => {
                            failed += 1;
                            self.reported.fetch_add(u64::from(!unknown), Ordering::Relaxed);
                        }
                        (StatusCode::GATEWAY_TIMEOUT, _) | (_, Err(_)) => unknown = true,
                        (_, text) => panic!("{method} {path} under {key}: {status} {text:?}"),
                    }
                }
                // A request without a connection was not sent.
                Err(error) => unknown |= !error.is_connect(),
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    async fn try_once(&self, nth: usize, request: &Request<'_>) -> reqwest::Result<Response> {
        let Request { method, path, body, key, patience, .. } = request;
        let mut sent = self.client.request(method.clone(), format!("{}{path}", self.urls[nth]));
        sent = sent.header("Idempotency-Key", key).timeout(*patience);
        if let Some(body) = body {
            sent = sent.json(body);
        }
        sent.send().await
    }

    async fn read_from(self: Arc<Self>, nth: usize) {
        let mut rng = self.rng(1_000 + nth);
        while !self.over.load(Ordering::SeqCst) {
            let query = Query {
                age: rng.random_bool(0.5).then(|| rng.random_range(1..=100)).into(),
                offset: rng.random_range(0..4),
                limit: rng.random_range(1..=100),
                ..Query::default()
            };
            let age = query.age.value().map(|age| format!("&age={age}")).unwrap_or_default();
            let Query { offset, limit, .. } = query;
            let path = format!("{PATH}?offset={offset}&limit={limit}{age}");
            let strict = self.strict.load(Ordering::SeqCst);
            let (away, began) = (self.away.load(Ordering::SeqCst), Instant::now());
            let page = self.page(nth, &path).await;
            // A fault that begins while the read is under way may break it.
            let strict = strict && self.strict.load(Ordering::SeqCst);
            if strict && away {
                self.count_strict(began.elapsed(), page.is_some());
            }
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

    /// A read that must be answered was begun while a server was away.
    fn count_strict(&self, took: Duration, answered: bool) {
        let mut reads = lock(&self.strict_reads);
        reads.made += 1;
        reads.failed += u64::from(!answered);
        reads.slowest = reads.slowest.max(took);
    }

    async fn page(&self, nth: usize, path: &str) -> Option<(Version, Value)> {
        let asked = self.client.get(format!("{}{path}", self.urls[nth])).timeout(ANSWER);
        let answer = asked.send().await.ok()?;
        let version = answer.headers().get("placard-version")?.to_str().ok()?.parse().ok()?;
        let answer = (answer.status() == StatusCode::OK).then_some(answer)?;
        Some((version, answer.json().await.ok()?))
    }

    /// Records the position of every replica as one replica reports it, repeatedly.
    async fn watch(self: Arc<Self>, nth: usize) {
        while !self.over.load(Ordering::SeqCst) {
            if let Some((_, page)) = self.page(nth, "/api/v1/cluster").await {
                let members = page["members"].as_array().into_iter().flatten();
                for at in members.map(|member| &member["published"]) {
                    let said = |what: &str| at[what].as_str().unwrap_or_default().to_owned();
                    let version = at["version"].as_u64().unwrap_or_default();
                    lock(&self.positions).insert((version, said("chain"), said("digest")));
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
        "title": title, "content": CONTENT,
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
