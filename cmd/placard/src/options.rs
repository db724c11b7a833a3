//! The command line. Every option can also be given in the environment; a flag there by a word for yes or no.

use std::net::{SocketAddr, ToSocketAddrs};
use std::path::PathBuf;
use std::time::Duration;

use clap::builder::BoolishValueParser;
use clap::{Args, Parser, Subcommand, ValueEnum};
use placard_model::limits;
use placard_node::{Cors, Secret, TrustedProxies};
use reqwest::Url;

/// Seconds for which a batch is sent again: a PostgreSQL that fails over is back by then.
pub(crate) const RETRY_FOR_DEFAULT: u64 = 60;
/// A batch that is repeated once its key is forgotten is written twice. The time runs from when it was written.
const RETRY_FOR_MAX: u64 = 43_200;

/// Placard serves targeted ads from memory: one process by itself, or a cluster of equal replicas.
#[derive(Debug, Parser)]
#[command(version, arg_required_else_help = false)]
pub(crate) struct Options {
    /// What to log, as a tracing filter: error, warn, info, debug, or per module.
    #[arg(long, env = "PLACARD_LOG", default_value = "info", global = true)]
    pub(crate) log: String,
    /// How to write the log.
    #[arg(long, env = "PLACARD_LOG_FORMAT", default_value = "text", global = true)]
    pub(crate) log_format: LogFormat,
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// How a replica answers reads when what it has may be old.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum OnStale {
    /// Go on answering reads.
    Serve,
    /// Answer 503.
    Refuse,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Serve, embedded from a directory that lasts or as a replica of a cluster.
    Serve(Box<ServeOptions>),
    /// Serve generated ads from a temporary directory, to try things out.
    Demo(DemoOptions),
    /// Generate ads and send them to a server.
    Seed(SeedOptions),
    /// Bring the tables of a cluster's journal up to date.
    Migrate(MigrateOptions),
    /// Show the replicas of a cluster.
    Status(StatusOptions),
    /// Ask the server on this machine whether it is ready: code 0 if so, for a container's health check.
    Healthcheck(HealthcheckOptions),
    /// Recompute the chain and the digest of a cluster's journal.
    Verify(VerifyOptions),
    /// Copy the journal of an embedded server into a new file, while the server runs or when it has stopped.
    Backup(BackupOptions),
}

#[derive(Debug, Args)]
pub(crate) struct ServeOptions {
    /// Address, or a name of one, and port to listen on; port 0 takes a free one, and :8080 stands for any IPv4
    /// address.
    #[arg(long, env = "PLACARD_LISTEN", default_value = "127.0.0.1:8080",
        value_parser = place)]
    pub(crate) listen: SocketAddr,
    /// Directory of the journal, made if it is missing [default: ./data]. In a cluster: directory of the
    /// checkpoint [default: none, and no checkpoint].
    #[arg(long, env = "PLACARD_DATA_DIR")]
    pub(crate) data_dir: Option<PathBuf>,
    /// How long /readyz says 503, and every answer "Connection: close", before the listener closes, in milliseconds, up
    /// to 10 minutes [default: 0, in a cluster 3000].
    #[arg(long, env = "PLACARD_DRAIN_DELAY", value_name = "MS", value_parser = milliseconds)]
    pub(crate) drain_delay: Option<Duration>,
    /// How long a connection may be idle between two requests, in seconds, 1 to 86,400. A balancer in front must give
    /// idle connections up sooner.
    #[arg(long, env = "PLACARD_IDLE_TIMEOUT", value_name = "SECONDS",
        default_value_t = limits::IDLE_TIMEOUT.as_secs(),
        value_parser = clap::value_parser!(u64).range(1..=86_400))]
    pub(crate) idle_timeout: u64,
    /// Most connections at once, 1 to 1,000,000. When there is no room for one more, those go that were silent or idle
    /// for longest.
    #[arg(long, env = "PLACARD_CONNECTIONS_MAX", value_name = "N",
        default_value_t = limits::CONNECTIONS_MAX, value_parser = connections_max)]
    pub(crate) connections_max: usize,
    /// Address and port at which to serve the task board, apalis' pages about the queue of expiry
    /// [default: none]. Anything but a loopback address needs --admin-token-file; with that the board asks for
    /// a token, as a bearer token or as the password of any user.
    #[arg(long, env = "PLACARD_ADMIN_LISTEN", value_name = "ADDR", value_parser = place)]
    pub(crate) admin_listen: Option<SocketAddr>,
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
    /// A collector of OpenTelemetry traces that speaks OTLP over HTTP, as http://host:4318 or with https
    /// [default: none, and nothing is traced].
    #[arg(long, env = "PLACARD_OTLP_ENDPOINT", value_name = "URL", value_parser = collector)]
    pub(crate) otlp_endpoint: Option<Url>,
    /// Which part of the writes is traced, 0 to 1. A request with a traceparent is traced if that says so, whatever
    /// stands here, and a read only then. Without a collector it means nothing.
    #[arg(long, env = "PLACARD_OTLP_SAMPLE", value_name = "RATIO", default_value = "1",
        value_parser = ratio)]
    pub(crate) otlp_sample: f64,
}

