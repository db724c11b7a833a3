//! Whether commands are accepted, and what they change. This is pure code that runs inside the journal's transaction: the
//! storage adapters read what a [`Batch`] touches, call [`Batch::plan`] with it, and commit the [`Plan`].

mod batch;
pub mod capacity;
mod decide;
mod records;

pub use batch::{Batch, Current, Emptied, LogRow, Plan};
