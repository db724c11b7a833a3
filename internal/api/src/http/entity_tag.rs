//! The entity tag of an ad (RFC 9110, section 8.8.3): its version, and its status once that is no longer the one that it had
//! when it was created. The status is a part of the answer, and changes without a version.

use std::fmt;

use http::HeaderValue;
use placard_engine::StoredAd;
use placard_model::{Status, Version};

/// The entity tag of an ad, as `"42"` or `"42-active"`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct EntityTag {
    pub(crate) version: Version,
    /// The status, unless it is that of the ad's creation.
    pub(crate) status: Option<Status>,
}

impl EntityTag {
    /// Returns the tag of an answer that does not show the status, as those to writes.
    pub(crate) fn of_version(version: Version) -> Self {
        Self { version, status: None }
    }

    /// Returns the tag of an ad that is shown with this status.
    pub(crate) fn of(ad: &StoredAd, status: Status) -> Self {
        let created_at = ad.encoded.view().map(|ad| ad.created_at);
        let is_first = created_at.is_ok_and(|created_at| ad.status(created_at) == status);
        Self { version: ad.version, status: (!is_first).then_some(status) }
    }

    /// Returns the tag as the value of a field.
    pub(crate) fn value(self) -> HeaderValue {
        HeaderValue::try_from(self.to_string())
            .expect("digits and letters in quotes are a header value")
    }
}

impl fmt::Display for EntityTag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.status {
            Some(status) => write!(f, "\"{}-{}\"", self.version, status.code()),
            None => write!(f, "\"{}\"", self.version),
        }
    }
}
