//! The servers, the replicas on ports of their own, the load on them, and what must be true of all in the end.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use placard_model::Version;
use placard_testkit::port::Port;
use placard_testkit::process::Process;
use placard_testkit::proxy::Proxy;
use placard_testkit::replica::Serve;
use placard_testkit::servers::postgres::PostgresServer;
use placard_testkit::servers::redis::RedisServer;
use placard_testkit::wait::until;
use reqwest::Response;
use serde_json::Value;

use crate::clients::Asked;
use crate::figures::Figures;
use crate::history::History;
use crate::load::{Load, WRITERS, number};
use crate::suite;

const PLACARD: &str = env!("CARGO_BIN_EXE_placard");
const REPLICAS: usize = 3;

/// A replica's place: its address stays when its process goes.
pub(crate) struct Place {
    process: Option<Process>,
    port: Port,
    arguments: Vec<String>,
    /// The servers that it uses, if not the ones of the other replicas.
    postgres_url: Option<String>,
    redis_url: Option<String>,
    /// Whether its Redis is its own, to which no other replica appends.
    is_parted: bool,
    /// The values of its counters when its earlier processes ended.
    counted: Vec<String>,
    /// Their values when the load began.
    before: String,
    /// The lines that its earlier processes had logged.
    logged: Vec<String>,
    /// The number of lines that it had logged when the load began.
    logged_before: usize,
}

impl Place {
    pub(crate) fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port.number())
    }

    /// Returns true if it has logged, since the load began, what this counter counts: the cause, and the cure. For a
    /// counter with labels, the line must have fields with the same values.
    fn says(&self, counter: &str) -> bool {
        let (name, labels) = suite::split(counter);
        let now = self.process.iter().flat_map(Process::err);
        let lines = self.logged.iter().cloned().chain(now).skip(self.logged_before);
        lines.filter_map(|line| serde_json::from_str::<Value>(&line).ok()).any(|line| {
            let said = |field: &str| line["fields"][field].as_str().unwrap_or_default();
            let labelled = labels.iter().all(|(label, value)| said(label) == *value);
            let told = !said("message").is_empty() && !said("cure").is_empty();
            said("counter") == name && labelled && told
        })
    }
}

/// A cluster under load.
pub(crate) struct World {
    pub(crate) postgres: PostgresServer,
    pub(crate) redis: RedisServer,
    /// The URL of PostgreSQL that replicas use.
    pub(crate) postgres_url: String,
    pub(crate) places: Vec<Place>,
    pub(crate) load: Arc<Load>,
    pub(crate) name: &'static str,
    pub(crate) figures: Figures,
    clients: Vec<Asked>,
    /// Everything was checked that a test of faults ends with.
    checked: bool,
}

/// A test that has written, and checks nothing, has shown nothing.
impl Drop for World {
    fn drop(&mut self) {
        let unchecked = !self.checked && self.load.acknowledged() > 0;
        assert!(!unchecked || std::thread::panicking(), "{} has not checked its end", self.name);
    }
}

impl World {
    /// Three replicas, ready, under load; for the test of this name.
    pub(crate) async fn start(name: &'static str) -> Self {
        let mut world = Self::prepared(name, &[]).await;
        world.begin().await;
        world
    }

    /// Servers, and replicas with these options that are not started yet.
    pub(crate) async fn prepared(name: &'static str, options: &[&str]) -> Self {
        let settings = [("appendonly", "yes"), ("save", "")];
        let (postgres, redis) =
            tokio::join!(PostgresServer::start(), RedisServer::start_with(&settings));
        let postgres = postgres.expect("a private PostgreSQL starts");
        let redis = redis.expect("a private Redis starts");
        let place = |_| Place {
            process: None,
            port: Port::reserve(),
            arguments: options.iter().map(|option| (*option).to_owned()).collect(),
            postgres_url: None,
            redis_url: None,
            is_parted: false,
            counted: Vec::new(),
            before: String::new(),
            logged: Vec::new(),
            logged_before: 0,
        };
        let places: Vec<_> = (0..REPLICAS).map(place).collect();
        let load = Arc::new(Load::new(places.iter().map(Place::url).collect(), name));
        let postgres_url = postgres.url();
        let client = |place: &Place| Asked::new(place.url(), Arc::clone(&load));
        let clients = places.iter().map(client).collect();
        let (figures, checked) = (Figures::default(), false);
        Self { postgres, redis, postgres_url, places, load, name, figures, clients, checked }
    }

    /// Starts all replicas, and the usual load when they are ready.
    pub(crate) async fn begin(&mut self) {
        let writers = number("PLACARD_FAULT_WRITERS", WRITERS);
        self.begin_with(writers, None).await;
    }

    /// As [`World::begin`], with `writers` writers, which together begin at most `per_second` writes a second.
    pub(crate) async fn begin_with(&mut self, writers: u64, per_second: Option<u32>) {
        (0..REPLICAS).for_each(|nth| self.launch(nth));
        self.all_ready().await;
        for nth in 0..REPLICAS {
            self.places[nth].before = self.counters(nth).await.expect("the replica answers");
            self.places[nth].logged_before = self.process(nth).err().len();
        }
        self.load.begin(writers, per_second);
        self.load.goes_on().await;
    }

