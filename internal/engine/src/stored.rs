//! An ad as the engine keeps it: the fields that reads compare, and the encodings that answers are put together from.
//! Title and content are kept only inside the two encodings, since nothing in the engine looks into them.

use std::sync::OnceLock;

use placard_model::entry::Digest;
use placard_model::{EncodedAd, Status, Targeting, Timestamp, Undecodable, Version, fragment};
use uuid::Uuid;

/// One ad in memory, never changed once it is built.
#[derive(Debug)]
pub struct StoredAd {
    /// Its identity.
    pub id: Uuid,
    /// The entry that wrote it last.
    pub version: Version,
    /// From when it is served.
    pub start_at: Timestamp,
    /// Until when it is served.
    pub end_at: Timestamp,
    /// The visitors to whom it is served.
    pub targeting: Targeting,
    /// Whether it is paused: then it is in no answer to a query.
    pub paused: bool,
    /// Its share in the engine's digest.
    pub digest: Digest,
    /// Its stored form, as the log has it.
    pub encoded: EncodedAd,
    fragment: OnceLock<Box<[u8]>>,
}

impl StoredAd {
    /// Reads an ad.
    ///
    /// # Errors
    /// The bytes are no ad.
    pub fn new(encoded: EncodedAd) -> Result<Self, Undecodable> {
        let ad = encoded.view()?;
        Ok(Self {
            id: ad.id,
            version: ad.version,
            start_at: ad.spec.start_at,
            end_at: ad.spec.end_at,
            targeting: ad.spec.targeting,
            paused: ad.spec.delivery.paused,
            digest: Digest::of(&encoded),
            fragment: OnceLock::new(),
            encoded,
        })
    }

    /// Returns its JSON, which the first read serialises: most of a million ads that are restored are not read soon,
    /// and to serialise them all would be a third of the restore.
    pub fn fragment(&self) -> &[u8] {
        if let Some(fragment) = self.fragment.get() {
            return fragment;
        }
        let ad = self.encoded.view().expect("it was read when it was stored");
        let made = fragment(ad).into_boxed_slice();
        // Two concurrent first readers both serialise it: neither waits for the other.
        let _ = self.fragment.set(made);
        self.fragment.get().expect("one of them was kept")
    }

    /// Returns its status at `now`.
    pub fn status(&self, now: Timestamp) -> Status {
        Status::of((self.start_at, self.end_at), self.paused, now)
    }

    /// Its place in the order of every answer: by end, then by id.
    pub fn key(&self) -> (Timestamp, Uuid) {
        (self.end_at, self.id)
    }
}
