//! A record of what a client may rely on: every write that was acknowledged to it. A test compares the server with it
//! after each fault.

use std::collections::{BTreeMap, BTreeSet};

use placard_model::Version;
use uuid::Uuid;

/// An ad, as the client knows it from its answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Known {
    /// The version of its last acknowledged write.
    pub version: Version,
    /// The title that this write gave it.
    pub title: String,
}

/// All acknowledged writes: the ads that they leave, and the version of each.
#[derive(Debug, Clone, Default)]
pub struct Ledger {
    ads: BTreeMap<Uuid, Known>,
    versions: BTreeSet<Version>,
}

impl Ledger {
    /// Records that the ad was created or changed at `version`.
    ///
    /// # Panics
    /// Another write was acknowledged with this version, or a later one to this ad.
    pub fn put(&mut self, id: Uuid, version: Version, title: impl Into<String>) {
        self.acknowledged(id, version);
        self.ads.insert(id, Known { version, title: title.into() });
    }

    /// Records that the ad was deleted at `version`.
    ///
    /// # Panics
    /// Another write was acknowledged with this version, or a later one to this ad.
    pub fn deleted(&mut self, id: Uuid, version: Version) {
        self.acknowledged(id, version);
        self.ads.remove(&id);
    }

    fn acknowledged(&mut self, id: Uuid, version: Version) {
        assert!(self.versions.insert(version), "two writes were acknowledged as {version}");
        let before = self.ads.get(&id).map_or(0, |known| known.version);
        assert!(version > before, "{id}: {version} was acknowledged after {before}");
    }

    /// The ads that should be there, by id.
    pub fn ads(&self) -> &BTreeMap<Uuid, Known> {
        &self.ads
    }

    /// The versions of all acknowledged writes.
    pub fn versions(&self) -> &BTreeSet<Version> {
        &self.versions
    }
}
