//! What a body says about the read-only fields. A client that sends back what it has read sends them too; they are
//! accepted if they are true.

use serde_json::{Value, json};
use uuid::Uuid;

use crate::{Ad, Status, Timestamp, Version, Violation};

/// The read-only fields that a body gives of an ad; each is optional.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Said {
    /// Its id.
    pub id: Option<Uuid>,
    /// Its version.
    pub version: Option<Version>,
    /// When it was created.
    pub created_at: Option<Timestamp>,
    /// Where the time lies in its window.
    pub status: Option<Status>,
}

impl Said {
    /// Returns every field that is untrue for an ad at this time.
    pub fn violations(&self, ad: &Ad, now: Timestamp) -> Vec<Violation> {
        let status = Status::of(ad.spec.start_at, ad.spec.end_at, now);
        let untrue =
            |name, is: String| Violation::field(name, format!("is read-only, and is {is}"));
        [
            self.created_at
                .filter(|created_at| *created_at != ad.created_at)
                .map(|_| untrue("created_at", ad.created_at.to_string())),
            self.id.filter(|id| *id != ad.id).map(|_| untrue("id", ad.id.to_string())),
            self.status
                .filter(|said| *said != status)
                .map(|_| untrue("status", status.code().to_owned())),
            self.version
                .filter(|version| *version != ad.version)
                .map(|_| untrue("version", ad.version.to_string())),
        ]
        .into_iter()
        .flatten()
        .collect()
    }

    /// Returns what is said, in one canonical form however it was sent.
    pub fn to_json(&self) -> Value {
        json!({
            "id": self.id.map(|id| id.to_string()),
            "version": self.version,
            "created_at": self.created_at.map(|stamp| stamp.to_string()),
            "status": self.status.map(Status::code),
        })
    }
}
