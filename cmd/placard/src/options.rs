//! The command line: the program's commands, and what each takes. Every option can also be given in the environment; a
//! flag there by a word for yes or no.

mod autoscale;
mod clients;
pub(crate) mod cluster;
mod parse;
pub(crate) mod serve;

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::builder::BoolishValueParser;
use clap::{Args, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;

pub(crate) use autoscale::AutoscaleOptions;
pub(crate) use clients::{
    RETRY_FOR_DEFAULT, SeedOptions, StatusOptions, TokenOptions, VerifyOptions,
};
use cluster::PostgresOptions;
use parse::place;
use serve::ServeOptions;

/// Placard serves targeted ads from memory: one process by itself, or a cluster of equal replicas.
#[derive(Debug, Parser)]
#[command(version, arg_required_else_help = false)]
pub(crate) struct Options {
    /// What to log: error, warn, info, debug, trace or off, or per module, as info,placard_api=debug.
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
    /// One JSON object per line.
    Json,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run a server: standalone from a directory, or as a replica of a cluster.
    Serve(Box<ServeOptions>),
    /// Serve generated ads from a temporary directory, to try Placard.
    Demo(DemoOptions),
    /// Generate ads and send them to a server.
    Seed(SeedOptions),
    /// Bring the tables of a cluster's journal up to date.
    Migrate(MigrateOptions),
    /// Show the replicas of a cluster.
    Status(StatusOptions),
    /// Check whether the server on this machine is ready, and exit with 0 if it is; for a container's health check.
    Healthcheck(HealthcheckOptions),
    /// Recompute the chain and the digest of a journal, and compare them with what replicas have.
    Verify(VerifyOptions),
    /// Copy the journal of a standalone server into a new file, while the server runs or when it is stopped.
    Backup(BackupOptions),
    /// Have a command start and stop replicas, as the load at the balancer needs them.
    Autoscale(AutoscaleOptions),
    /// Write the manual pages of the program and of its commands into a directory.
    Man(ManOptions),
    /// Print the script by which a shell completes the program's commands and options.
    Completions(CompletionsOptions),
}

#[derive(Debug, Args)]
pub(crate) struct MigrateOptions {
    #[command(flatten)]
    pub(crate) postgres: PostgresOptions,
}

#[derive(Debug, Args)]
pub(crate) struct HealthcheckOptions {
    /// The address and port that the server was told to listen on.
    #[arg(long, env = "PLACARD_LISTEN", default_value = "127.0.0.1:8080",
        value_parser = place)]
    pub(crate) listen: SocketAddr,
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
pub(crate) struct ManOptions {
    /// The directory; it is created if it is missing.
    #[arg(value_name = "DIR")]
    pub(crate) directory: PathBuf,
}

#[derive(Debug, Args)]
pub(crate) struct CompletionsOptions {
    /// The shell whose script is printed.
    #[arg(value_name = "SHELL")]
    pub(crate) shell: Shell,
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
