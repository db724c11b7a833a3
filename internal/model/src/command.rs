//! What clients ask for, and what they are answered.

use bytes::Bytes;
use uuid::Uuid;

use crate::entry::Reason;
pub use crate::form::Patch;
use crate::{EncodedAd, Spec, TraceContext, Version, Violation};

/// One write request: its commands are decided one by one, in order, in one transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// Drawn anew for each request; with an item's number it names an entry for ever.
    pub id: Uuid,
    /// Who asks; empty for nobody in particular.
    pub principal: String,
    /// Set if the client wants the same answer when it asks again.
    pub idempotency: Option<Idempotency>,
    /// The trace that follows it, if one does.
    pub trace: Option<TraceContext>,
    /// What is asked for, at most [`crate::limits::BATCH_ITEMS_MAX`].
    pub commands: Vec<Command>,
}

/// What makes two requests the same request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Idempotency {
    /// SHA-256 over principal, method, path and the client's key.
    pub scope: [u8; 32],
    /// SHA-256 of the raw body: another body under the same key is refused.
    pub body: [u8; 32],
}

/// A precondition on the ad's version (`If-Match`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum IfMatch {
    /// The ad is there.
    Any,
    /// The ad's version is one of these.
    Versions(Vec<Version>),
}

impl IfMatch {
    /// Whether an ad at `version` meets it.
    pub fn holds(&self, version: Version) -> bool {
        match self {
            Self::Any => true,
            Self::Versions(versions) => versions.contains(&version),
        }
    }
}

/// One thing asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// A new ad under an id that nobody has yet.
    Create {
        /// Its id.
        id: Uuid,
        /// The ad.
        spec: Spec,
    },
    /// The ad becomes wholly this.
    Replace {
        /// Which ad.
        id: Uuid,
        /// Only if.
        if_match: Option<IfMatch>,
        /// What it becomes.
        spec: Spec,
    },
    /// Some of the ad's fields change.
    Patch {
        /// Which ad.
        id: Uuid,
        /// Only if.
        if_match: Option<IfMatch>,
        /// What changes.
        patch: Patch,
    },
    /// The ad goes.
    Delete {
        /// Which ad.
        id: Uuid,
        /// Only if.
        if_match: Option<IfMatch>,
    },
    /// The ad goes, because it has ended.
    Expire {
        /// Which ad.
        id: Uuid,
        /// Only if it is still at this version, and if its end is past by the journal's clock.
        version: Version,
    },
}

impl Command {
    /// Why the entry is written that it leads to.
    pub fn reason(&self) -> Reason {
        match self {
            Self::Expire { .. } => Reason::Expired,
            _ => Reason::Client,
        }
    }

    /// The ad that it concerns.
    pub fn id(&self) -> Uuid {
        match self {
            Self::Create { id, .. }
            | Self::Replace { id, .. }
            | Self::Patch { id, .. }
            | Self::Delete { id, .. }
            | Self::Expire { id, .. } => *id,
        }
    }

    /// Bytes that it holds, about.
    pub fn bytes(&self) -> usize {
        size_of::<Self>()
            + match self {
                Self::Create { spec, .. } | Self::Replace { spec, .. } => {
                    spec.title.len() + spec.content.len()
                }
                Self::Patch { patch, .. } => patch.bytes(),
                Self::Delete { .. } | Self::Expire { .. } => 0,
            }
            + match self {
                Self::Replace { if_match: Some(IfMatch::Versions(versions)), .. }
                | Self::Patch { if_match: Some(IfMatch::Versions(versions)), .. }
                | Self::Delete { if_match: Some(IfMatch::Versions(versions)), .. } => {
                    versions.len() * size_of::<Version>()
                }
                _ => 0,
            }
    }
}

impl Request {
    /// Bytes that it holds, about.
    pub fn bytes(&self) -> usize {
        size_of::<Self>() + self.commands.iter().map(Command::bytes).sum::<usize>()
    }
}

/// What became of one command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The ad is new.
    Created {
        /// The ad's id.
        id: Uuid,
        /// The entry that created it.
        version: Version,
        /// The ad.
        ad: EncodedAd,
    },
    /// The ad has changed.
    Updated {
        /// The ad's id.
        id: Uuid,
        /// The entry that changed it.
        version: Version,
        /// The ad as it is now.
        ad: EncodedAd,
    },
    /// The ad is gone.
    Deleted {
        /// The ad's id.
        id: Uuid,
        /// The entry that deleted it.
        version: Version,
    },
    /// There is no such ad.
    NotFound {
        /// The id that nobody has.
        id: Uuid,
    },
    /// There is such an ad already.
    Exists {
        /// The ad's id.
        id: Uuid,
        /// Its version.
        version: Version,
    },
    /// The ad is at another version than the precondition names.
    VersionMismatch {
        /// The ad's id.
        id: Uuid,
        /// Its version.
        version: Version,
    },
    /// The ad would break a rule.
    Invalid {
        /// The ad's id.
        id: Uuid,
        /// Every rule it would break.
        violations: Vec<Violation>,
    },
    /// The idempotency key was used before, for another body.
    KeyReused,
    /// The journal refuses this command, whatever is tried; the log says why.
    Failed,
}

impl Outcome {
    /// The entry that was written, if one was.
    pub fn entry(&self) -> Option<Version> {
        match self {
            Self::Created { version, .. }
            | Self::Updated { version, .. }
            | Self::Deleted { version, .. } => Some(*version),
            _ => None,
        }
    }
}

/// What a request is answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The version at which the last of the commands was decided: a reader that has it sees all of them.
    pub version: Version,
    /// What became of each command, in order.
    pub outcomes: Vec<Outcome>,
    /// Whether this is the answer to an earlier request with the same idempotency key.
    pub replayed: bool,
}

impl Answer {
    /// Whether the same key must get the same answer. It must as soon as anything was written, whatever became of
    /// the other commands: deciding them again would write the first ones twice. If nothing was written it must
    /// unless the request was malformed, which costs nothing to find again and changes once the client mends it, or
    /// the journal refused a part of it.
    pub fn is_final(&self) -> bool {
        let wrote = self.outcomes.iter().any(|outcome| outcome.entry().is_some());
        let unfit = |outcome: &Outcome| matches!(outcome, Outcome::KeyReused | Outcome::Failed);
        let malformed = |outcome: &Outcome| matches!(outcome, Outcome::Invalid { .. });
        wrote || !self.outcomes.iter().any(unfit) && !self.outcomes.iter().all(malformed)
    }
}

/// An answer as the journal keeps it for an idempotency key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeptAnswer {
    /// The key's scope and the body it was used for.
    pub key: Idempotency,
    /// The encoded [`Answer`].
    pub answer: Bytes,
}
