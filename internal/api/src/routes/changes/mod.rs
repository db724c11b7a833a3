//! The log, for clients that follow it: its path, the handler, and a file for each of the two forms in which it is sent.

mod change;
pub(super) mod follow;
mod lines;
mod stream;

use placard_model::entry::Record;
use placard_model::{Undecodable, event};
use placard_replica::FeedError;

use crate::http::problem::Problem;

/// The path of the log.
pub(super) const CHANGES_PATH: &str = "/api/v1/changes";

/// Returns a record as it is sent.
fn shown(record: &Record) -> Result<Vec<u8>, Problem> {
    event(record).map_err(|error| match error {
        Undecodable::TooNew(level) => Problem::newer_format(record.version, level),
        other => Problem::unreadable(record.version, &other),
    })
}

/// Returns the answer to a client that gets nothing because of this.
fn problem_of(error: &FeedError) -> Problem {
    match error {
        FeedError::Trimmed { first } => Problem::log_trimmed(*first),
        FeedError::Replaced => Problem::not_in_history(),
        FeedError::Unavailable(_) => Problem::log_unavailable(),
    }
}
