//! Converts the domain's values to columns and back.

use std::fmt;

use placard_model::entry::{Chain, Digest, Position};
use placard_model::{Timestamp, Version};
use sqlx::encode::IsNull;
use sqlx::error::BoxDynError;
use sqlx::postgres::types::Oid;
use sqlx::postgres::{PgArgumentBuffer, PgHasArrayType, PgTypeInfo, PgValueRef};
use sqlx::{Decode, Encode, Postgres, Type};

use super::failure::Failure;

/// PostgreSQL's own epoch, 2000-01-01T00:00:00Z, in microseconds since 1970.
const EPOCH: i64 = 946_684_800_000_000;
/// The types `timestamptz` and `timestamptz[]`; the numbers are the same on every server.
const TIMESTAMPTZ: (Oid, Oid) = (Oid(1184), Oid(1185));

/// A time as PostgreSQL has it: exact to the microsecond over all of a [`Timestamp`]'s years.
#[derive(Debug, Clone, Copy)]
pub(super) struct Stamp(pub(super) Timestamp);

impl Type<Postgres> for Stamp {
    fn type_info() -> PgTypeInfo {
        PgTypeInfo::with_oid(TIMESTAMPTZ.0)
    }

    fn compatible(found: &PgTypeInfo) -> bool {
        found.oid() == Some(TIMESTAMPTZ.0)
    }
}

impl PgHasArrayType for Stamp {
    fn array_type_info() -> PgTypeInfo {
        PgTypeInfo::with_oid(TIMESTAMPTZ.1)
    }
}

impl Encode<'_, Postgres> for Stamp {
    fn encode_by_ref(&self, buffer: &mut PgArgumentBuffer) -> Result<IsNull, BoxDynError> {
        buffer.extend_from_slice(&(self.0.micros() - EPOCH).to_be_bytes());
        Ok(IsNull::No)
    }
}

impl fmt::Display for Stamp {
    /// As PostgreSQL reads it: it has no year 0, but one before the first.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = self.0.to_string();
        match text.strip_prefix("0000") {
            Some(rest) => write!(f, "0001{rest} BC"),
            None => f.write_str(&text),
        }
    }
}

impl Decode<'_, Postgres> for Stamp {
    fn decode(value: PgValueRef<'_>) -> Result<Self, BoxDynError> {
        let micros = i64::from_be_bytes(value.as_bytes()?.try_into()?);
        let stamp = micros.checked_add(EPOCH).and_then(Timestamp::from_micros);
        stamp.map(Self).ok_or_else(|| "a time outside the years 0 to 9999".into())
    }
}

/// A version as a column holds it.
pub(super) fn column(version: Version) -> i64 {
    // No log gets that far: nothing is there.
    i64::try_from(version).unwrap_or(i64::MAX)
}

pub(super) fn version(column: i64) -> Result<Version, Failure> {
    Version::try_from(column).map_err(|_| Failure::Malformed("a version"))
}

pub(super) fn chain(column: &[u8]) -> Result<Chain, Failure> {
    column.try_into().map(Chain).map_err(|_| Failure::Malformed("a chain"))
}

pub(super) fn position_of(number: i64, sum: &[u8], digest: &[u8]) -> Result<Position, Failure> {
    let digest = digest.try_into().map_err(|_| Failure::Malformed("a digest"))?;
    let digest = Digest(u128::from_be_bytes(digest));
    Ok(Position { version: version(number)?, chain: chain(sum)?, digest })
}

/// The columns of a stored position.
pub(super) type PositionRow = (i64, Vec<u8>, Vec<u8>);

pub(super) fn position((version, chain, digest): PositionRow) -> Result<Position, Failure> {
    position_of(version, &chain, &digest)
}
