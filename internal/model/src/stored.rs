//! What a journal holds at its head, and a checkpoint at its position: ads and records, each in its stored form.

use bytes::Bytes;

use crate::EncodedAd;
use crate::records::EncodedRecord;

/// An ad or a record in its stored form.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Encoded {
    /// An ad.
    Ad(EncodedAd),
    /// A pool, a hold or a tombstone.
    Record(EncodedRecord),
}

impl Encoded {
    /// Returns its bytes.
    pub fn bytes(&self) -> &Bytes {
        match self {
            Self::Ad(ad) => ad.bytes(),
            Self::Record(record) => record.bytes(),
        }
    }

    /// Returns the format level that reading it needs.
    pub fn level(&self) -> u8 {
        match self {
            Self::Ad(ad) => ad.level(),
            Self::Record(record) => record.level(),
        }
    }
}

impl From<EncodedAd> for Encoded {
    fn from(ad: EncodedAd) -> Self {
        Self::Ad(ad)
    }
}

impl From<EncodedRecord> for Encoded {
    fn from(record: EncodedRecord) -> Self {
        Self::Record(record)
    }
}
