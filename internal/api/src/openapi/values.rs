//! The values that shapes, parameters and headers have in common. Their types are the model's, which does not know the
//! document. It lists them all, so that they can be referred to by their names alone.

use placard_model::limits::VERSION_MAX;
use placard_model::{UNKNOWN, capacity};
use serde_json::json;

use super::schema::{code, whole};
use super::shape::shape;

/// The value of a query's filter that is [`UNKNOWN`].
#[derive(Debug)]
pub(crate) struct Unknown;

shape! {
    /// What a query says of a visitor in a dimension that is not known: only ads that leave it open fit.
    Unknown as "Unknown" = |_| code(&[UNKNOWN], "", UNKNOWN)
}

/// A [`placard_model::Version`].
#[derive(Debug)]
pub(crate) struct Version;

shape! {
    /// A position of the log: that of an entry, from 1, or 0 before the first.
    Version as "Version" = |_| whole(0, VERSION_MAX, "", 42)
}

/// A [`placard_model::Timestamp`].
#[derive(Debug)]
pub(crate) struct Stamp;

shape! {
    /// An instant, by RFC 3339. Answers have it in UTC, with at most six digits of a second. A request may have nine, of
    /// which six are kept, and may write it like `2006-01-02 15:04:05 +0800 CST`.
    Stamp as "Stamp" = |_| json!({
        "type": "string", "format": "date-time", "maxLength": 64, "examples": ["2026-01-02T07:04:05Z"],
    })
}

/// A [`placard_model::Status`].
#[derive(Debug)]
pub(crate) struct Status;

shape! {
    /// The first of these that is true of an ad: its window is over (ended), it is paused, its window has not begun
    /// (scheduled), or none of these (active).
    Status as "Status" = |_| code(&placard_model::Status::ALL.map(placard_model::Status::code), "", "active")
}

/// A [`capacity::PoolStatus`].
#[derive(Debug)]
pub(crate) struct PoolStatus;

shape! {
    /// The first of these that is true: the pool's window is over (ended), it is paused, its window has not begun
    /// (scheduled), nothing of it is available (exhausted), or none of these (active).
    PoolStatus as "PoolStatus" = |_| code(&capacity::PoolStatus::ALL.map(capacity::PoolStatus::code), "", "active")
}

/// A [`capacity::Pacing`].
#[derive(Debug)]
pub(crate) struct Pacing;

shape! {
    /// How replicas use a pool over its window: as soon as there is demand, or evenly from its start to its end.
    Pacing as "Pacing" = |_| code(&capacity::Pacing::ALL.map(capacity::Pacing::code), "", "asap")
}

/// A [`capacity::HoldStatus`].
#[derive(Debug)]
pub(crate) struct ReservationStatus;

shape! {
    /// It lapses at a time to come (held), it does not lapse (confirmed), or its time is over: its units are available, and it
    /// is closed soon (lapsed).
    ReservationStatus as "ReservationStatus" = |_| code(&capacity::HoldStatus::ALL.map(capacity::HoldStatus::code), "", "held")
}
