//! The options of the autoscaler: where the load is read, what one replica is to carry, and what is run.

use std::net::SocketAddr;

use clap::Args;
use clap::builder::BoolishValueParser;
use reqwest::Url;

use super::parse::{balancer, place};

#[derive(Debug, Args)]
pub(crate) struct AutoscaleOptions {
    /// Metrics of HAProxy, as http://127.0.0.1:8404/metrics. Name each of several balancers: their loads add up.
    #[arg(long, env = "PLACARD_BALANCER", value_name = "URL,...", required = true, value_delimiter = ',',
        value_parser = balancer)]
    pub(crate) balancer: Vec<Url>,
    /// The backend of the balancers' configuration in which the replicas are.
    #[arg(long, env = "PLACARD_BACKEND", value_name = "NAME", default_value = "replicas")]
    pub(crate) backend: String,
    #[command(flatten)]
    pub(crate) targets: TargetOptions,
    /// Fewest replicas, 1 to 1,000.
    #[arg(long, env = "PLACARD_REPLICAS_MIN", value_name = "N", default_value = "2",
        value_parser = clap::value_parser!(u32).range(1..=1_000))]
    pub(crate) replicas_min: u32,
    /// Most replicas, 1 to 1,000. HAProxy's configuration has room for 32.
    #[arg(long, env = "PLACARD_REPLICAS_MAX", value_name = "N", default_value = "8",
        value_parser = clap::value_parser!(u32).range(1..=1_000))]
    pub(crate) replicas_max: u32,
    /// Interval between two looks at the balancers, in seconds, 1 to 300.
    #[arg(long, env = "PLACARD_INTERVAL", value_name = "SECONDS", default_value = "5",
        value_parser = clap::value_parser!(u64).range(1..=300))]
    pub(crate) interval: u64,
    /// How long fewer replicas must have been enough before one is stopped, in seconds, 1 to 86,400.
    #[arg(long, env = "PLACARD_QUIET", value_name = "SECONDS", default_value = "300",
        value_parser = clap::value_parser!(u64).range(1..=86_400))]
    pub(crate) quiet: u64,
    /// How long the command may run before it is killed, in seconds, 1 to 3,600.
    #[arg(long, env = "PLACARD_COMMAND_TIMEOUT", value_name = "SECONDS", default_value = "120",
        value_parser = clap::value_parser!(u64).range(1..=3_600))]
    pub(crate) command_timeout: u64,
    /// Address and port for metrics of the autoscaler itself [default: none].
    #[arg(long, env = "PLACARD_METRICS_LISTEN", value_name = "ADDR", value_parser = place)]
    pub(crate) metrics_listen: Option<SocketAddr>,
    /// Log what would be done, and do nothing.
    #[arg(long, env = "PLACARD_DRY_RUN", value_parser = BoolishValueParser::new())]
    pub(crate) dry_run: bool,
    /// What changes the number of replicas, with {replicas} in its place, such as: docker service scale
    /// placard_placard={replicas}. It is run without a shell.
    #[arg(value_name = "COMMAND", required = true, last = true)]
    pub(crate) command: Vec<String>,
}

/// What one replica is to carry. Of several limits the one counts that needs the most replicas.
#[derive(Debug, Args)]
#[group(required = true, multiple = true)]
pub(crate) struct TargetOptions {
    /// Requests a second for each replica.
    #[arg(long, env = "PLACARD_REQUESTS_PER_REPLICA", value_name = "N",
        value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) requests_per_replica: Option<u32>,
    /// Requests at the same time for each replica, with those that are queued.
    #[arg(long, env = "PLACARD_SESSIONS_PER_REPLICA", value_name = "N",
        value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) sessions_per_replica: Option<u32>,
    /// Mean time to answer, in milliseconds. If answers take twice as long, there will be twice as many replicas.
    #[arg(long, env = "PLACARD_RESPONSE_TIME", value_name = "MS",
        value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) response_time: Option<u32>,
}
