//! The one program. Each subcommand is a file; this one reads the command line and turns errors into one
//! line and an exit code.

mod access;
mod autoscale;
mod backup;
mod config;
mod demo;
mod environment;
mod healthcheck;
mod manual;
mod migrate;
mod misconfigured;
mod notify;
mod options;
mod output;
mod secrets;
mod seed;
mod serve;
mod signals;
mod status;
mod verify;

use std::io::{IsTerminal, Write};
use std::process::ExitCode;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{CommandFactory, FromArgMatches};
use tracing::{Level, Metadata, Subscriber};
use tracing_subscriber::filter::{LevelFilter, Targets, filter_fn};
use tracing_subscriber::prelude::*;

use misconfigured::Misconfigured;
use options::{Command, LogFormat, Options};
use output::{LastLines, Log};

/// Bad usage, as shells and clap have it, and a configuration that cannot work.
const USAGE: u8 = 2;

/// Runs the program with the command line of this process.
pub fn main() -> ExitCode {
    let log = match Log::start() {
        Ok(log) => log,
        Err(error) => {
            // Nobody may be there to read it.
            let _ = writeln!(std::io::stderr(), "error: cannot start the log: {error}");
            return ExitCode::FAILURE;
        }
    };
    let _last_lines = LastLines(log.clone());
    run(&log)
}

fn run(log: &Log) -> ExitCode {
    let mut command = environment::heed(Options::command());
    let matches = command.try_get_matches_from_mut(std::env::args_os());
    let options = matches.and_then(|matches| {
        let mut options = Options::from_arg_matches(&matches)?;
        if let (Command::Serve(serve), Some((_, given))) =
            (&mut options.command, matches.subcommand())
        {
            serve.of_clusters = config::given(given);
        }
        Ok(options)
    });
    let options = match options {
        Ok(options) => options,
        Err(error) => return usage(&error, log),
    };
    match subscriber(log, &options.log, options.log_format) {
        Ok(subscriber) => subscriber.init(),
        Err(error) => {
            log.say(&format!("error: --log: {error}"));
            return ExitCode::from(USAGE);
        }
    }
    log.log_panics();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            log.say(&format!("error: cannot start the runtime: {error}"));
            return ExitCode::FAILURE;
        }
    };
    let done = runtime.block_on(async {
        match options.command {
            Command::Serve(options) => serve::run(*options, log).await,
            Command::Migrate(options) => migrate::run(options).await,
            Command::Status(options) => status::run(options).await,
            Command::Healthcheck(options) => healthcheck::run(options).await,
            Command::Verify(options) => verify::run(options).await,
            Command::Backup(options) => backup::run(options).await,
            Command::Autoscale(options) => autoscale::run(options).await,
            Command::Man(options) => manual::write(&options.directory),
            Command::Completions(options) => manual::complete(options.shell),
            Command::Demo(options) => demo::run(options, log).await,
            Command::Seed(options) => seed::run(options, log).await,
        }
    });
    // Everything that matters has finished; an interrupted restore would keep its thread for seconds.
    runtime.shutdown_background();
    done.map_or_else(|error| failure(&error, log), |()| ExitCode::SUCCESS)
}

/// Prints the chain of sources on one line: what failed, then why.
fn failure(error: &anyhow::Error, log: &Log) -> ExitCode {
    log.say(&format!("error: {error:#}"));
    if Misconfigured::is(error) { ExitCode::from(USAGE) } else { ExitCode::FAILURE }
}

/// Prints the help or the version that was asked for; anything else is an error of one line, with code 2.
fn usage(error: &clap::Error, log: &Log) -> ExitCode {
    if matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) {
        let printed = output::print(&error.to_string());
        return printed.map_or_else(|error| failure(&error, log), |_| ExitCode::SUCCESS);
    }
    let text = without_secrets(error);
    let first = text.split("\n\n").next().unwrap_or_default();
    let line = first.split_whitespace().collect::<Vec<_>>().join(" ");
    log.say(&format!("{line}; try 'placard --help'"));
    ExitCode::from(USAGE)
}

/// Returns what is wrong with the command line, without anything that may be a password or a token: the value of an
/// option whose values may hold one, and an argument where no value belongs. It names what an operator has typed where
/// a word belongs.
fn without_secrets(error: &clap::Error) -> String {
    /// The names of the values of options that may hold a secret.
    const SECRET: [&str; 4] = ["URL", "FILE", "HOST:PORT", "ORIGIN"];
    let text = error.to_string();
    let context = |kind| match error.get(kind) {
        Some(ContextValue::String(text)) => text.as_str(),
        _ => "",
    };
    let is_word = |text: &str| {
        // Names of options are longer than other words.
        let most = if text.starts_with("--") { 42 } else { 15 };
        text.len() <= most && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'-')
    };
    let argument = context(ContextKind::InvalidArg);
    let may_hold_one = SECRET.iter().any(|name| argument.contains(&format!("<{name}")));
    let value = context(ContextKind::InvalidValue);
    let is_of_a_flag = error.kind() == ErrorKind::TooManyValues;
    let subcommand = context(ContextKind::InvalidSubcommand);
    let unknown = if error.kind() == ErrorKind::UnknownArgument { argument } else { "" };
    [
        (value, may_hold_one || value.contains('@') || is_of_a_flag),
        (subcommand, !is_word(subcommand)),
        (unknown, !is_word(unknown)),
    ]
    .into_iter()
    .filter(|(shown, is_secret)| *is_secret && !shown.is_empty())
    .fold(text, |text, (secret, _)| {
        let text = text.replace(&format!("'{secret}'"), "'...'");
        // A word may be in the sentence too.
        if is_word(secret) { text } else { text.replace(secret, "...") }
    })
}

