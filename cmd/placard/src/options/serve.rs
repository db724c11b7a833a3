//! The options of a server: where it listens, how it treats connections, who may write, and what is traced.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use clap::builder::BoolishValueParser;
use placard_model::limits;
use placard_node::{Cors, TrustedProxies};
use reqwest::Url;

use super::cluster::ClusterOptions;
use super::parse::{collector, connections_max, milliseconds, origins, place, ratio};

#[derive(Debug, Args)]
pub(crate) struct ServeOptions {
    /// Address or host name, and port, to listen on. Port 0 chooses a free port, and :8080 listens on every IPv4
    /// address.
    #[arg(long, env = "PLACARD_LISTEN", default_value = "127.0.0.1:8080",
        value_parser = place)]
    pub(crate) listen: SocketAddr,
    /// Directory of the journal; it is created if it is missing [default: ./data]. In a cluster: directory of the
    /// checkpoint [default: none, and no checkpoint].
    #[arg(long, env = "PLACARD_DATA_DIR")]
    pub(crate) data_dir: Option<PathBuf>,
    /// How long a stopping server answers /readyz with 503, and every request with "Connection: close", before it
    /// closes the listener, in milliseconds, up to 10 minutes [default: 0, in a cluster 3000].
    #[arg(long, env = "PLACARD_DRAIN_DELAY", value_name = "MS", value_parser = milliseconds)]
    pub(crate) drain_delay: Option<Duration>,
    /// How long a connection may be idle between two requests, in seconds, 1 to 86,400. A load balancer in front
    /// must close idle connections sooner.
    #[arg(long, env = "PLACARD_IDLE_TIMEOUT", value_name = "SECONDS",
        default_value_t = limits::IDLE_TIMEOUT.as_secs(),
        value_parser = clap::value_parser!(u64).range(1..=86_400))]
    pub(crate) idle_timeout: u64,
    /// Maximum number of connections, 1 to 1,000,000. When the limit is reached, the longest silent or idle
    /// connections are closed.
    #[arg(long, env = "PLACARD_CONNECTIONS_MAX", value_name = "N",
        default_value_t = limits::CONNECTIONS_MAX, value_parser = connections_max)]
    pub(crate) connections_max: usize,
    /// Address and port of the task board: apalis' pages about the expiry queue [default: none]. An address other
    /// than loopback requires --admin-token-file. With that option the board asks for a token, as a bearer token or
    /// as the password of any user.
    #[arg(long, env = "PLACARD_ADMIN_LISTEN", value_name = "ADDR", value_parser = place)]
    pub(crate) admin_listen: Option<SocketAddr>,
    /// Accept an empty journal where another one was known, and begin again from nothing. Without this option the server refuses to
    /// start there, because the earlier journal may only be missing. Remove the option afterwards.
    #[arg(long, env = "PLACARD_NEW_JOURNAL", value_parser = BoolishValueParser::new())]
    pub(crate) new_journal: bool,
    #[command(flatten)]
    pub(crate) access: AccessOptions,
    #[command(flatten)]
    pub(crate) cluster: ClusterOptions,
    /// Options that are given, and of a cluster's replicas only.
    #[arg(skip)]
    pub(crate) of_clusters: Vec<String>,
    #[command(flatten)]
    pub(crate) traces: TraceOptions,
}

/// What is traced, and where the traces go.
#[derive(Debug, Args)]
#[command(next_help_heading = "Traces")]
pub(crate) struct TraceOptions {
    /// OpenTelemetry collector that receives traces as OTLP over HTTP, as http://host:4318 or with https [default:
    /// none, and nothing is traced].
    #[arg(long, env = "PLACARD_OTLP_ENDPOINT", value_name = "URL", value_parser = collector)]
    pub(crate) otlp_endpoint: Option<Url>,
    /// Fraction of writes to trace, 0 to 1. A request's traceparent takes precedence, and reads are traced only
    /// with one. Ignored without a collector.
    #[arg(long, env = "PLACARD_OTLP_SAMPLE", value_name = "RATIO", default_value = "1",
        value_parser = ratio)]
    pub(crate) otlp_sample: f64,
}

/// Who may write, and which pages may read.
#[derive(Debug, Args)]
#[command(next_help_heading = "Access")]
pub(crate) struct AccessOptions {
    /// File of bearer tokens that may write, and read pools and reservations, one per line: token or name:token. A
    /// server that listens on a non-loopback address requires this option or --insecure.
    #[arg(
        long,
        env = "PLACARD_ADMIN_TOKEN_FILE",
        value_name = "FILE",
        conflicts_with = "insecure"
    )]
    pub(crate) admin_token_file: Option<PathBuf>,
    /// Let anyone who can reach the server write ads.
    #[arg(long, env = "PLACARD_INSECURE", value_parser = BoolishValueParser::new())]
    pub(crate) insecure: bool,
    /// Origins whose pages may read in a browser, as https://example.org,... or * for all [default: none].
    #[arg(long, env = "PLACARD_CORS_ORIGIN", value_name = "ORIGIN,...", value_parser = origins)]
    pub(crate) cors_origin: Vec<Cors>,
    /// Proxies whose X-Forwarded-For is trusted for the client's address in logs and traces, as 10.0.0.0/8,...
    /// [default: none].
    #[arg(
        long,
        env = "PLACARD_TRUSTED_PROXIES",
        value_name = "NETWORK,...",
        value_delimiter = ','
    )]
    pub(crate) trusted_proxies: Vec<TrustedProxies>,
}
