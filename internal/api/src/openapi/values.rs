//! The values that shapes, parameters and headers have in common. Their types are the model's, which does not know the
//! document. It lists them all, so that they can be referred to by their names alone.

use placard_model::UNKNOWN;
use placard_model::limits::VERSION_MAX;
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
    /// Where an ad's window stands: the time is before it, in it, or after it.
    Status as "Status" = |_| code(&["scheduled", "active", "ended"], "", "active")
}
