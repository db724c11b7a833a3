//! What handlers need: the replica, who may do what, and what is counted.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use placard_replica::spans::Sink;
use placard_replica::{Expiry, Handle};

use crate::access::Access;
use crate::body::Room;
use crate::client::TrustedProxies;
use crate::cors::Cors;
use crate::metrics::Metrics;
use crate::metrics::connections::ConnectionMetrics;

/// Who may do what, and what is counted elsewhere.
#[derive(Debug, Clone, Default)]
pub struct Config {
    /// Who may write.
    pub access: Access,
    /// Whose pages may read.
    pub cors: Cors,
    /// Who is believed about where a request has come from.
    pub trusted: TrustedProxies,
    /// Lines of the log that could not be written, counted by whoever writes them.
    pub log_lost: Arc<AtomicU64>,
}

/// What every handler needs; cloning it is cheap.
#[derive(Debug, Clone)]
pub struct App {
    pub(crate) config: Arc<Config>,
    pub(crate) on_loopback: bool,
    pub(crate) replica: Handle,
    pub(crate) expiry: Expiry,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) draining: Arc<AtomicBool>,
    pub(crate) room: Room,
    pub(crate) spans: Sink,
}

impl App {
    /// An app that reads and writes through this replica.
    pub fn new(replica: Handle) -> Self {
        Self {
            config: Arc::default(),
            on_loopback: false,
            replica,
            expiry: Expiry::default(),
            metrics: Arc::new(Metrics::new()),
            draining: Arc::default(),
            room: Room::default(),
            spans: None,
        }
    }

    /// The app that shows this account of expiry, and releases its brake.
    #[must_use]
    pub fn with_expiry(self, expiry: Expiry) -> Self {
        Self { expiry, ..self }
    }

    /// The app that lets only those in whom this lets in. Without it anyone may write, and no page may read.
    #[must_use]
    pub fn with_config(self, config: Config) -> Self {
        Self { config: Arc::new(config), ..self }
    }

    /// The app behind a listener that only this machine reaches, if it is one. There, without tokens, pages under
    /// names other than `localhost` change nothing: a name may lead here without anybody here having wanted it.
    #[must_use]
    pub fn with_loopback(self, on_loopback: bool) -> Self {
        Self { on_loopback, ..self }
    }

    /// The app that tells this of the requests that are traced. Without it none is.
    #[must_use]
    pub fn with_spans(self, spans: Sink) -> Self {
        Self { spans, ..self }
    }

    /// From now on `/readyz` says that this replica is about to go.
    pub fn drain(&self) {
        self.draining.store(true, Ordering::Relaxed);
    }

    pub(crate) fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Relaxed)
    }

    /// What is counted of the connections on which it is asked.
    pub fn connection_metrics(&self) -> &ConnectionMetrics {
        self.metrics.connections()
    }

    /// Folds the samples of the histograms together, and looks at what is too much for a scrape; to be called every
    /// few seconds.
    pub fn upkeep(&self) {
        self.metrics.upkeep(self.replica.reader());
    }
}
