//! Options from the environment. An empty variable counts as not set, since Compose turns `${NAME:-}` into one.

use std::ffi::OsStr;

use clap::builder::{BoolishValueParser, Resettable, TypedValueParser};
use clap::{Arg, ArgAction, Command};

/// Returns the command line with the variables that count: not those that are empty, nor a flag's that say no, which
/// clap would take for given flags when it looks for options that exclude each other. The help shows no values of
/// variables.
pub(crate) fn heed(command: Command) -> Command {
    let heeded = |arg: Arg| match arg.get_env().and_then(std::env::var_os) {
        Some(value) if says_nothing(&arg, &value) => arg.env(Resettable::Reset),
        // Help is shown to people who may not see the environment, and some values hold passwords.
        _ => arg.hide_env_values(true),
    };
    command.mut_args(heeded).mut_subcommands(heed)
}

fn says_nothing(arg: &Arg, value: &OsStr) -> bool {
    let says_no = || {
        BoolishValueParser::new().parse_ref(&Command::default(), None, value).is_ok_and(|yes| !yes)
    };
    value.is_empty() || (matches!(arg.get_action(), ArgAction::SetTrue) && says_no())
}
