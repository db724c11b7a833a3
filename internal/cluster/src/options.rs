//! The command line of `placard-cluster`, which `scripts/cluster` passes on. What it does not say is in the environment:
//! a variable that is empty counts as not set.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::builder::Resettable;
use clap::{Args, CommandFactory, FromArgMatches, Parser, Subcommand};
use placard_cluster::cluster::REPLICAS_MAX;

/// A cluster on this machine, as processes: PostgreSQL, Redis, replicas of Placard, and HAProxy before them
#[derive(Debug, Parser)]
#[command(
    name = "cluster",
    bin_name = "cluster",
    disable_help_subcommand = true,
    arg_required_else_help = false
)]
pub(crate) struct Options {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Start a cluster, and keep it up until Ctrl-C
    Up(Up),
    /// Start a cluster, run a command with TARGET set to its URL, and stop
    Run {
        #[command(flatten)]
        up: Up,
        /// What to run
        #[arg(value_name = "COMMAND", required = true, num_args = 1.., trailing_var_arg = true, allow_hyphen_values = true)]
        program: Vec<OsString>,
    },
    /// Start or stop replicas of the running cluster
    Scale {
        #[command(flatten)]
        running: Running,
        /// Replicas, 1 to 32
        #[arg(env = "REPLICAS", default_value_t = 3, value_parser = replicas())]
        replicas: u16,
    },
    /// Restart its replicas in turn
    Roll(Running),
    /// Show its parts and its replicas
    Status(Running),
}

#[derive(Debug, Args)]
pub(crate) struct Up {
    /// Replicas, 1 to 32
    #[arg(long, value_name = "N", env = "REPLICAS", default_value_t = 3, value_parser = replicas())]
    pub(crate) replicas: u16,
    /// The cluster's directory, which is kept; without it a temporary one
    #[arg(long, value_name = "DIR", env = "DATA")]
    pub(crate) data: Option<PathBuf>,
    /// Where HAProxy listens; 0 takes a free port
    #[arg(long, value_name = "PORT", env = "PORT", default_value_t = 8080)]
    pub(crate) port: u16,
    /// Where its statistics are; 0 takes a free port
    #[arg(long, value_name = "PORT", env = "STATS_PORT", default_value_t = 8404)]
    pub(crate) stats_port: u16,
    /// The program; without it the one beside this program
    #[arg(long, value_name = "PROGRAM", env = "PLACARD")]
    pub(crate) placard: Option<PathBuf>,
    /// Tokens with which ads can be written, one a line; without it any client may
    #[arg(long, value_name = "FILE", env = "TOKEN_FILE")]
    pub(crate) token_file: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct Running {
    /// The cluster's directory; without it the temporary one
    #[arg(long, value_name = "DIR", env = "DATA")]
    pub(crate) data: Option<PathBuf>,
}

impl Options {
    /// Parses this process' command line.
    pub(crate) fn parse() -> Result<Self, clap::Error> {
        let mut command = set_only(Self::command());
        let matches = command.try_get_matches_from_mut(std::env::args_os())?;
        Self::from_arg_matches(&matches).map_err(|error| error.format(&mut command))
    }
}

fn replicas() -> clap::builder::RangedI64ValueParser<u16> {
    clap::value_parser!(u16).range(1..=i64::from(REPLICAS_MAX))
}

/// The command line without variables that are empty.
fn set_only(command: clap::Command) -> clap::Command {
    let set = |arg: clap::Arg| {
        let value = arg.get_env().and_then(std::env::var_os);
        let arg = arg.hide_env_values(true);
        if value.is_some_and(|value| value.is_empty()) { arg.env(Resettable::Reset) } else { arg }
    };
    command.mut_args(set).mut_subcommands(set_only)
}
