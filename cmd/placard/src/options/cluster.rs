//! What makes a server one of a cluster's replicas: where PostgreSQL and Redis are, and how it behaves among the others.

use std::path::PathBuf;
use std::time::Duration;

use clap::builder::BoolishValueParser;
use clap::{Args, ValueEnum};
use placard_node::Secret;

use super::parse::{advertised, milliseconds};

/// How a replica answers reads when what it has may be old.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum OnStale {
    /// Continue to answer reads.
    Serve,
    /// Answer reads with 503.
    Refuse,
}

/// Where a cluster's journal is.
#[derive(Debug, Args)]
pub(crate) struct PostgresOptions {
    /// PostgreSQL, as postgres://user:password@host:port,.../database[?sslmode=verify-full&sslrootcert=...]; of
    /// several hosts the one that takes writes.
    #[arg(long, env = "PLACARD_POSTGRES_URL", value_name = "URL")]
    pub(crate) postgres_url: Option<Secret>,
    /// File with the PostgreSQL URL. It is read again for each connection.
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
    /// File with the Redis URL. It is read again for each connection.
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
    /// File with the password of a Redis behind Sentinels. It is read again for each connection.
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
    /// File with the Sentinels' own password. It is read again for each connection.
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
    /// Where clients reach this replica, as host:port [default: the address it listens on; if that is a wildcard
    /// address, this machine's name and the port].
    #[arg(long, env = "PLACARD_ADVERTISE", value_name = "HOST:PORT", value_parser = advertised)]
    pub(crate) advertise: Option<String>,
    /// Do not run migrations at startup.
    #[arg(long, env = "PLACARD_NO_MIGRATE", value_parser = BoolishValueParser::new())]
    pub(crate) no_migrate: bool,
    /// Accept a PostgreSQL server that may lose or corrupt the journal when its machine crashes.
    #[arg(long, env = "PLACARD_ACCEPT_UNSAFE_DURABILITY", value_parser = BoolishValueParser::new())]
    pub(crate) accept_unsafe_durability: bool,
    /// How to answer reads when this replica's state may be older than a lease of 2 s: serve them and say how old
    /// the state may be, or refuse them after --stale-max. Only with refuse does ack=all cover a replica that the
    /// others cannot reach.
    #[arg(long, env = "PLACARD_ON_STALE", value_name = "WHAT", default_value = "serve")]
    pub(crate) on_stale: OnStale,
    /// How much older than a lease an answer may be under --on-stale refuse, in milliseconds, up to 10 minutes.
    #[arg(long, env = "PLACARD_STALE_MAX", value_name = "MS", default_value = "3000",
        value_parser = milliseconds)]
    pub(crate) stale_max: Duration,
    /// Maximum number of entries in the stream, 1,024 to 100,000,000.
    #[arg(long, env = "PLACARD_STREAM_MAX_ENTRIES", value_name = "N", default_value = "1000000",
        value_parser = clap::value_parser!(u64).range(1_024..=100_000_000))]
    pub(crate) stream_max_entries: u64,
    /// How long log entries are kept, in hours, 1 to 87,600. A replica that was away for longer restores its state
    /// from the journal's ads.
    #[arg(long, env = "PLACARD_LOG_KEEP_HOURS", value_name = "HOURS", default_value = "168",
        value_parser = clap::value_parser!(u64).range(1..=87_600))]
    pub(crate) log_keep_hours: u64,
    /// Interval between two checkpoints, in seconds, 1 to 86,400.
    #[arg(long, env = "PLACARD_CHECKPOINT_EVERY", value_name = "SECONDS", default_value = "60",
        value_parser = clap::value_parser!(u64).range(1..=86_400))]
    pub(crate) checkpoint_every: u64,
}
