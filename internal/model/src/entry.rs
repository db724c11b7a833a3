//! The log: entries, and the two sums that tell whether two replicas agree. The chain covers the log's
//! history; the digest covers the ads that the history leaves.

use std::fmt;

use bytes::Bytes;
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

use crate::capacity::{Moves, Pool};
use crate::planted::Planted;
use crate::records::EncodedRecord;
use crate::{Encoded, EncodedAd, Timestamp, TraceContext, Version, limits};

pub use crate::format::{
    CAPACITY_LEVEL, FORMAT_LEVEL, FORMAT_LEVEL_MIN, be_a_build_of, format_level,
};

/// SHA-256 over (previous chain, version, entry bytes): two logs with the same chain at a version are equal
/// up to it.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Chain(pub [u8; 32]);

impl Chain {
    /// The chain of the empty log.
    pub const GENESIS: Self = Self([0; 32]);

    /// The chain after one more entry.
    #[must_use]
    pub fn next(self, version: Version, bytes: &[u8]) -> Self {
        let sum = Sha256::new()
            .chain_update(self.0)
            .chain_update(version.to_be_bytes())
            .chain_update(bytes)
            .finalize();
        Self(sum.into())
    }

    /// Reads a chain from the 64 lower-case hexadecimal digits that it is shown as.
    pub fn parse(text: &str) -> Option<Self> {
        let digit = |byte: u8| match byte {
            b'0'..=b'9' => Some(byte - b'0'),
            b'a'..=b'f' => Some(byte - b'a' + 10),
            _ => None,
        };
        let mut chain = [0; 32];
        let (pairs, []) = text.as_bytes().as_chunks::<2>() else { return None };
        if pairs.len() != chain.len() {
            return None;
        }
        for (byte, [high, low]) in chain.iter_mut().zip(pairs) {
            *byte = digit(*high)? << 4 | digit(*low)?;
        }
        Some(Self(chain))
    }
}

impl fmt::Display for Chain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Chain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0[..4].iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// An order-free sum over the encoded ads and records: the first 128 bits of each one's SHA-256, added modulo 2^128.
#[derive(Clone, Copy, PartialEq, Eq, Default, Hash)]
pub struct Digest(pub u128);

impl Digest {
    /// The digest of a single ad.
    pub fn of(ad: &EncodedAd) -> Self {
        Self::first_of(Sha256::digest(ad.bytes()).into())
    }

    /// The digest of a single record, whose kind counts too.
    pub fn of_record(record: &EncodedRecord) -> Self {
        if Planted::DigestWithoutRecords.is_there() {
            return Self::default();
        }
        let kind = [record.kind().number()];
        Self::first_of(
            Sha256::new().chain_update(kind).chain_update(record.bytes()).finalize().into(),
        )
    }

    /// The digest of a single ad or record.
    pub fn of_any(one: &Encoded) -> Self {
        match one {
            Encoded::Ad(ad) => Self::of(ad),
            Encoded::Record(record) => Self::of_record(record),
        }
    }

    fn first_of(sum: [u8; 32]) -> Self {
        let first = sum.first_chunk::<16>().expect("32 bytes have a first 16");
        Self(u128::from_be_bytes(*first))
    }

    /// The digest with those ads too.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Self(self.0.wrapping_add(other.0))
    }

    /// The digest without those ads.
    #[must_use]
    pub fn minus(self, other: Self) -> Self {
        Self(self.0.wrapping_sub(other.0))
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A position in the log with the two sums there: the journal's head, or how far an engine has applied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Position {
    /// The newest entry's version; 0 in an empty log.
    pub version: Version,
    /// The chain up to and including it.
    pub chain: Chain,
    /// The digest of the ads that it leaves.
    pub digest: Digest,
}

impl Position {
    /// Before the first entry.
    pub const START: Self = Self { version: 0, chain: Chain::GENESIS, digest: Digest(0) };
}

/// Identifies a journal during one run of its server. Two databases never have the same incarnation at the same time,
/// whether they were made apart or one is a copy of the other, of whatever kind: a restored dump, a base backup, a
/// template. The name of the stream contains it, so that entries of one never reach replicas of the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Incarnation {
    /// The journal's identity, which was drawn when its tables were made.
    pub journal: Uuid,
    /// The database's number in its server.
    pub database: u32,
    /// When the server was started.
    pub started: Timestamp,
}

/// Formats it as in the names of keys.
impl fmt::Display for Incarnation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.journal, self.database, self.started.micros())
    }
}

/// An entry as the log and the stream carry it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Its version.
    pub version: Version,
    /// The chain up to and including it.
    pub chain: Chain,
    /// The encoded [`Entry`].
    pub bytes: Bytes,
}

impl Record {
    /// Returns how many of the records, from the first, one page takes: at most `max`, and no more bytes than
    /// [`READ_BYTES_MAX`](limits::READ_BYTES_MAX), but at least one if there is one and `max` allows it.
    pub fn page<'r>(records: impl IntoIterator<Item = &'r Self>, max: usize) -> usize {
        let mut bytes = 0;
        let records = records.into_iter().take(max).enumerate();
        let fitting = records.take_while(|(nth, record)| {
            bytes += record.bytes.len();
            *nth == 0 || bytes <= limits::READ_BYTES_MAX
        });
        fitting.count()
    }
}

/// Why an entry was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// A client asked for it.
    Client,
    /// The ad ended, or the hold lapsed.
    Expired,
    /// A replica asked for it.
    Replica,
}

impl Reason {
    /// Every reason.
    pub const ALL: [Self; 3] = [Self::Client, Self::Expired, Self::Replica];

    /// Returns its name in the API.
    pub fn code(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::Expired => "expired",
            Self::Replica => "replica",
        }
    }
}

/// What an entry does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// The ad is now this one, whether or not it was there before.
    Put(EncodedAd),
    /// The ad is gone.
    Delete(Uuid),
    /// The pool is now this one, whether or not it was there before.
    PutPool(Pool),
    /// The pool is gone.
    DeletePool(Uuid),
    /// Holds were given, changed or closed.
    Move(Moves),
}

impl Change {
    /// The names of its kinds in the API.
    pub const KINDS: [&str; 5] = ["ad_put", "ad_deleted", "pool_put", "pool_deleted", "moves"];

    /// Returns the name of its kind in the API.
    pub fn kind(&self) -> &'static str {
        let nth = match self {
            Self::Put(_) => 0,
            Self::Delete(_) => 1,
            Self::PutPool(_) => 2,
            Self::DeletePool(_) => 3,
            Self::Move(_) => 4,
        };
        Self::KINDS[nth]
    }

    /// Returns the format level that reading it needs.
    pub fn level(&self) -> u8 {
        match self {
            Self::Put(ad) => ad.level(),
            Self::Delete(_) => FORMAT_LEVEL_MIN,
            Self::PutPool(pool) => pool.spec.targeting.level().max(CAPACITY_LEVEL),
            Self::DeletePool(_) | Self::Move(_) => CAPACITY_LEVEL,
        }
    }
}

/// One decided change. It is a fact: applying it never fails and validates nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// When it was decided, by the journal's clock.
    pub at: Timestamp,
    /// The request it answers.
    pub request: Uuid,
    /// Which of the request's commands it answers, from 0.
    pub item: u32,
    /// Who asked; empty for nobody in particular.
    pub principal: String,
    /// Why it was written.
    pub reason: Reason,
    /// The trace of its request, if it is traced.
    pub trace: Option<TraceContext>,
    /// The digest of all ads after it.
    pub digest: Digest,
    /// What it does.
    pub change: Change,
}
