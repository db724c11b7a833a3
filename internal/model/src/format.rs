//! Format levels of what is stored and sent, and the errors of reading it back.

use std::sync::OnceLock;

use bytes::Bytes;
use uuid::Uuid;

use crate::{Timestamp, dimensions};

/// The newest format that this build reads, and the newest that it writes if every replica reads it.
///
/// It is that of the newest dimension, or of pools. A command whose entry needs a higher level than the oldest replica reads
/// is refused (`Refusal::NotYet`).
pub const FORMAT_LEVEL: u8 =
    if dimensions::LEVEL > CAPACITY_LEVEL { dimensions::LEVEL } else { CAPACITY_LEVEL };

/// The format level of pools, holds and tombstones. A dimension that comes later has a level of its own.
pub const CAPACITY_LEVEL: u8 = 2;

static LEVEL: OnceLock<u8> = OnceLock::new();

/// The newest format that this process reads and writes: [`FORMAT_LEVEL`], or another one after [`be_a_build_of`].
pub fn format_level() -> u8 {
    *LEVEL.get_or_init(|| FORMAT_LEVEL)
}

/// Makes this process one of an older or a newer build, by the newest format that it reads, so that two builds can be tested
/// together. A level above [`FORMAT_LEVEL`] has nothing new in it; its ads say that they have.
///
/// # Panics
/// The process has used its level before.
pub fn be_a_build_of(level: u8) {
    LEVEL.set(level).expect("the level is set before it is used");
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
