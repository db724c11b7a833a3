//! `placard man` and `placard completions`: the manual pages, and what shells complete. Both are made of the definition of
//! the command line, so that they name what this build takes.

use std::fs;
use std::io;
use std::path::Path;

use anyhow::Context;
use clap::{Command, CommandFactory};
use clap_complete::Shell;
use clap_mangen::Man;
use clap_mangen::roff::{Roff, bold, roman};

use crate::options::Options;
use crate::output;

/// What the pages belong to, as `man` shows it above each.
const MANUAL: &str = "Placard's manual";
/// What each command ends with.
const CODES: [(&str, &str); 3] = [
    (
        "0",
        "The command has done what it was asked for. serve, demo and autoscale were stopped by a signal.",
    ),
    (
        "1",
        "The command has failed, and says why in one line on standard error. healthcheck: the server is not ready. \
         verify: the journal and the replicas disagree.",
    ),
    (
        "2",
        "The command cannot work until its configuration is changed: the command line, or a variable in its place, cannot be \
         parsed, options do not go together, or a file that an option names cannot be used. A service manager should not \
         start it again.",
    ),
];
/// The files of a server, which those commands use that take its directory.
const FILES: [(&str, &str); 8] = [
    ("journal.sqlite", "In the data directory of a standalone server: the journal, with all ads."),
    (
        "journal.sqlite-wal, journal.sqlite-shm",
        "What belongs to it while the server runs, or after it was killed. Never copy the journal without them: use \
         placard-backup(1).",
    ),
    ("expiry.db", "Tasks that delete ended ads. They are made again if they are missing."),
    ("lock", "Refuses a second server in the directory."),
    ("checkpoint", "In the data directory of a replica of a cluster: its state, to start faster."),
    ("/etc/placard/placard.env", "With the Debian package: the variables of placard.service."),
    (
        "/etc/placard/secrets/",
        "With the Debian package: files with tokens, URLs and passwords, which the service reads as \
         /run/credentials/placard.service/secrets_NAME.",
    ),
    ("/var/lib/placard/", "With the Debian package: the data directory of placard.service."),
];

/// Writes a page for the program and for each of its commands, as `placard-serve.1`, into a directory.
pub(crate) fn write(directory: &Path) -> anyhow::Result<()> {
    let mut command = Options::command().disable_help_subcommand(true);
    command.build();
    fs::create_dir_all(directory)
        .with_context(|| format!("cannot make {}", directory.display()))?;
    let commands: Vec<_> = std::iter::once(&command).chain(command.get_subcommands()).collect();
    let names: Vec<_> = commands.iter().map(|command| name(command)).collect();
    for command in commands {
        let mut text = Vec::new();
        page(command, &names, &mut text).context("cannot render a page")?;
        let file = directory.join(format!("{}.1", name(command)));
        fs::write(&file, text).with_context(|| format!("cannot write {}", file.display()))?;
    }
    Ok(())
}

/// Prints the script by which a shell completes the program's commands and options.
pub(crate) fn complete(shell: Shell) -> anyhow::Result<()> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Options::command(), "placard", &mut script);
    output::print(&String::from_utf8_lossy(&script)).map(drop)
}

fn name(command: &Command) -> String {
    command.get_display_name().unwrap_or_else(|| command.get_name()).to_owned()
}

fn page(command: &Command, names: &[String], to: &mut impl io::Write) -> io::Result<()> {
    let page = Man::new(command.clone()).manual(MANUAL);
    page.render_title(to)?;
    page.render_name_section(to)?;
    page.render_synopsis_section(to)?;
    page.render_description_section(to)?;
    page.render_options_section(to)?;
    if command.has_subcommands() {
        page.render_subcommands_section(to)?;
    }
    let mut rest = Roff::new();
    environment(command, &mut rest);
    section("EXIT STATUS", &CODES, &mut rest);
    let has_directory = command.get_arguments().any(|option| option.get_long() == Some("data-dir"));
    if has_directory || command.has_subcommands() {
        section("FILES", &FILES, &mut rest);
    }
    see_also(&name(command), names, &mut rest);
    rest.to_writer(to)
}

/// Lists the variables that stand for options, and those beside them.
fn environment(command: &Command, to: &mut Roff) {
    to.control("SH", ["ENVIRONMENT"]);
    to.text([roman(
        "A variable sets the option beside it, and the command line takes precedence. A variable that is empty is \
         ignored. The variable of an option without a value says yes or no.",
    )]);
    for option in command.get_arguments().filter(|option| !option.is_hide_set()) {
        if let (Some(variable), Some(long)) = (option.get_env(), option.get_long()) {
            item(&variable.to_string_lossy(), &format!("--{long}"), to);
        }
    }
    item("RUST_BACKTRACE", "If it is 1, the log line of a panic has a backtrace.", to);
    if command.get_name() == "serve" {
        let notify = "The socket of a service manager that learns when the server is ready and when it stops, as \
                      sd_notify(3) describes.";
        item("NOTIFY_SOCKET", notify, to);
    }
}

fn section(title: &str, items: &[(&str, &str)], to: &mut Roff) {
    to.control("SH", [title]);
    for (term, text) in items {
        item(term, text, to);
    }
}

fn item(term: &str, text: &str, to: &mut Roff) {
    to.control("TP", []);
    to.text([bold(term)]);
    to.text([roman(text)]);
}

fn see_also(own: &str, names: &[String], to: &mut Roff) {
    to.control("SH", ["SEE ALSO"]);
    let others: Vec<_> =
        names.iter().filter(|name| *name != own).map(|name| format!("{name}(1)")).collect();
    to.text([roman(format!("{}, systemd.exec(5), journalctl(1)", others.join(", ")))]);
    to.control("PP", []);
    to.text([roman(
        "The operator's manual is docs/OPERATIONS.md of the project; the Debian package has it as \
         /usr/share/doc/placard/OPERATIONS.md.gz.",
    )]);
}
