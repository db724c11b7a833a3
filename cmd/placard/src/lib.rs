//! The one program. Each subcommand is a file; this one reads the command line and turns errors into one
//! line and an exit code.

mod access;
mod cluster;
mod demo;
mod environment;
mod healthcheck;
mod migrate;
mod options;
mod seed;
mod serve;
mod signals;
mod status;
mod verify;

use std::io::{IsTerminal, Write};
use std::process::ExitCode;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{CommandFactory, FromArgMatches};
use tracing_subscriber::EnvFilter;

use options::{Command, LogFormat, Options};

/// Bad usage, as shells and clap have it.
const USAGE: u8 = 2;

/// Runs the program with the command line of this process.
pub fn main() -> ExitCode {
    let mut command = environment::heed(Options::command());
    let matches = command.try_get_matches_from_mut(std::env::args_os());
    let options = matches.and_then(|matches| {
        let mut options = Options::from_arg_matches(&matches)?;
        if let (Command::Serve(serve), Some((_, given))) =
            (&mut options.command, matches.subcommand())
        {
            serve.of_clusters = cluster::given(given);
        }
        Ok(options)
    });
    let options = match options {
        Ok(options) => options,
        Err(error) => return usage(&error),
    };
    if let Err(error) = log_to_stderr(&options.log, options.log_format) {
        eprintln!("error: --log: {error}");
        return ExitCode::from(USAGE);
    }
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("error: cannot start the runtime: {error}");
            return ExitCode::FAILURE;
        }
    };
    let done = runtime.block_on(async {
        match options.command {
            Command::Serve(options) => serve::run(*options).await,
            Command::Migrate(options) => migrate::run(options).await,
            Command::Status(options) => status::run(options).await,
            Command::Healthcheck(options) => healthcheck::run(options).await,
            Command::Verify(options) => verify::run(options).await,
            Command::Demo(options) => demo::run(options).await,
            Command::Seed(options) => seed::run(options).await,
        }
    });
    // What matters has been waited for; a restore that was cut short would keep its thread for seconds.
    runtime.shutdown_background();
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // The chain of sources on one line: what failed, then why.
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Help and version are what was asked for; anything else is one line and code 2.
fn usage(error: &clap::Error) -> ExitCode {
    if matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) {
        // A reader that closes early, as a pager does, has seen what it wanted.
        let _ = write!(std::io::stdout(), "{error}");
        return ExitCode::SUCCESS;
    }
    let text = error.to_string();
    let text = match error.get(ContextKind::InvalidValue) {
        // What stands before an @ may be a password, whatever it was meant for.
        Some(ContextValue::String(value)) if value.contains('@') => text.replace(value, "..."),
        _ => text,
    };
    let first = text.split("\n\n").next().unwrap_or_default();
    let line = first.split_whitespace().collect::<Vec<_>>().join(" ");
    eprintln!("{line}; try 'placard --help'");
    ExitCode::from(USAGE)
}

fn log_to_stderr(
    filter: &str,
    format: LogFormat,
) -> Result<(), tracing_subscriber::filter::ParseError> {
    let filter = EnvFilter::builder().parse(filter)?;
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal());
    match format {
        LogFormat::Text => log.init(),
        LogFormat::Json => log.json().init(),
    }
    Ok(())
}
