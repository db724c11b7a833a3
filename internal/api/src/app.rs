//! What handlers need: the replica, who may do what, and what is counted.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use axum::extract::FromRef;
use placard_replica::spans::Sink;
use placard_replica::{Expiry, Handle};

use crate::access::Access;
use crate::feed::Feed;
use crate::http::body::BodyBudget;
use crate::http::client::TrustedProxies;
use crate::http::cors::Cors;
use crate::metrics::Metrics;
use crate::metrics::connections::ConnectionMetrics;

/// Configures who may do what, and holds what is counted elsewhere.
#[derive(Debug, Clone, Default)]
pub struct Config {
    /// Who may write.
    pub access: Access,
    /// Whose pages may read.
    pub cors: Cors,
    /// The proxies that are trusted to say where a request comes from.
    pub trusted: TrustedProxies,
    /// Lines of the log that could not be written, counted by the log's writer.
    pub log_lost: Arc<AtomicU64>,
}

/// State that every handler needs; cloning it is cheap.
#[derive(Debug, Clone)]
pub struct App {
    pub(crate) config: Arc<Config>,
    pub(crate) on_loopback: bool,
    pub(crate) replica: Handle,
    pub(crate) expiry: Expiry,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) draining: Arc<AtomicBool>,
    pub(crate) body_budget: BodyBudget,
    pub(crate) feed: Feed,
    pub(crate) spans: Sink,
}

impl App {
    /// Returns an app that reads and writes through this replica.
    pub fn new(replica: Handle) -> Self {
        Self {
            config: Arc::default(),
            on_loopback: false,
            replica,
            expiry: Expiry::default(),
            metrics: Arc::default(),
            draining: Arc::default(),
            body_budget: BodyBudget::default(),
            feed: Feed::default(),
            spans: None,
        }
    }

    /// Sets the account of expiry that the app shows, and whose brake it releases.
    #[must_use]
    pub fn with_expiry(self, expiry: Expiry) -> Self {
        Self { expiry, ..self }
    }

    /// Sets the access rules. Without them any client may write, and no page may read.
    #[must_use]
    pub fn with_config(self, config: Config) -> Self {
        Self { config: Arc::new(config), ..self }
    }

    /// Sets whether only this machine reaches the app's listener. If so, and without tokens, pages under names other
    /// than `localhost` change nothing: a name may resolve to this machine without an operator's consent.
    #[must_use]
    pub fn with_loopback(self, on_loopback: bool) -> Self {
        Self { on_loopback, ..self }
    }

    /// Sets the sink for the spans of traced requests. Without it no request is traced.
    #[must_use]
    pub fn with_spans(self, spans: Sink) -> Self {
        Self { spans, ..self }
    }

    /// Makes `/readyz` say from now on that this replica is about to stop.
    pub fn drain(&self) {
        self.draining.store(true, Ordering::Relaxed);
    }

    /// Ends the streams of clients that follow the log, so that they connect to another replica. Without it they would keep the
    /// server from stopping.
    pub fn end_streams(&self) {
        self.feed.end();
    }

    pub(crate) fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Relaxed)
    }

    /// Returns the metrics of its connections.
    pub fn connection_metrics(&self) -> &ConnectionMetrics {
        self.metrics.connections()
    }

    /// Measures what takes too long for a scrape; to be called every few seconds, beside the threads that answer requests.
    pub fn upkeep(&self) {
        self.metrics.upkeep(self.replica.reader(), self.replica.clock().now());
    }
}

impl FromRef<App> for Handle {
    fn from_ref(app: &App) -> Self {
        app.replica.clone()
    }
}

impl FromRef<App> for Expiry {
    fn from_ref(app: &App) -> Self {
        app.expiry.clone()
    }
}

impl FromRef<App> for Arc<Config> {
    fn from_ref(app: &App) -> Self {
        Arc::clone(&app.config)
    }
}
