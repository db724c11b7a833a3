//! The options of commands that ask a running server.

use std::path::PathBuf;

use clap::Args;
use reqwest::Url;

use super::PostgresOptions;
use super::parse::target;

/// Seconds for which a batch is sent again: a PostgreSQL that fails over is back by then.
pub(crate) const RETRY_FOR_DEFAULT: u64 = 60;
/// A batch that is repeated once its key is forgotten is written twice. The time runs from when it was written.
const RETRY_FOR_MAX: u64 = 43_200;

/// What a client shows to a server that wants to know who writes.
#[derive(Debug, Args)]
pub(crate) struct TokenOptions {
    /// File whose first token is sent to the server, such as the server's own --admin-token-file.
    #[arg(long, env = "PLACARD_TOKEN_FILE", value_name = "FILE")]
    pub(crate) token_file: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct StatusOptions {
    /// Any replica, such as http://127.0.0.1:8080.
    #[arg(long, env = "PLACARD_TARGET", value_name = "URL", value_parser = target)]
    pub(crate) target: Url,
    #[command(flatten)]
    pub(crate) token: TokenOptions,
    /// Print once and exit. Without this option a terminal is refreshed every second.
    #[arg(long)]
    pub(crate) once: bool,
}

#[derive(Debug, Args)]
pub(crate) struct VerifyOptions {
    #[command(flatten)]
    pub(crate) postgres: PostgresOptions,
    /// Without PostgreSQL: the directory of a standalone server [default: ./data].
    #[arg(long, env = "PLACARD_DATA_DIR", value_name = "DIR")]
    pub(crate) data_dir: Option<PathBuf>,
    /// A replica of the cluster, or the standalone server, to compare with the journal.
    #[arg(long, env = "PLACARD_TARGET", value_name = "URL", value_parser = target)]
    pub(crate) target: Option<Url>,
}

#[derive(Debug, Args)]
pub(crate) struct SeedOptions {
    /// The server, such as http://127.0.0.1:8080.
    #[arg(long, env = "PLACARD_TARGET", value_name = "URL", value_parser = target)]
    pub(crate) target: Url,
    /// Number of ads to generate, up to 10,000,000.
    #[arg(long, env = "PLACARD_ADS", value_parser = clap::value_parser!(u64).range(0..=10_000_000))]
    pub(crate) ads: u64,
    /// Seed of the generator. The same seed gives the same ads.
    #[arg(long, env = "PLACARD_SEED", default_value = "42")]
    pub(crate) seed: u64,
    /// How long to repeat a batch that got no definite answer, with the same key, in seconds, up to 43,200: half
    /// the time for which the server remembers the key.
    #[arg(long, env = "PLACARD_RETRY_FOR", value_name = "SECONDS",
        default_value_t = RETRY_FOR_DEFAULT, value_parser = clap::value_parser!(u64).range(0..=RETRY_FOR_MAX))]
    pub(crate) retry_for: u64,
    #[command(flatten)]
    pub(crate) token: TokenOptions,
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::options::Options;

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
}
