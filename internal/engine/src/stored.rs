//! An ad as the engine keeps it: what reads compare, and what answers are put together from. Title and
//! content are kept only inside the two encodings, since nothing in the engine looks into them.

use bytes::Bytes;
use placard_model::entry::Digest;
use placard_model::{Ad, EncodedAd, Status, Targeting, Timestamp, Undecodable, Version, fragment};
use uuid::Uuid;

/// One ad in memory, never changed once it is built.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredAd {
    /// Its identity.
    pub id: Uuid,
    /// The entry that wrote it last.
    pub version: Version,
    /// From when it is served.
    pub start_at: Timestamp,
    /// Until when it is served.
    pub end_at: Timestamp,
    /// To whom.
    pub targeting: Targeting,
    /// Its share in the engine's digest.
    pub digest: Digest,
    /// Its stored form, as the log has it.
    pub encoded: EncodedAd,
    /// Its JSON, serialised once.
    pub fragment: Bytes,
}

impl StoredAd {
    /// Decodes an ad, and serialises it for its readers.
    ///
    /// # Errors
    /// The bytes are no ad.
    pub fn new(encoded: EncodedAd) -> Result<Self, Undecodable> {
        let ad: Ad = encoded.decode()?;
        Ok(Self {
            id: ad.id,
            version: ad.version,
            start_at: ad.spec.start_at,
            end_at: ad.spec.end_at,
            targeting: ad.spec.targeting,
            digest: Digest::of(&encoded),
            fragment: fragment(&ad).into(),
            encoded,
        })
    }

    /// Where `now` lies in its window.
    pub fn status(&self, now: Timestamp) -> Status {
        Status::of(self.start_at, self.end_at, now)
    }

    /// Its place in the order of every answer: by end, then by id.
    pub fn key(&self) -> (Timestamp, Uuid) {
        (self.end_at, self.id)
    }
}
