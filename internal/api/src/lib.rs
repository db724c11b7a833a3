//! HTTP: the routes, what they take and what they answer, and the accept loop with its deadlines. Handlers
//! touch no database; they read from the replica's memory and write through its queue.

mod access;
mod admin;
mod batch;
mod body;
mod client;
mod cluster;
mod connection;
mod cors;
mod head;
mod headers;
mod health;
mod house;
mod life;
mod metrics;
mod observed;
mod openapi;
mod params;
mod problem;
mod pulse;
mod read;
mod receipts;
mod render;
mod requests;
mod serve;
mod timed;
mod write;
mod writing;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use http::Method;
use placard_replica::spans::Sink;
use placard_replica::{Expiry, Handle};
use utoipa::OpenApi;
use utoipa_axum::router::{OpenApiRouter, UtoipaMethodRouter};
use utoipa_axum::routes;

pub use access::{Access, TokensError, first_token};
pub use admin::admin;
pub use axum::Router;
pub use client::{NetworkError, TrustedProxies};
pub use cors::{Cors, OriginError};
pub use metrics::connections::ConnectionMetrics;
pub use serve::{Connections, Stage, listen, serve, short_backlog};

use body::Room;
use metrics::Metrics;
use problem::Problem;

/// Where the ads are.
pub const ADS_PATH: &str = "/api/v1/ad";
/// Where many are created at once.
pub const BATCH_PATH: &str = "/api/v1/ad/batch";
/// Where one is.
const AD_PATH: &str = "/api/v1/ad/{id}";

/// What is answered also when there are more connections than there may be.
const HEALTH_PATHS: [&str; 4] = ["/livez", "/readyz", "/readyz/404", "/metrics"];
/// Where a replica tells of the cluster.
const CLUSTER_PATH: &str = "/api/v1/cluster";
/// Where an operator releases the brake of this replica's expiry.
const RELEASE_PATH: &str = "/api/v1/admin/expiry/release";

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
    config: Arc<Config>,
    on_loopback: bool,
    replica: Handle,
    expiry: Expiry,
    metrics: Arc<Metrics>,
    draining: Arc<AtomicBool>,
    room: Room,
    spans: Sink,
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

    fn is_draining(&self) -> bool {
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

    /// The routes. They are built here, and described: a server asks for them once.
    pub fn router(&self) -> Router {
        let (router, document) = routes(&self.metrics).split_for_parts();
        openapi::write(document);
        let [unknown, refused] = self.metrics.unrouted();
        let router = router
            .merge(openapi::pages())
            .fallback(async move || {
                unknown.increment(1);
                Problem::route_not_found()
            })
            .method_not_allowed_fallback(async move || {
                refused.increment(1);
                Problem::method_not_allowed()
            });
        let router = match self.config.cors.layer() {
            Some(cors) => router.layer(cors),
            None => router,
        };
        let spans = self.spans.clone();
        // Behind the layer for browsers, which would answer every OPTIONS with 200.
        let router = router.merge(health::checks());
        let config = Arc::clone(&self.config);
        router.layer(requests::Identify { spans, config }).with_state(self.clone())
    }
}

/// The routes, with what the document says of them.
fn routes(metrics: &Metrics) -> OpenApiRouter<App> {
    let timed = |route, methods: &[Method], routes: UtoipaMethodRouter<App>| {
        let (schemas, paths, handlers) = routes;
        (schemas, paths, handlers.layer(metrics.route(route, methods)))
    };
    let ads = routes!(read::search, write::create);
    let ad = routes!(read::by_id, write::replace, write::patch, write::delete);
    let on_ad = [Method::GET, Method::PUT, Method::PATCH, Method::DELETE];
    OpenApiRouter::with_openapi(openapi::Frame::openapi())
        .routes(timed(ADS_PATH, &[Method::GET, Method::POST], ads))
        .routes(timed(BATCH_PATH, &[Method::POST], routes!(batch::create)))
        .routes(timed(AD_PATH, &on_ad, ad))
        .routes(routes!(cluster::show))
        .routes(routes!(cluster::release))
        .routes(routes!(health::livez))
        .routes(routes!(health::readyz))
        .routes(routes!(health::readyz_or_404))
        .routes(routes!(health::metrics))
        .routes(routes!(openapi::show))
}
