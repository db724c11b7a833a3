//! The servers, and replicas on them, each with threads of its own.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use placard_api::App;
use placard_model::entry::{Position, Record};
use placard_model::{Encoded, Version};
use placard_node::{ClusterStorage, Config, Node, Redis, RedisTls, ReplicaConfig, Storage};
use placard_replica::ports::{
    CommitError, Head, Heartbeat, Journal, NoCheckpoints, PollError, Unavailable,
};
use placard_replica::{Batch, Handle, Plan, Replica};
use placard_storage::postgres::{self, PostgresJournal};
use placard_storage::redis::{self, RedisStream};
use placard_testkit::servers::postgres::PostgresServer;
use placard_testkit::servers::redis::RedisServer;
use tokio::net::TcpListener;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use uuid::Uuid;

/// Connections that transactions of one row are run on at the most.
pub(crate) const CONNECTIONS_MAX: usize = 256;
/// Commits between two looks at them.
const COMMITS: usize = 65_536;

/// Says how far the bench is.
pub(crate) fn log(text: &str) {
    eprintln!("bench-cluster: {text}");
}

/// Threads for a replica or the load.
pub(crate) fn runtime() -> Runtime {
    Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
}

/// A private PostgreSQL, durable, and a private Redis.
pub(crate) struct Servers {
    pub(crate) postgres: PostgresServer,
    pub(crate) redis: RedisServer,
}

impl Servers {
    pub(crate) async fn start() -> Self {
        let connections = (CONNECTIONS_MAX + 44).to_string();
        let settings = [("max_connections", connections.as_str())];
        let (postgres, redis) =
            tokio::join!(PostgresServer::start_with(&settings), RedisServer::start());
        Self { postgres: postgres.unwrap(), redis: redis.unwrap() }
    }

    /// A replica, ready.
    pub(crate) async fn node(&self) -> Running<Node> {
        let runtime = runtime();
        let (postgres, redis) = (self.postgres.url(), self.redis.url());
        let starting = runtime.spawn(async move { node(postgres, redis, None).await });
        let inner = starting.await.unwrap();
        Running { runtime: Some(runtime), inner: Some(inner) }
    }

    /// Starts a replica that reports its commits, wired as a node is.
    pub(crate) async fn timed(&self) -> Timed {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap().into_std().unwrap();
        let address = listener.local_addr().unwrap();
        let (told, commits) = mpsc::channel(COMMITS);
        let (postgres_url, redis_url) = (self.postgres.url(), self.redis.url());
        let runtime = runtime();
        let starting = runtime.spawn(async move {
            let journal = PostgresJournal::connect(&postgres_url, postgres::Options::default());
            let journal = TimedJournal { inner: journal.await.unwrap(), told };
            let config = ReplicaConfig { address: address.to_string(), ..ReplicaConfig::default() };
            let entries_max = Some(config.stream_entries_max as u64);
            let server = redis::Server::Url(redis_url.into());
            let options = redis::Options { entries_max, ..redis::Options::new(server) };
            let stream = RedisStream::connect(&options).unwrap();
            let replica = Replica::start(journal, stream, NoCheckpoints, config);
            let app = App::new(replica.handle().clone());
            let listener = TcpListener::from_std(listener).unwrap();
            let connections = placard_api::Connections {
                max: placard_model::limits::CONNECTIONS_MAX,
                reserved: placard_model::limits::CONNECTIONS_RESERVED,
                idle_timeout: placard_model::limits::IDLE_TIMEOUT,
                metrics: app.connection_metrics().clone(),
                wait: Duration::ZERO,
            };
            tokio::spawn(async move {
                let stage = watch::Sender::default();
                placard_api::serve(listener, app.router(), connections, stage.subscribe()).await
            });
            replica.handle().ready().await;
            replica
        });
        let inner = starting.await.unwrap();
        Timed { running: Running { runtime: Some(runtime), inner: Some(inner) }, address, commits }
    }
}

