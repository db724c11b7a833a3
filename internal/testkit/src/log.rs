//! A log builder, for tests that talk to an engine directly: it decides nothing, it only records.

use std::collections::BTreeMap;

use placard_model::entry::{Change, Digest, Entry, Position, Reason, Record};
use placard_model::{Ad, EncodedAd, Timestamp};
use uuid::Uuid;

/// The end of a log, and what its ads sum to.
#[derive(Debug)]
pub struct Log {
    head: Position,
    digests: BTreeMap<Uuid, Digest>,
}

impl Default for Log {
    fn default() -> Self {
        Self { head: Position::START, digests: BTreeMap::new() }
    }
}

impl Log {
    /// Returns the position of its last entry.
    pub fn head(&self) -> Position {
        self.head
    }

    /// The record that puts an ad there, at the version that it gets by that.
    pub fn put(&mut self, ad: &mut Ad) -> Record {
        ad.version = self.head.version + 1;
        let encoded = EncodedAd::encode(ad);
        self.record(ad.id, Some(encoded))
    }

    /// The record that deletes an ad.
    pub fn delete(&mut self, id: Uuid) -> Record {
        self.record(id, None)
    }

    fn record(&mut self, id: Uuid, ad: Option<EncodedAd>) -> Record {
        let version = self.head.version + 1;
        let new = ad.as_ref().map(Digest::of);
        let old = match new {
            Some(new) => self.digests.insert(id, new),
            None => self.digests.remove(&id),
        };
        let digest = self.head.digest.minus(old.unwrap_or_default()).plus(new.unwrap_or_default());
        let entry = Entry {
            at: Timestamp::EPOCH,
            request: Uuid::from_u128(version.into()),
            item: 0,
            principal: String::new(),
            reason: Reason::Client,
            trace: None,
            digest,
            change: ad.map_or(Change::Delete(id), Change::Put),
        };
        let bytes = entry.encode();
        let chain = self.head.chain.next(version, &bytes);
        self.head = Position { version, chain, digest };
        Record { version, chain, bytes }
    }
}
