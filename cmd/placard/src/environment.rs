//! What the environment says of options: nothing, where a variable is empty, as Compose makes one of `${NAME:-}`.

use std::ffi::OsStr;

use clap::builder::{BoolishValueParser, Resettable, TypedValueParser};
use clap::{Arg, ArgAction, Command};

/// The command line, with the variables that say something: not those that are empty, nor a flag's that say no, which
/// clap would take for flags that are given when it looks for options that exclude each other. Its help shows no values
/// of variables.
pub(crate) fn heed(command: Command) -> Command {
    let heeded = |arg: Arg| match arg.get_env().and_then(std::env::var_os) {
        Some(value) if says_nothing(&arg, &value) => arg.env(Resettable::Reset),
        // Help is read by others than the environment is, and some values hold passwords.
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