/// Who may write, and whose pages may read.
#[derive(Debug, Args)]
#[command(next_help_heading = "Access")]
pub(crate) struct AccessOptions {
    /// A file of bearer tokens, one a line, as name:token or alone; only with one of them can ads be written. A
    /// server that listens beyond this machine must have it, or --insecure.
    #[arg(
        long,
        env = "PLACARD_ADMIN_TOKEN_FILE",
        value_name = "FILE",
        conflicts_with = "insecure"
    )]
    pub(crate) admin_token_file: Option<PathBuf>,
    /// Let anyone write who can reach the server.
    #[arg(long, env = "PLACARD_INSECURE", value_parser = BoolishValueParser::new())]
    pub(crate) insecure: bool,
    /// Origins whose pages may read from browsers, as https://example.org,... or * for all [default: none].
    #[arg(long, env = "PLACARD_CORS_ORIGIN", value_name = "ORIGIN,...", value_parser = origins)]
    pub(crate) cors_origin: Vec<Cors>,
    /// Proxies whose X-Forwarded-For is believed when a log or a trace tells the client, as 10.0.0.0/8,...
    /// [default: none].
    #[arg(
        long,
        env = "PLACARD_TRUSTED_PROXIES",
        value_name = "NETWORK,...",
        value_delimiter = ','
    )]
    pub(crate) trusted_proxies: Vec<TrustedProxies>,
}

/// What a client shows to a server that wants to know who writes.
#[derive(Debug, Args)]
pub(crate) struct TokenOptions {
    /// A file whose first token is sent to the server, such as the server's own --admin-token-file.
    #[arg(long, env = "PLACARD_TOKEN_FILE", value_name = "FILE")]
    pub(crate) token_file: Option<PathBuf>,
}

/// Where a cluster's journal is.
#[derive(Debug, Args)]
pub(crate) struct PostgresOptions {
    /// PostgreSQL, as postgres://user:password@host:port,.../database[?sslmode=verify-full&sslrootcert=...]; of
    /// several hosts the one that takes writes.
    #[arg(long, env = "PLACARD_POSTGRES_URL", value_name = "URL")]
    pub(crate) postgres_url: Option<Secret>,
    /// A file that holds the PostgreSQL URL; it is read again at each connection.
    #[arg(
        long,
        env = "PLACARD_POSTGRES_URL_FILE",
        value_name = "FILE",
        conflicts_with = "postgres_url"
    )]
    pub(crate) postgres_url_file: Option<PathBuf>,
}

