//! Placard's domain types: ads, targeting, queries, commands, entries, and their encodings. Nothing here does I/O,
//! reads a clock or draws a random number that was not seeded by the caller.

mod ad;
mod body;
pub mod command;
mod country;
mod encoded;
pub mod entry;
mod fields;
mod form;
mod format;
pub mod generator;
mod given;
pub mod limits;
mod query;
mod said;
mod targeting;
mod timestamp;
mod trace;
mod violation;
mod wire;

pub use ad::{Ad, AdView, Spec, SpecView, Status};
pub use body::{fragment, fragment_with_status};
pub use country::{Country, CountrySet};
pub use encoded::EncodedAd;
pub use fields::{Creation, Fields};
pub use format::Undecodable;
pub use query::{Filter, Query, UNKNOWN};
pub use said::Said;
pub use targeting::{AgeRange, Gender, GenderSet, Platform, PlatformSet, Targeting};
pub use timestamp::Timestamp;
pub use trace::TraceContext;
pub use violation::{Place, Violation};

/// The position of an entry in the log: gapless, from 1. 0 means "before the first entry".
pub type Version = u64;
