//! Wires one replica together: turns a configuration into a running server. This is the only crate that knows which
//! adapter implements which port.

mod metrics;
mod storage;
mod tasks;
mod verify;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

pub use placard_api::{
    Access, Config as ApiConfig, Cors, Exposition, NetworkError, OriginError, TokensError,
    TrustedProxies, first_token,
};
use placard_api::{App, Stage};
pub use placard_api::{listen, short_backlog};
use placard_model::limits;
use placard_replica::{Handle, Replica};
use placard_scheduler::Scheduler;
use placard_storage::sqlite::SqliteJournal;
use placard_tasks::Board;
use placard_telemetry::Telemetry;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::AbortHandle;

pub use metrics::serve as serve_metrics;
pub use placard_replica::{Config as ReplicaConfig, Outage, counters, spans, system_now};
use storage::Started;
pub use storage::{
    ClusterStorage, Redis, RedisTls, Secret, Sentinel, StartError, Storage, backup, migrate,
    read_file,
};
pub use tasks::Ended;
use tasks::Tasks;
pub use verify::{Audited, Report, VerifyError, verify_cluster, verify_standalone};

/// The pause between two runs of the metrics work that takes too long for a scrape.
const UPKEEP: Duration = Duration::from_secs(5);
/// The part of the time that stopping may take that is kept for the journal.
const COMMITTING: Duration = Duration::from_millis(1_500);

/// Which writes are traced, and where the traces go.
#[derive(Debug, Clone, PartialEq)]
pub struct Traces {
    /// An OTLP collector, as `http://host:4318`.
    pub endpoint: String,
    /// The fraction of the writes without a `traceparent` that is traced, from 0 to 1.
    pub sample: f64,
}

/// How a node treats its clients' connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Connections {
    /// How many there may be at once.
    pub max: usize,
    /// How long one may be idle between two requests.
    pub idle_timeout: Duration,
}

impl Default for Connections {
    fn default() -> Self {
        Self { max: limits::CONNECTIONS_MAX, idle_timeout: limits::IDLE_TIMEOUT }
    }
}

/// The configuration of a node.
#[derive(Debug, Clone)]
pub struct Config {
    /// Where its journal and its stream are.
    pub storage: Storage,
    /// How long `/readyz` answers 503, and every answer closes its connection, before the listener closes.
    pub drain_delay: Duration,
    /// How clients' connections are treated.
    pub connections: Connections,
    /// Who may write, and whose pages may read.
    pub api: ApiConfig,
    /// How the replica is run. An empty address becomes the listener's; its spans go to the collector, if there is one.
    pub replica: ReplicaConfig,
    /// Whether writes are traced.
    pub traces: Option<Traces>,
}

/// Where a node listens.
#[derive(Debug)]
pub struct Listeners {
    /// For the API.
    pub api: TcpListener,
    /// The listener of the task board, if it is enabled.
    pub admin: Option<TcpListener>,
}

impl From<TcpListener> for Listeners {
    fn from(api: TcpListener) -> Self {
        Self { api, admin: None }
    }
}

/// A running node.
#[derive(Debug)]
pub struct Node {
    address: SocketAddr,
    admin_address: Option<SocketAddr>,
    drain_delay: Duration,
    app: App,
    replica: Replica,
    scheduler: Scheduler,
    tasks: Tasks,
    /// The stage that all its servers must be in.
    stage: watch::Sender<Stage>,
    board: Option<Board>,
    telemetry: Option<Telemetry>,
    upkeep: AbortHandle,
    embedded: Option<SqliteJournal>,
}