    /// Starts a replica; it may still be restoring.
    pub(crate) fn launch(&mut self, nth: usize) {
        let place = &mut self.places[nth];
        let redis = place.redis_url.clone().unwrap_or_else(|| self.redis.url());
        let listen = place.port.address().to_string();
        let given = place.arguments.iter().map(String::as_str);
        let options: Vec<_> = ["--log-format", "json"].into_iter().chain(given).collect();
        let serve = Serve {
            listen: &listen,
            drain_delay: "0",
            postgres_url: place.postgres_url.as_ref().unwrap_or(&self.postgres_url),
            redis_url: &redis,
            options: &options,
        };
        place.process = Some(Process::start(PLACARD, &serve.arguments(), &serve.variables()));
    }

    /// Gives a replica a Redis of its own.
    pub(crate) fn separate(&mut self, nth: usize, redis: &RedisServer) {
        self.places[nth].redis_url = Some(redis.url());
        self.places[nth].is_parted = true;
    }

    /// Makes a replica reach PostgreSQL through a proxy of its own from its next start on.
    pub(crate) async fn postgres_proxy(&mut self, nth: usize) -> Proxy {
        let proxy = Proxy::start(self.postgres.port()).await.expect("a proxy starts");
        self.places[nth].postgres_url = Some(self.postgres.url_through(proxy.port()));
        proxy
    }

    /// The same of Redis.
    pub(crate) async fn redis_proxy(&mut self, nth: usize) -> Proxy {
        let proxy = Proxy::start(self.redis.port()).await.expect("a proxy starts");
        self.places[nth].redis_url = Some(format!("redis://127.0.0.1:{}", proxy.port()));
        proxy
    }

    /// Returns true if a replica has a Redis of its own.
    pub(crate) fn is_parted(&self) -> bool {
        self.places.iter().any(|place| place.is_parted)
    }

    /// Keeps a replica's data in a directory.
    pub(crate) fn keep(&mut self, nth: usize, directory: &Path) {
        let directory = directory.to_str().expect("the directory's name is text");
        let more = ["--data-dir", directory, "--checkpoint-every", "1"];
        self.places[nth].arguments.extend(more.map(str::to_owned));
    }

    pub(crate) fn process(&self, nth: usize) -> &Process {
        self.places[nth].process.as_ref().expect("the replica runs")
    }

    /// Kills a replica (SIGKILL). What it had counted until shortly before is remembered.
    pub(crate) async fn kill(&mut self, nth: usize) {
        self.remember(nth).await;
        self.kill_held(nth).await;
    }

    /// Ends a replica (SIGTERM), which leaves the register.
    pub(crate) async fn end(&mut self, nth: usize) {
        self.remember(nth).await;
        let process = self.places[nth].process.take().expect("the replica runs");
        process.terminate();
        let ended = process.ended().await;
        assert!(ended.status.success(), "ended with {}: {:#?}", ended.status, ended.err);
        self.places[nth].logged.extend(ended.err);
    }

    /// Saves what a replica has counted until now, so that it counts also after its end.
    pub(crate) async fn remember(&mut self, nth: usize) {
        let counters = self.counters(nth).await;
        self.places[nth].counted.extend(counters);
    }

    /// Kills a replica that can no longer show its counters.
    pub(crate) async fn kill_held(&mut self, nth: usize) {
        let ended = self.places[nth].process.take().expect("the replica runs").kill().await;
        self.places[nth].logged.extend(ended.err);
    }

    async fn counters(&self, nth: usize) -> Option<String> {
        self.get(nth, "/metrics").await?.text().await.ok()
    }

    /// By how much a counter has moved since the load began, over all replicas and all of their lives.
    pub(crate) async fn counted(&self, counter: &str) -> f64 {
        let mut sum = 0.0;
        for nth in 0..self.places.len() {
            sum += self.counted_by(nth, counter).await;
        }
        sum
    }

    /// The same of one replica.
    pub(crate) async fn counted_by(&self, nth: usize, counter: &str) -> f64 {
        let mut texts = self.places[nth].counted.clone();
        texts.extend(self.counters(nth).await);
        let value = |line: &str| {
            let rest = line.strip_prefix(counter)?;
            // A counter that is asked for without labels is the sum over all labels.
            let rest = rest
                .strip_prefix('{')
                .map_or(Some(rest), |labels| Some(labels.split_once('}')?.1))?;
            rest.strip_prefix(' ')?.trim().parse::<f64>().ok()
        };
        let sum = |text: &String| text.lines().filter_map(value).sum::<f64>();
        texts.iter().map(sum).sum::<f64>() - sum(&self.places[nth].before)
    }

