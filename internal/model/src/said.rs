//! What a body says about the read-only fields. A client that sends back what it has read sends them too; they are
//! accepted if they are true.

use std::fmt::Display;

use serde_json::{Value, json};
use uuid::Uuid;

use crate::{Ad, Status, Timestamp, Version, Violation};

/// The read-only fields that a body gives of an object; each is optional.
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
        let status = ad.spec.status(now);
        let mut untrue = self.untrue(ad.id, ad.version, ad.created_at);
        if self.status.is_some_and(|said| said != status) {
            untrue.push(read_only("status", status.code()));
        }
        untrue
    }

    /// Returns every field that is untrue for an object with this id, version and time of creation. Its status is not
    /// looked at.
    pub fn untrue(&self, id: Uuid, version: Version, created_at: Timestamp) -> Vec<Violation> {
        [
            self.created_at
                .filter(|said| *said != created_at)
                .map(|_| read_only("created_at", created_at)),
            self.id.filter(|said| *said != id).map(|_| read_only("id", id)),
            self.version.filter(|said| *said != version).map(|_| read_only("version", version)),
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

fn read_only(name: &str, is: impl Display) -> Violation {
    Violation::field(name, format!("is read-only, and is {is}"))
}