impl Node {
    /// Opens the journal, starts the replica and serves on its listeners. The replica restores by itself:
    /// [`Handle::ready`] tells when it is done.
    ///
    /// # Errors
    /// The journal cannot be opened, or a listener is unusable.
    pub async fn start(
        config: Config,
        listeners: impl Into<Listeners>,
    ) -> Result<Self, StartError> {
        let Listeners { api, admin } = listeners.into();
        let address = api.local_addr().map_err(StartError::Listener)?;
        let admin_address = admin.as_ref().map(TcpListener::local_addr).transpose();
        let admin_address = admin_address.map_err(StartError::Listener)?;
        let mut config = config;
        if config.replica.address.is_empty() {
            config.replica.address = address.to_string();
        }
        let telemetry = config.traces.map(|traces| start_telemetry(traces, &config.replica));
        let telemetry = telemetry.transpose()?;
        if let Some(telemetry) = &telemetry {
            config.replica.spans = Some(Arc::new(telemetry.clone()));
        }
        let spans = config.replica.spans.clone();
        let Started { replica, scheduler, expiry, board, embedded } =
            storage::start(config.storage, config.replica).await?;
        let access = config.api.access.clone();
        let app = App::new(replica.handle().clone());
        let app = app.with_expiry(expiry).with_config(config.api).with_spans(spans);
        let app = app.with_loopback(address.ip().to_canonical().is_loopback());
        let mut tasks = Tasks::default();
        let stage = watch::Sender::new(Stage::Serving);
        let Connections { max, idle_timeout } = config.connections;
        let mut serve = |name, listener, router, metrics, (max, reserved)| {
            let connections = placard_api::Connections {
                max,
                reserved,
                idle_timeout,
                metrics,
                wait: limits::STOP_DEADLINE - COMMITTING - limits::LAST_REQUESTS,
            };
            tasks.spawn(name, placard_api::serve(listener, router, connections, stage.subscribe()));
        };
        let metrics = app.connection_metrics().clone();
        let of_board = metrics.panics_alone();
        serve("the API", api, app.router(), metrics, (max, limits::CONNECTIONS_RESERVED));
        let board = admin.is_some().then(|| Board::new(board));
        if let (Some(admin), Some(board)) = (admin, board.clone()) {
            let page = move |request| {
                let board = board.clone();
                async move { board.answer(request).await }
            };
            let router = placard_api::admin(access, page);
            serve("the task board", admin, router, of_board, (limits::BOARD_CONNECTIONS_MAX, 0));
        }
        let folding = app.clone();
        let upkeep = tasks.spawn("upkeep", async move {
            loop {
                let app = folding.clone();
                let done = tokio::task::spawn_blocking(move || app.upkeep()).await;
                if let Err(Ok(panic)) = done.map_err(tokio::task::JoinError::try_into_panic) {
                    std::panic::resume_unwind(panic);
                }
                tokio::time::sleep(UPKEEP).await;
            }
        });
        let drain_delay = config.drain_delay;
        Ok(Self {
            address,
            admin_address,
            drain_delay,
            app,
            replica,
            scheduler,
            tasks,
            stage,
            board,
            telemetry,
            upkeep,
            embedded,
        })
    }

    /// Returns the address that it listens on.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Returns the address of its task board, if it has one.
    pub fn admin_address(&self) -> Option<SocketAddr> {
        self.admin_address
    }

    /// The replica's handle.
    pub fn handle(&self) -> &Handle {
        self.replica.handle()
    }

    /// Waits until a task of the node ends by itself, which none should. The caller must stop the node then: no other
    /// task does that one's work.
    pub async fn failed(&mut self) -> Ended {
        tokio::select! {
            stopped = self.replica.failed() => Ended::of("a task of the replica", stopped),
            ended = self.scheduler.failed() => Ended::of("a task of the scheduler", ended),
            ended = self.tasks.failed() => ended,
        }
    }

    /// Returns the time that [`Node::stop`] takes at most: it must not be killed before.
    pub fn stop_deadline(&self) -> Duration {
        self.drain_delay
            + limits::STOP_DEADLINE
            + limits::CLOSE_DEADLINE
            + limits::LAST_SPANS_DEADLINE
    }

    /// Stops: says so on `/readyz` and in every answer, waits the drain delay, finishes the requests under way, commits
    /// what is queued. Returns whether all was finished in time.
    ///
    /// # Errors
    /// A task has panicked.
    pub async fn stop(self) -> Result<bool, Ended> {
        self.app.drain();
        self.stage.send_replace(Stage::Draining);
        tokio::time::sleep(self.drain_delay).await;
        self.board.inspect(Board::close);
        self.upkeep.abort();
        self.app.end_streams();
        self.stage.send_replace(Stage::Stopping);
        let served = self.tasks.finished().await;
        drop(self.scheduler);
        let committed = self.replica.stop(COMMITTING).await;
        if let Some(journal) = self.embedded {
            close(&journal).await;
        }
        if let Some(telemetry) = self.telemetry {
            telemetry.stop(limits::LAST_SPANS_DEADLINE).await;
        }
        let committed =
            committed.map_err(|stopped| Ended::of("a task of the replica", Some(stopped)))?;
        Ok(served? && committed)
    }
}

/// Closes an embedded journal, so that its file can be copied by itself. One that is not closed has all it should in the
/// write-ahead log beside it.
async fn close(journal: &SqliteJournal) {
    match tokio::time::timeout(limits::CLOSE_DEADLINE, journal.close()).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => {
            let cause = error.1.to_string();
            tracing::warn!(%error, cause, "the journal's write-ahead log was not emptied");
        }
        Err(_) => tracing::warn!("stopped before the journal's write-ahead log was emptied"),
    }
}

fn start_telemetry(traces: Traces, replica: &ReplicaConfig) -> Result<Telemetry, StartError> {
    let Traces { endpoint, sample } = traces;
    let (instance, build) = (replica.address.clone(), replica.build.clone());
    Ok(Telemetry::start(&placard_telemetry::Config { endpoint, sample, instance, build })?)
}