/// What makes a server one of a cluster's replicas: PostgreSQL and Redis, both.
#[derive(Debug, Args)]
#[command(next_help_heading = "Cluster")]
pub(crate) struct ClusterOptions {
    #[command(flatten)]
    pub(crate) postgres: PostgresOptions,
    /// Redis, as redis://user:password@host:port/database, or rediss:// for TLS.
    #[arg(long, env = "PLACARD_REDIS_URL", value_name = "URL")]
    pub(crate) redis_url: Option<Secret>,
    /// A file that holds the Redis URL; it is read again at each connection.
    #[arg(long, env = "PLACARD_REDIS_URL_FILE", value_name = "FILE", conflicts_with = "redis_url")]
    pub(crate) redis_url_file: Option<PathBuf>,
    /// Sentinels that know where Redis is, as host:port,...
    #[arg(long, env = "PLACARD_REDIS_SENTINEL", value_name = "HOST:PORT,...", value_delimiter = ',',
        conflicts_with_all = ["redis_url", "redis_url_file"], requires = "redis_master")]
    pub(crate) redis_sentinel: Vec<String>,
    /// The name under which the Sentinels watch the master.
    #[arg(long, env = "PLACARD_REDIS_MASTER", value_name = "NAME", requires = "redis_sentinel")]
    pub(crate) redis_master: Option<String>,
    /// The user of a Redis behind Sentinels.
    #[arg(long, env = "PLACARD_REDIS_USER", value_name = "NAME", requires = "redis_sentinel")]
    pub(crate) redis_user: Option<String>,
    /// A file that holds the password of a Redis behind Sentinels; it is read again at each connection.
    #[arg(
        long,
        env = "PLACARD_REDIS_PASSWORD_FILE",
        value_name = "FILE",
        requires = "redis_sentinel"
    )]
    pub(crate) redis_password_file: Option<PathBuf>,
    /// The database of a Redis behind Sentinels, 0 to 1,023 [default: 0].
    #[arg(long, env = "PLACARD_REDIS_DATABASE", value_name = "N", requires = "redis_sentinel",
        value_parser = clap::value_parser!(u16).range(0..1_024))]
    pub(crate) redis_database: Option<u16>,
    /// The user of the Sentinels themselves.
    #[arg(
        long,
        env = "PLACARD_REDIS_SENTINEL_USER",
        value_name = "NAME",
        requires = "redis_sentinel"
    )]
    pub(crate) redis_sentinel_user: Option<String>,
    /// A file that holds the Sentinels' own password; it is read again at each connection.
    #[arg(
        long,
        env = "PLACARD_REDIS_SENTINEL_PASSWORD_FILE",
        value_name = "FILE",
        requires = "redis_sentinel"
    )]
    pub(crate) redis_sentinel_password_file: Option<PathBuf>,
    /// Certificates, in PEM, of the authorities that Redis is checked against over TLS
    /// [default: the system's].
    #[arg(long, env = "PLACARD_REDIS_CA_FILE", value_name = "FILE")]
    pub(crate) redis_ca_file: Option<PathBuf>,
    /// A certificate, in PEM, that this replica shows to Redis over TLS.
    #[arg(long, env = "PLACARD_REDIS_CERT_FILE", value_name = "FILE", requires = "redis_key_file")]
    pub(crate) redis_cert_file: Option<PathBuf>,
    /// The key of that certificate, in PEM.
    #[arg(long, env = "PLACARD_REDIS_KEY_FILE", value_name = "FILE", requires = "redis_cert_file")]
    pub(crate) redis_key_file: Option<PathBuf>,
    /// Where clients reach this replica, as host:port [default: the address it listens on; if that is
    /// any address, this machine's name and the port].
    #[arg(long, env = "PLACARD_ADVERTISE", value_name = "HOST:PORT", value_parser = advertised)]
    pub(crate) advertise: Option<String>,
    /// Leave the journal's tables as they are.
    #[arg(long, env = "PLACARD_NO_MIGRATE", value_parser = BoolishValueParser::new())]
    pub(crate) no_migrate: bool,
    /// Accept a PostgreSQL that may lose or corrupt the journal when its machine crashes.
    #[arg(long, env = "PLACARD_ACCEPT_UNSAFE_DURABILITY", value_parser = BoolishValueParser::new())]
    pub(crate) accept_unsafe_durability: bool,
    /// What to do with reads when what this replica has may be older than a lease of 2 s: serve them, saying how old
    /// they may be, or, after --stale-max, refuse them. Only with refuse can ack=all be sure of a replica that
    /// has fallen silent.
    #[arg(long, env = "PLACARD_ON_STALE", value_name = "WHAT", default_value = "serve")]
    pub(crate) on_stale: OnStale,
    /// How much older than a lease answers may be under --on-stale refuse, in milliseconds, up to 10 minutes.
    #[arg(long, env = "PLACARD_STALE_MAX", value_name = "MS", default_value = "3000",
        value_parser = milliseconds)]
    pub(crate) stale_max: Duration,
    /// Most entries that the stream may hold, 1,024 to 100,000,000.
    #[arg(long, env = "PLACARD_STREAM_MAX_ENTRIES", value_name = "N", default_value = "1000000",
        value_parser = clap::value_parser!(u64).range(1_024..=100_000_000))]
    pub(crate) stream_max_entries: u64,
    /// How long rows of the journal's log are kept, in hours, 1 to 87,600. A replica that was away for longer
    /// restores.
    #[arg(long, env = "PLACARD_LOG_KEEP_HOURS", value_name = "HOURS", default_value = "168",
        value_parser = clap::value_parser!(u64).range(1..=87_600))]
    pub(crate) log_keep_hours: u64,
    /// The pause between two checkpoints, in seconds, 1 to 86,400.
    #[arg(long, env = "PLACARD_CHECKPOINT_EVERY", value_name = "SECONDS", default_value = "60",
        value_parser = clap::value_parser!(u64).range(1..=86_400))]
    pub(crate) checkpoint_every: u64,
}

