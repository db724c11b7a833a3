//! Placard's domain types: ads, targeting, queries, commands, entries, and their encodings. Nothing here does I/O,
//! reads a clock or draws a random number that was not seeded by the caller.

mod ad;
mod body;
pub mod capacity;
pub mod command;
mod conditions;
mod cursor;
mod delivery;
pub mod dimensions;
mod encoded;
pub mod entry;
mod event;
mod fields;
mod filter;
mod form;
mod format;
pub mod generator;
mod given;
pub mod limits;
mod number;
pub mod planted;
mod protobuf;
mod reading;
pub mod records;
mod said;
mod stored;
mod timestamp;
mod trace;
mod violation;
mod wire;

pub use ad::{Ad, AdView, Spec, SpecView, Status};
pub use body::{fragment, fragment_with_status};
pub use cursor::Cursor;
pub use delivery::{Delivery, DeliveryView};
pub use dimensions::{
    Age, AgeRange, Country, CountrySet, Gender, GenderSet, Platform, PlatformSet, Query, Targeting,
};
pub use encoded::EncodedAd;
pub use event::event;
pub use fields::{Creation, Fields};
pub use filter::{Filter, UNKNOWN};
pub use format::Undecodable;
pub use number::whole;
pub use said::Said;
pub use stored::Encoded;
pub use timestamp::Timestamp;
pub use trace::TraceContext;
pub use violation::{Place, Violation};

/// The position of an entry in the log: gapless, from 1. 0 means "before the first entry".
pub type Version = u64;
