//! The scheduler's task stores, in apalis: in PostgreSQL beside a cluster's journal, and in a SQLite file beside an
//! embedded one; and the board on which people look at the tasks. This is the only crate that knows apalis, so that
//! storage, which depends on the scheduler for its ports, does not wait for apalis to compile.

mod board;
mod postgres;
mod queue;
mod sqlite;
mod wording;

pub use board::{Board, Body, Shown};
pub use postgres::{PostgresTasks, migrate};
pub use sqlite::SqliteTasks;
pub use wording::Wording;