#[derive(Debug, Args)]
pub(crate) struct MigrateOptions {
    #[command(flatten)]
    pub(crate) postgres: PostgresOptions,
}

#[derive(Debug, Args)]
pub(crate) struct StatusOptions {
    /// Any replica, such as http://127.0.0.1:8080.
    #[arg(long, env = "PLACARD_TARGET", value_name = "URL", value_parser = target)]
    pub(crate) target: Url,
    #[command(flatten)]
    pub(crate) token: TokenOptions,
    /// Show it once, rather than every second for as long as somebody watches.
    #[arg(long)]
    pub(crate) once: bool,
}

#[derive(Debug, Args)]
pub(crate) struct HealthcheckOptions {
    /// The address and port that the server was told to listen on.
    #[arg(long, env = "PLACARD_LISTEN", default_value = "127.0.0.1:8080",
        value_parser = place)]
    pub(crate) listen: SocketAddr,
}

#[derive(Debug, Args)]
pub(crate) struct VerifyOptions {
    #[command(flatten)]
    pub(crate) postgres: PostgresOptions,
    /// A replica whose cluster is to be compared with the journal.
    #[arg(long, env = "PLACARD_TARGET", value_name = "URL", value_parser = target)]
    pub(crate) target: Option<Url>,
}

#[derive(Debug, Args)]
pub(crate) struct BackupOptions {
    /// The server's directory [default: ./data].
    #[arg(long, env = "PLACARD_DATA_DIR")]
    pub(crate) data_dir: Option<PathBuf>,
    /// The file to make. To restore, put it into an empty directory as journal.sqlite.
    #[arg(long, value_name = "FILE")]
    pub(crate) to: PathBuf,
}

#[derive(Debug, Args)]
pub(crate) struct DemoOptions {
    /// Ads to generate, up to 10,000,000.
    #[arg(long, env = "PLACARD_ADS", default_value = "1000",
        value_parser = clap::value_parser!(u64).range(0..=10_000_000))]
    pub(crate) ads: u64,
    /// Seed of the generator: the same seed gives the same ads.
    #[arg(long, env = "PLACARD_SEED", default_value = "42")]
    pub(crate) seed: u64,
    /// Address, or a name of one, and port to listen on; port 0 takes a free one, and :8080 stands for any IPv4
    /// address.
    #[arg(long, env = "PLACARD_LISTEN", default_value = "127.0.0.1:8080",
        value_parser = place)]
    pub(crate) listen: SocketAddr,
    /// Let anyone write who can reach the server; without it, it listens on this machine only.
    #[arg(long, env = "PLACARD_INSECURE", value_parser = BoolishValueParser::new())]
    pub(crate) insecure: bool,
}

#[derive(Debug, Args)]
pub(crate) struct SeedOptions {
    /// The server, such as http://127.0.0.1:8080.
    #[arg(long, env = "PLACARD_TARGET", value_name = "URL", value_parser = target)]
    pub(crate) target: Url,
    /// Ads to generate, up to 10,000,000.
    #[arg(long, env = "PLACARD_ADS", value_parser = clap::value_parser!(u64).range(0..=10_000_000))]
    pub(crate) ads: u64,
    /// Seed of the generator: the same seed gives the same ads.
    #[arg(long, env = "PLACARD_SEED", default_value = "42")]
    pub(crate) seed: u64,
    /// For how long a batch without a definite answer is sent again, with the same key, in seconds, up to
    /// 43,200: half the time for which the server remembers the key.
    #[arg(long, env = "PLACARD_RETRY_FOR", value_name = "SECONDS",
        default_value_t = RETRY_FOR_DEFAULT, value_parser = clap::value_parser!(u64).range(0..=RETRY_FOR_MAX))]
    pub(crate) retry_for: u64,
    #[command(flatten)]
    pub(crate) token: TokenOptions,
}

/// Where to listen. Of a name's addresses the first of IPv4 is taken, or else its first.
fn place(text: &str) -> Result<SocketAddr, String> {
    let text = if text.starts_with(':') { &format!("0.0.0.0{text}") } else { text };
    let form = "must be like 127.0.0.1:8080, [::1]:8080, localhost:8080 or :8080";
    let is_port = |port: &str| port.bytes().all(|byte| byte.is_ascii_digit());
    if !text.rsplit_once(':').is_some_and(|(_, port)| is_port(port)) {
        return Err(form.to_owned());
    }
    let addresses = text.to_socket_addrs().map_err(|error| format!("{form}: {error}"))?;
    let addresses: Vec<_> = addresses.collect();
    let first = addresses.iter().find(|address| address.is_ipv4()).or(addresses.first());
    first.copied().ok_or_else(|| form.to_owned())
}