    /// Fails unless each way to heal was taken that the suite's list demands of this test, and the log says so.
    async fn took(&self) {
        for counter in suite::ways(self.name) {
            let counted = self.counted(counter).await;
            assert!(
                counted > 0.0,
                "{counter} has moved by {counted}: the fault did not take the way it was to take"
            );
            if !suite::UNSAID.contains(counter) {
                until(&format!("a line that says cause and cure of {counter}"), async || {
                    self.places.iter().any(|place| place.says(counter)).then_some(())
                })
                .await;
            }
        }
    }

    /// All counters that a replica exports, with their labels, and by their names those that have no value yet, as soon
    /// as it answers.
    pub(crate) async fn counters_exported_by(&self, nth: usize) -> BTreeSet<String> {
        let text = until("the counters", async || self.counters(nth).await).await;
        let name =
            |line: &str| Some(line.strip_prefix("# TYPE ")?.strip_suffix(" counter")?.to_owned());
        let names: BTreeSet<_> = text.lines().filter_map(name).collect();
        let values = text.lines().filter_map(|line| Some(line.rsplit_once(' ')?.0.to_owned()));
        let mut counters: BTreeSet<_> =
            values.filter(|counter| names.contains(suite::split(counter).0)).collect();
        let valued: BTreeSet<_> =
            counters.iter().map(|counter| suite::split(counter).0.to_owned()).collect();
        counters.extend(names.difference(&valued).cloned());
        counters
    }

    /// A client of a replica.
    pub(crate) fn client(&self, nth: usize) -> &Asked {
        &self.clients[nth]
    }

    /// Asks a replica; `None` if it does not answer.
    pub(crate) async fn get(&self, nth: usize, path: &str) -> Option<Response> {
        self.clients[nth].get(path).await
    }

    pub(crate) async fn json(&self, nth: usize, path: &str) -> Option<Value> {
        self.clients[nth].json(path).await
    }

    /// The journal's head.
    pub(crate) fn head(&self) -> Version {
        let head = self.postgres.sql("SELECT version FROM head").expect("PostgreSQL answers");
        head.parse().expect("a version is a number")
    }

    async fn is_ready(&self, nth: usize) -> bool {
        let page = self.json(nth, "/readyz").await;
        page.is_some_and(|page| page["status"] == "ready")
    }

    pub(crate) async fn all_ready(&self) {
        for nth in 0..self.places.len() {
            until("a replica to be ready", async || self.is_ready(nth).await.then_some(())).await;
        }
    }

    /// The faults are over: ends the load, waits until all are at the head, and checks everything.
    pub(crate) async fn check(&mut self) {
        self.check_after(None).await;
    }

    /// As [`World::check`], if the journal's history has replaced this one.
    pub(crate) async fn check_after(&mut self, replaced: Option<&History>) {
        self.load.goes_on().await;
        self.load.end().await;
        let history = History::read(&self.postgres.url()).await;
        self.agree(&history).await;
        history.check(&self.load, replaced);
        self.took().await;
        let (written, failed) = (self.load.acknowledged(), self.load.failed());
        let reads = self.load.strict_reads();
        eprintln!(
            "{}: {written} writes acknowledged, {} reads, of which {} checked; {failed} tries failed for certain, \
             none of them committed; longest write {:?}; while a server was away {reads:?}",
            self.name,
            self.load.read(),
            self.load.samples().len(),
            self.load.longest(),
        );
        self.figures.add("-", "acknowledged", written as f64);
        self.figures.add("-", "failed_for_certain", failed as f64);
        if reads.made > 0 {
            self.figures.add("-", "reads_strict", reads.made as f64);
            self.figures.add("-", "reads_failed", reads.failed as f64);
            self.figures.took("-", "read_slowest_ms", reads.slowest);
        }
        self.figures.publish(self.name);
        self.checked = true;
    }

    /// Waits, after all writes have ended, until all replicas are ready and at the head of this history, and checks
    /// that they, the stream, and the journal's own sums agree with it.
    async fn agree(&self, history: &History) {
        self.all_ready().await;
        let head = history.head();
        for nth in 0..self.places.len() {
            until("a replica to be at the head", async || {
                let page = self.json(nth, "/readyz").await?;
                (page["version"].as_u64() == Some(head)).then_some(())
            })
            .await;
        }
        // The pages of the last head polls, which show the digest of every replica at the head.
        until("all digests at the head", async || {
            let page = self.json(0, "/api/v1/cluster").await?;
            let members = page["members"].as_array()?;
            let live = members.iter().filter(|member| member["lease_ms"].as_i64() > Some(0));
            let at_head: Vec<_> =
                live.filter(|member| member["published"]["version"] == head).collect();
            let equal = at_head.iter().all(|member| member["published"] == page["head"]);
            assert!(equal, "replicas differ at version {head}: {page}");
            (at_head.len() == REPLICAS).then_some(())
        })
        .await;
        self.stream_holds(history).await;
        let verify =
            ["verify", "--postgres-url", &self.postgres.url(), "--target", &self.places[0].url()];
        let ended = Process::start(PLACARD, &verify, &[]).ended().await;
        assert!(ended.status.success(), "verify: {:#?} {:#?}", ended.out, ended.err);
    }
}
