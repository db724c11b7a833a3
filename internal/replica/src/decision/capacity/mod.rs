//! Whether a command on pools and holds is accepted, and what it moves. Nothing else moves a number: an entry gives what a
//! decision has found room for, so that what is out of a pool never grows beyond its capacity, whatever replicas, clocks
//! and networks do.

mod clocks;
mod draft;
mod holds;
mod pools;
mod report;
mod state;

use placard_model::capacity::Command;

pub use clocks::Clocks;
pub use state::{Decision, State};

/// Decides a command.
pub fn decide(command: &Command, state: &State<'_>) -> Decision {
    let decided = match command {
        Command::CreatePool { id, spec } => pools::create(state, *id, spec),
        Command::ReplacePool { id, only_if, said, spec } => {
            pools::replace(state, *id, only_if, said, spec)
        }
        Command::PatchPool { id, only_if, said, patch } => {
            pools::patch(state, *id, only_if, said, patch)
        }
        Command::DeletePool { id, only_if } => pools::delete(state, *id, only_if),
        Command::Reserve { hold, pool, amount, expires_in } => {
            holds::reserve(state, *hold, *pool, *amount, *expires_in)
        }
        Command::Change { hold, only_if, said, amount, expires } => {
            let wanted = holds::Wanted { amount: *amount, expires: *expires };
            holds::change(state, *hold, only_if, said, wanted)
        }
        Command::Close { hold, only_if, used } => holds::close(state, *hold, only_if, *used),
        Command::Lapse { id, version } => holds::lapse(state, *id, *version),
        Command::Forfeit { hold } => holds::forfeit(state, *hold),
        Command::Report(report) => report::decide(state, report),
    };
    decided.unwrap_or_else(Decision::answer)
}