/// A replica as `placard serve` runs it, ready.
pub(crate) async fn node(postgres: String, redis: String, checkpoint: Option<PathBuf>) -> Node {
    let checkpoint_every = checkpoint.as_ref().map(|_| Duration::from_secs(1));
    let replica = ReplicaConfig { checkpoint_every, ..ReplicaConfig::default() };
    let storage = Storage::Cluster(Box::new(ClusterStorage {
        postgres_url: postgres.into(),
        redis: Redis::Url(redis.into()),
        redis_tls: RedisTls::default(),
        log_kept: Duration::from_secs(7 * 24 * 3_600),
        checkpoint_dir: checkpoint,
        run_migrations: true,
        accept_unsafe_durability: false,
    }));
    let config = Config {
        storage,
        drain_delay: Duration::ZERO,
        connections: Default::default(),
        api: Default::default(),
        replica,
        traces: None,
    };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let node = Node::start(config, listener).await.unwrap();
    node.handle().ready().await;
    node
}

/// A replica and its threads.
pub(crate) struct Running<T> {
    runtime: Option<Runtime>,
    inner: Option<T>,
}

impl Running<Node> {
    pub(crate) fn address(&self) -> SocketAddr {
        self.inner.as_ref().unwrap().address()
    }

    pub(crate) fn handle(&self) -> &Handle {
        self.inner.as_ref().unwrap().handle()
    }

    /// Runs a task on the replica's threads.
    pub(crate) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) -> JoinHandle<()> {
        self.runtime.as_ref().unwrap().spawn(task)
    }

    pub(crate) async fn stop(mut self) {
        let (node, runtime) = (self.inner.take().unwrap(), self.runtime.take().unwrap());
        runtime.spawn(node.stop()).await.unwrap().unwrap();
        runtime.shutdown_background();
    }
}

impl<T> Drop for Running<T> {
    fn drop(&mut self) {
        // A runtime must not be waited for within another.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// A replica that reports its commits.
pub(crate) struct Timed {
    running: Running<Replica>,
    pub(crate) address: SocketAddr,
    pub(crate) commits: mpsc::Receiver<Commit>,
}

impl Timed {
    /// Forgets the commits up to now, or returns them.
    pub(crate) fn take(&mut self) -> Vec<Commit> {
        std::iter::from_fn(|| self.commits.try_recv().ok()).collect()
    }

    pub(crate) async fn stop(mut self) {
        let (replica, runtime) =
            (self.running.inner.take().unwrap(), self.running.runtime.take().unwrap());
        runtime.spawn(replica.stop(Duration::from_secs(2))).await.unwrap().unwrap();
        runtime.shutdown_background();
    }
}

/// A commit that has returned.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Commit {
    pub(crate) at: Instant,
    pub(crate) took: Duration,
    pub(crate) entries: usize,
    /// The version of its last entry.
    pub(crate) version: Version,
}

/// The journal, and when its commits return.
#[derive(Clone)]
struct TimedJournal {
    inner: PostgresJournal,
    told: mpsc::Sender<Commit>,
}

impl Journal for TimedJournal {
    async fn commit(&self, batch: Arc<Batch>) -> Result<Plan, CommitError> {
        let since = Instant::now();
        let plan = self.inner.commit(batch).await?;
        let at = Instant::now();
        let (entries, version) = (plan.log.len(), plan.head.version);
        // Nobody may listen just now.
        let _ = self.told.try_send(Commit { at, took: at - since, entries, version });
        Ok(plan)
    }

    async fn poll(&self, heartbeat: Heartbeat, at: Version) -> Result<Head, PollError> {
        self.inner.poll(heartbeat, at).await
    }

    async fn leave(&self, replica: Uuid) -> Result<(), Unavailable> {
        self.inner.leave(replica).await
    }

    async fn log(&self, after: Version, max: usize) -> Result<Vec<Record>, Unavailable> {
        self.inner.log(after, max).await
    }

    async fn snapshot(&self, chunks: mpsc::Sender<Vec<Encoded>>) -> Result<Position, Unavailable> {
        self.inner.snapshot(chunks).await
    }

    async fn exclusively(
        &self,
        work: impl Future<Output = ()> + Send,
    ) -> Result<bool, Unavailable> {
        self.inner.exclusively(work).await
    }
}
