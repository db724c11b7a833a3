//! What a body says of the fields that no client can set. A client that sends back what it has read says them too; they
//! are taken if they are so.

use serde_json::{Value, json};
use uuid::Uuid;

use crate::{Ad, Status, Timestamp, Version, Violation};

/// What is said of an ad, as far as anything is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Said {
    /// Its id.
    pub id: Option<Uuid>,
    /// Its version.
    pub version: Option<Version>,
    /// When it was created.
    pub created_at: Option<Timestamp>,
    /// Where its window stands.
    pub status: Option<Status>,
}

impl Said {
    /// Every field that is not so, of an ad at this time.
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

    /// What is said, written in the same way however it was sent.
    pub fn to_json(&self) -> Value {
        json!({
            "id": self.id.map(|id| id.to_string()),
            "version": self.version,
            "created_at": self.created_at.map(|stamp| stamp.to_string()),
            "status": self.status.map(Status::code),
        })
    }
}