/// Returns the subscriber that turns events into lines of the log.
fn subscriber(
    log: &Log,
    text: &str,
    format: LogFormat,
) -> anyhow::Result<impl Subscriber + Send + Sync + 'static> {
    let filter = filter(text)?.with_target(output::PANIC_TARGET, LevelFilter::ERROR);
    let log = log.clone();
    let lines = tracing_subscriber::fmt::layer()
        .with_writer(move || log.clone())
        // It would print them, and a print that fails panics.
        .log_internal_errors(false)
        .with_ansi(std::io::stderr().is_terminal());
    let lines = match format {
        LogFormat::Text => lines.boxed(),
        LogFormat::Json => lines.json().boxed(),
    };
    // Who names one of the two has it as the filter says.
    let hidden: Vec<_> = QUEUE_CRATES.into_iter().filter(|name| !text.contains(name)).collect();
    let lines = lines.with_filter(filter_fn(move |event| {
        !holds_a_password(event) && !is_of_the_queue(event, &hidden)
    }));
    Ok(tracing_subscriber::registry().with(filter).with(lines))
}

/// Parses what to log: levels, and modules with a level of their own. Of two for the same module the last counts.
fn filter(text: &str) -> anyhow::Result<Targets> {
    text.split(',').map(str::trim).try_fold(Targets::new(), |filter, part| {
        let (module, level) = match part.split_once('=') {
            Some((module, level)) => (Some(module), level),
            None => (None, part),
        };
        let level = level.parse::<LevelFilter>().ok().filter(|_| !level.is_empty());
        match (module, level) {
            (None, Some(level)) => Ok(filter.with_default(level)),
            (Some(module), Some(level)) if is_module(module) => {
                Ok(filter.with_target(module, level))
            }
            _ => anyhow::bail!(
                "'{part}' is not a level: write error, warn, info, debug, trace or off, or a module with one of them, \
                 as placard_api=debug"
            ),
        }
    })
}

fn is_module(name: &str) -> bool {
    let is_part = |byte: u8| byte.is_ascii_alphanumeric() || b"_-:".contains(&byte);
    !name.is_empty() && name.bytes().all(is_part)
}

/// Returns true if an event is sqlx's about a line of a password file that it cannot parse: the event shows the line.
fn holds_a_password(event: &Metadata<'_>) -> bool {
    event.target().starts_with("sqlx_postgres::options::pgpass")
        && event.fields().field("line").is_some()
}

/// The crates of the queue of tasks.
const QUEUE_CRATES: [&str; 2] = ["apalis", "sqlx"];

/// Returns true if an event is one that the queue of tasks and its connections log by themselves: a dozen statements a
/// second, each two kilobytes long, and while PostgreSQL is away three lines a second. What matters of it is logged
/// here. Only events of the crates in `hidden` count.
fn is_of_the_queue(event: &Metadata<'_>, hidden: &[&str]) -> bool {
    let is_of = |module: &str| event.target().starts_with(module);
    hidden.iter().any(|name| is_of(name))
        && (is_of("apalis")
            || is_of("sqlx_core::pool")
            || (is_of("sqlx::query") && *event.level() > Level::WARN))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filter_has_levels_and_levels_of_modules() {
        for (text, target, level) in [
            ("info", "placard_api", Some(Level::INFO)),
            ("WARN", "sqlx::query", Some(Level::WARN)),
            ("4", "placard_api", Some(Level::DEBUG)),
            ("off", "placard_api", None),
            ("info,placard_api=debug", "placard_api::requests", Some(Level::DEBUG)),
            ("info, placard_api=debug", "placard_node", Some(Level::INFO)),
            ("placard_api=trace", "placard_node", None),
            ("debug,placard_api=off", "placard_api", None),
            ("placard_api::http=debug,placard_api=warn", "placard_api::http", Some(Level::DEBUG)),
            ("debug,info", "placard_api", Some(Level::INFO)),
        ] {
            let filter = filter(text).unwrap_or_else(|error| panic!("{text}: {error}"));
            for one in [Level::ERROR, Level::WARN, Level::INFO, Level::DEBUG, Level::TRACE] {
                let is_logged = level.is_some_and(|most| one <= most);
                assert_eq!(filter.would_enable(target, &one), is_logged, "{text}: {target} {one}");
            }
        }
    }

    #[test]
    fn filter_of_something_else_is_refused() {
        for text in [
            "",
            "info,",
            "warning",
            "placard_api",
            "info,verbose",
            "placard_api=",
            "placard_api=loud",
            "=info",
            "6",
            "[request]=debug",
            "placard_api[request{id}]=debug",
            "placard=[",
        ] {
            assert!(filter(text).is_err(), "{text}");
        }
    }
}
