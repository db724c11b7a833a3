//! Format levels of what is stored and sent, and the errors of reading it back.

use std::sync::OnceLock;

use bytes::Bytes;
use uuid::Uuid;

use crate::{Timestamp, dimensions};

/// The newest format that this build reads, and the newest that it writes if every replica reads it.
///
/// It is that of the newest dimension. What else needs a newer reader goes behind a test of the level that
/// [`Entry::encode`](crate::entry::Entry::encode) is given, or is refused while that is lower (`Refusal::NotYet`).
pub const FORMAT_LEVEL: u8 = dimensions::LEVEL;

/// The format level of pools, holds and tombstones. No build reads them yet, so that no build writes them. They are stored and
/// restored wherever ads are; [`FORMAT_LEVEL`] becomes this one once clients can use them.
pub const CAPACITY_LEVEL: u8 = 2;
// A dimension that comes before has a level of its own, and so has one that comes after.
const _: () = assert!(FORMAT_LEVEL < CAPACITY_LEVEL);

static LEVEL: OnceLock<u8> = OnceLock::new();

/// The newest format that this process reads and writes: [`FORMAT_LEVEL`], or one more after [`be_the_next_build`].
pub fn format_level() -> u8 {
    *LEVEL.get_or_init(|| FORMAT_LEVEL)
}

/// Makes this process one of the next build, so that two builds can be tested together. The level after this build's has
/// only new in it what [`CAPACITY_LEVEL`] says.
///
/// # Panics
/// The process has used its level before.
pub fn be_the_next_build() {
    LEVEL.set(FORMAT_LEVEL + 1).expect("the level is set before it is used");
}

/// The oldest format that this build writes, for replicas of older builds.
pub const FORMAT_LEVEL_MIN: u8 = 1;

/// Bytes that are not what they should be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Undecodable {
    /// The bytes need a newer build.
    #[error("format level {0} is newer than this build's {own}", own = format_level())]
    TooNew(u8),
    /// The bytes are not a protobuf message of the expected shape.
    #[error("not a protobuf message of the expected shape")]
    Malformed(#[from] prost::DecodeError),
    /// The bytes are not fields in sequence, each of its type.
    #[error("not a sequence of fields, each of its type")]
    Torn,
    /// A field is missing or outside its domain.
    #[error("field {0} is missing or out of its domain")]
    Field(&'static str),
}

pub(crate) fn stamp(micros: i64, field: &'static str) -> Result<Timestamp, Undecodable> {
    Timestamp::from_micros(micros).ok_or(Undecodable::Field(field))
}

pub(crate) fn id_bytes(id: Uuid) -> Bytes {
    Bytes::copy_from_slice(id.as_bytes())
}

pub(crate) fn uuid(bytes: &[u8], field: &'static str) -> Result<Uuid, Undecodable> {
    Uuid::from_slice(bytes).map_err(|_| Undecodable::Field(field))
}
