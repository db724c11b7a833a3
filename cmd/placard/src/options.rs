//! The command line. Every option can also be given in the environment.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};
use reqwest::Url;

/// Serves targeted ads from memory.
#[derive(Debug, Parser)]
#[command(version, about, arg_required_else_help = false)]
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

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Serve from a directory that lasts.
    Serve(ServeOptions),
    /// Serve generated ads from a temporary directory, to try things out.
    Demo(DemoOptions),
    /// Generate ads and send them to a server.
    Seed(SeedOptions),
}

#[derive(Debug, Args)]
pub(crate) struct ServeOptions {
    /// Address and port to listen on; port 0 takes a free one.
    #[arg(long, env = "PLACARD_LISTEN", default_value = "127.0.0.1:8080")]
    pub(crate) listen: SocketAddr,
    /// Directory of the journal; made if it is missing.
    #[arg(long, env = "PLACARD_DATA_DIR", default_value = "./data")]
    pub(crate) data_dir: PathBuf,
    /// How long /readyz says 503 before the listener closes, in milliseconds, up to 10 minutes.
    #[arg(long = "drain-delay", env = "PLACARD_DRAIN_DELAY", default_value = "0", value_name = "MS",
        value_parser = milliseconds)]
    pub(crate) drain_delay: Duration,
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
    /// Address and port to listen on; port 0 takes a free one.
    #[arg(long, env = "PLACARD_LISTEN", default_value = "127.0.0.1:8080")]
    pub(crate) listen: SocketAddr,
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
}

fn milliseconds(text: &str) -> Result<Duration, String> {
    const MOST: u64 = 600_000;
    match text.parse() {
        Ok(ms) if ms <= MOST => Ok(Duration::from_millis(ms)),
        _ => Err(format!("must be a whole number of milliseconds up to {MOST}")),
    }
}

fn target(text: &str) -> Result<Url, String> {
    match text.parse::<Url>() {
        Ok(url) if url.scheme() == "http" => Ok(url),
        _ => Err("must be like http://127.0.0.1:8080".to_owned()),
    }
}