fn milliseconds(text: &str) -> Result<Duration, String> {
    const MOST: u64 = 600_000;
    match text.parse() {
        Ok(ms) if ms <= MOST => Ok(Duration::from_millis(ms)),
        _ => Err(format!("must be a whole number of milliseconds up to {MOST}")),
    }
}

fn connections_max(text: &str) -> Result<usize, String> {
    const MOST: usize = 1_000_000;
    match text.parse() {
        Ok(max) if (1..=MOST).contains(&max) => Ok(max),
        _ => Err(format!("must be a whole number from 1 to {MOST}")),
    }
}

fn collector(text: &str) -> Result<Url, String> {
    // The path below which spans are taken is added to it; twice it would lead nowhere.
    let is_base = |url: &Url| !url.path().trim_end_matches('/').ends_with("/v1/traces");
    let form =
        "must be like http://127.0.0.1:4318, without /v1/traces, a user, a query or a fragment";
    server(text, &["http", "https"]).filter(is_base).ok_or_else(|| form.to_owned())
}

/// A server's URL of one of these schemes, without what is not sent to it, or would lead somewhere else.
fn server(text: &str, schemes: &[&str]) -> Option<Url> {
    let url: Url = text.parse().ok()?;
    let is_plain = schemes.contains(&url.scheme())
        && (url.username(), url.password()) == ("", None)
        && (url.query(), url.fragment()) == (None, None);
    is_plain.then_some(url)
}

/// A place that others can be sent to: an address, or a host's name (RFC 1123, with what containers' names have), and a
/// port.
fn advertised(text: &str) -> Result<String, String> {
    let is_label = |label: &str| {
        (1..=63).contains(&label.len())
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
    };
    // A name whose last label is a number would be taken for an address (WHATWG URL, 3.5), and is none here.
    let is_name = |host: &str| {
        let is_number = |label: &str| label.bytes().all(|byte| byte.is_ascii_digit());
        host.split('.').all(is_label) && !host.rsplit('.').next().is_some_and(is_number)
    };
    let is_port = |port: &str| {
        port.starts_with(|first| matches!(first, '1'..='9')) && port.parse::<u16>().is_ok()
    };
    let is_place = text.rsplit_once(':').is_some_and(|(host, port)| {
        let is_host = match text.parse::<SocketAddr>() {
            Ok(address) => !address.ip().to_canonical().is_unspecified(),
            Err(_) => is_name(host),
        };
        is_host && is_port(port)
    });
    let fits = text.len() <= limits::ADDRESS_BYTES_MAX;
    (fits && is_place).then(|| text.to_owned()).ok_or_else(|| {
        let most = limits::ADDRESS_BYTES_MAX;
        format!("must be like ads-1.example:8080 or [2001:db8::1]:8080, of up to {most} bytes")
    })
}

/// Origins between commas; what is empty between two, or behind the last, is none.
fn origins(text: &str) -> Result<Cors, String> {
    let origins = text.split(',').map(str::trim).filter(|origin| !origin.is_empty());
    origins.map(str::parse::<Cors>).collect::<Result<_, _>>().map_err(|error| error.to_string())
}

fn ratio(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(ratio) if (0.0..=1.0).contains(&ratio) => Ok(ratio),
        _ => Err("must be a number from 0 to 1".to_owned()),
    }
}

fn target(text: &str) -> Result<Url, String> {
    let form = "must be like http://127.0.0.1:8080, without a user, a path, a query or a fragment";
    let is_root = |url: &Url| url.path() == "/";
    server(text, &["http"]).filter(is_root).ok_or_else(|| form.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_replica_is_told_by_its_host_and_port() {
        let label = "x".repeat(63);
        let longest = format!("{label}.{label}.{label}.{}", &label[..58]);
        for place in [
            "ads-1.example:8080",
            "placard_1:1",
            "localhost:65535",
            "192.0.2.1:8080",
            "1.ads-1:8080",
            "7a:8080",
            "[::ffff:192.0.2.1]:8080",
            "[2001:db8::1]:8080",
            &format!("{longest}:8080"),
        ] {
            assert_eq!(advertised(place).as_deref(), Ok(place));
        }
        for other in [
            "",
            "ads-1",
            "ads-1:",
            ":8080",
            "ads-1:0",
            "ads-1:+80",
            "ads-1:65536",
            "ads-1:http",
            "ads 1:8080",
            "ads-1..example:8080",
            "http://ads-1:8080",
            "ads-1:8080/",
            "ann@ads-1:8080",
            "2001:db8::1:8080",
            "[2001:db8::1]",
            "0.0.0.0:8080",
            "192.0.2.1:0",
            "999.1.1.1:80",
            "1.2.3.4.5:80",
            "0:80",
            "ads-1.7:80",
            "-a-:80",
            "ads-1.-example:80",
            "ads-:80",
            "a:00080",
            "192.0.2.1:080",
            "[::]:80",
            "[::ffff:0.0.0.0]:80",
            &format!("{longest}x:8080"),
            &format!("{label}x:8080"),
        ] {
            assert!(advertised(other).is_err(), "{other}");
        }
    }

    #[test]
    fn a_place_to_listen_is_an_address_or_a_name() {
        for (text, address) in [
            ("127.0.0.1:8080", "127.0.0.1:8080"),
            ("[::1]:0", "[::1]:0"),
            ("localhost:8080", "127.0.0.1:8080"),
            (":8080", "0.0.0.0:8080"),
        ] {
            assert_eq!(place(text).map(|place| place.to_string()).as_deref(), Ok(address));
        }
        for other in [
            "",
            "here",
            "8080",
            "127.0.0.1",
            "127.0.0.1:",
            "127.0.0.1:70000",
            "::1",
            ":http",
            "a b:80",
        ] {
            assert!(place(other).is_err(), "{other}");
        }
    }

    #[test]
    fn a_collector_is_told_by_its_base() {
        for base in [
            "http://127.0.0.1:4318",
            "https://collector.example/",
            "https://collector.example/otlp/",
            "https://collector.example/v1/traces/of/ours",
        ] {
            assert!(collector(base).is_ok(), "{base}");
        }
        for other in [
            "",
            "127.0.0.1:4318",
            "collector:4318",
            "grpc://collector:4317",
            "http://",
            "http://collector:4318/v1/traces",
            "http://collector:4318/otlp/v1/traces/",
            "http://collector:4318?key=1",
            "http://collector:4318/?",
            "http://collector:4318/#spans",
            "http://ann@collector:4318",
            "http://ann:secret@collector:4318",
            "http://:secret@collector:4318",
        ] {
            assert!(collector(other).is_err(), "{other}");
        }
    }

    #[test]
    fn a_target_is_a_server_and_nothing_else() {
        for server in ["http://127.0.0.1:8080", "http://ads.example/", "http://[::1]:80"] {
            assert!(target(server).is_ok(), "{server}");
        }
        for other in [
            "",
            "127.0.0.1:8080",
            "https://ads.example",
            "http://ann:secret@127.0.0.1:8080",
            "http://ann@127.0.0.1:8080",
            "http://:secret@127.0.0.1:8080",
            "http://127.0.0.1:8080/api/v1/ad",
            "http://127.0.0.1:8080/?x",
            "http://127.0.0.1:8080/#x",
        ] {
            assert!(target(other).is_err(), "{other}");
        }
    }

    #[test]
    fn a_batch_is_not_repeated_once_its_key_is_forgotten() {
        assert_eq!(RETRY_FOR_MAX * 2, placard_model::limits::IDEMPOTENCY_KEPT.as_secs());
        let parsed = |seconds: u64| {
            let target = ["placard", "seed", "--ads", "1", "--target", "http://h", "--retry-for"];
            let seconds = seconds.to_string();
            Options::try_parse_from(target.into_iter().chain([seconds.as_str()]))
        };
        assert!(parsed(RETRY_FOR_MAX).is_ok());
        assert!(parsed(RETRY_FOR_MAX + 1).is_err());
    }

    #[test]
    fn origins_may_end_in_a_comma() {
        let both: Cors = ["https://a.org", "https://b.org"]
            .map(|one| one.parse().unwrap())
            .into_iter()
            .collect();
        for text in ["https://a.org,https://b.org", ",https://a.org,, https://b.org,"] {
            assert_eq!(origins(text).as_ref(), Ok(&both), "{text}");
        }
        assert_eq!(origins(","), Ok(Cors::default()));
        assert!(origins("https://a.org,b.org").is_err());
    }
}
