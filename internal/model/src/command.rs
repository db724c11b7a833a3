//! Requests of clients, and their answers.

use bytes::Bytes;
use uuid::Uuid;

use crate::capacity::{self, Refusal};
pub use crate::conditions::{Conditions, Tags};
use crate::entry::{FORMAT_LEVEL_MIN, Reason};
pub use crate::form::Patch;
use crate::planted::Planted;
use crate::records::EncodedRecord;
use crate::{EncodedAd, Said, Spec, Timestamp, TraceContext, Version, Violation};

/// One write request: its commands are decided one by one, in order, in one transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// Random for each request; with an item's number it names an entry permanently.
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
    /// The same with the path as it was spelt, if that is another: older builds know the request by this one.
    pub spelt: Option<[u8; 32]>,
    /// SHA-256 of the raw body.
    pub body: [u8; 32],
    /// What else must be the same.
    pub sums: Sums,
}

/// Sums over what decides a request's outcome, beside its scope: if either differs, it is another request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sums {
    /// SHA-256 over the preconditions.
    pub conditions: [u8; 32],
    /// SHA-256 over what the body means, however it is written.
    pub meaning: [u8; 32],
}

impl Idempotency {
    /// Every scope under which an answer to it may be kept.
    pub fn scopes(&self) -> impl Iterator<Item = [u8; 32]> {
        [self.scope].into_iter().chain(self.spelt)
    }

    /// Returns true if the request that was answered under this key is this one. An answer that an older build has kept
    /// has no sums, and is compared by its body; so is, beside its preconditions, one of a build that writes meanings
    /// otherwise.
    pub fn repeats(&self, body: &[u8; 32], sums: Option<&Sums>) -> bool {
        match sums {
            Some(sums) => {
                self.sums.conditions == sums.conditions
                    && (self.sums.meaning == sums.meaning || self.body == *body)
            }
            None => self.body == *body,
        }
    }
}

/// One thing asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// Creates an ad under an id that no ad has yet.
    Create {
        /// Its id.
        id: Uuid,
        /// The ad.
        spec: Spec,
    },
    /// Replaces the whole ad.
    Replace {
        /// Which ad.
        id: Uuid,
        /// The precondition, from `If-Match` and `If-None-Match`.
        only_if: Conditions,
        /// What is said of the rest of it.
        said: Said,
        /// What it becomes.
        spec: Spec,
    },
    /// Changes some of the ad's fields.
    Patch {
        /// Which ad.
        id: Uuid,
        /// The precondition, from `If-Match` and `If-None-Match`.
        only_if: Conditions,
        /// What is said of the rest of it.
        said: Said,
        /// What changes.
        patch: Patch,
    },
    /// Deletes the ad.
    Delete {
        /// Which ad.
        id: Uuid,
        /// The precondition, from `If-Match` and `If-None-Match`.
        only_if: Conditions,
    },
    /// Deletes the ad because it has ended.
    Expire {
        /// Which ad.
        id: Uuid,
        /// Only if it is still at this version, and if its end is past by the journal's clock.
        version: Version,
    },
    /// Does something with pools and holds.
    Capacity {
        /// What.
        command: Box<capacity::Command>,
        /// What the replica believed of the journal's clock when it made the command; `None` if it could not trust it.
        own_clock: Option<Timestamp>,
    },
}

impl Command {
    /// Returns the reason that the resulting entry records.
    pub fn reason(&self) -> Reason {
        match self {
            Self::Expire { .. } => Reason::Expired,
            Self::Capacity { command, .. } => command.reason(),
            _ => Reason::Client,
        }
    }

    /// The ad that it concerns, if it concerns one.
    pub fn ad(&self) -> Option<Uuid> {
        match self {
            Self::Capacity { .. } => None,
            Self::Create { id, .. }
            | Self::Replace { id, .. }
            | Self::Patch { id, .. }
            | Self::Delete { id, .. }
            | Self::Expire { id, .. } => Some(*id),
        }
    }

    /// Returns the format level that its entry needs, as far as the command itself says that.
    pub fn level(&self) -> u8 {
        match self {
            Self::Create { spec, .. } | Self::Replace { spec, .. } => spec.level(),
            Self::Capacity { command, .. } => command.level(),
            Self::Patch { .. } | Self::Delete { .. } | Self::Expire { .. } => FORMAT_LEVEL_MIN,
        }
    }

    /// The pool that the ad is to name, which must exist.
    pub fn pool(&self) -> Option<Uuid> {
        match self {
            Self::Create { spec, .. } | Self::Replace { spec, .. } => spec.delivery.pool,
            Self::Patch { patch, .. } => patch.pool(),
            Self::Delete { .. } | Self::Expire { .. } | Self::Capacity { .. } => None,
        }
    }

    /// Its preconditions, if a client could have given some.
    pub fn only_if(&self) -> Option<&Conditions> {
        match self {
            Self::Replace { only_if, .. }
            | Self::Patch { only_if, .. }
            | Self::Delete { only_if, .. } => Some(only_if),
            Self::Capacity { command, .. } => command.only_if(),
            Self::Create { .. } | Self::Expire { .. } => None,
        }
    }

    /// Bytes that it holds, about.
    pub fn bytes(&self) -> usize {
        size_of::<Self>()
            + match self {
                Self::Create { spec, .. } | Self::Replace { spec, .. } => {
                    let link = spec.delivery.link.as_ref().map_or(0, String::len);
                    spec.title.len() + spec.content.len() + link
                }
                Self::Patch { patch, .. } => patch.bytes(),
                Self::Delete { .. } | Self::Expire { .. } => 0,
                Self::Capacity { command, .. } => command.bytes(),
            }
            + self.only_if().map_or(0, Conditions::bytes)
    }
}

impl Request {
    /// Bytes that it holds, about.
    pub fn bytes(&self) -> usize {
        size_of::<Self>() + self.commands.iter().map(Command::bytes).sum::<usize>()
    }
}

/// The outcome of one command.
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
    /// The ad has changed, or is as it was if nothing was to be changed.
    Updated {
        /// The ad's id.
        id: Uuid,
        /// The entry that changed it last.
        version: Version,
        /// The ad as it is now.
        ad: EncodedAd,
    },
    /// The ad, the pool or the reservation is gone.
    Deleted {
        /// Its id.
        id: Uuid,
        /// The entry that deleted it.
        version: Version,
    },
    /// There is no such ad, pool or hold.
    NotFound {
        /// The id that none has.
        id: Uuid,
    },
    /// There is such an ad, pool or hold already.
    Exists {
        /// Its id.
        id: Uuid,
        /// Its version.
        version: Version,
    },
    /// It is at another version than the preconditions ask for.
    VersionMismatch {
        /// Its id.
        id: Uuid,
        /// Its version; 0 if it does not exist.
        version: Version,
    },
    /// It would break a rule.
    Invalid {
        /// Its id.
        id: Uuid,
        /// Every rule it would break.
        violations: Vec<Violation>,
    },
    /// The pool or the reservation is now as the record says.
    Recorded {
        /// Its id.
        id: Uuid,
        /// The entry that wrote it last.
        version: Version,
        /// The pool or the hold.
        record: EncodedRecord,
        /// Whether it was not there before.
        is_new: bool,
    },
    /// There is not enough room in the pool. Nothing has changed, and a repetition may find room.
    Exhausted {
        /// The pool.
        pool: Uuid,
        /// How many units it can give now.
        available: u64,
    },
    /// The pool or the hold is in no state for it.
    Refused {
        /// Its id.
        id: Uuid,
        /// Why.
        refusal: Refusal,
    },
    /// A replica's report was taken, item by item.
    Reported {
        /// The entry that was written; `None` if no item was taken.
        version: Option<Version>,
        /// The items that were left out, each by its place among all of them, and why.
        left_out: Vec<(usize, Outcome)>,
    },
    /// The idempotency key was used before, for another request.
    KeyReused,
    /// The journal refuses this command on every try; the log says why.
    Failed,
}

impl Outcome {
    /// The entry that was written, if one was.
    pub fn entry(&self) -> Option<Version> {
        match self {
            Self::Created { version, .. }
            | Self::Updated { version, .. }
            | Self::Deleted { version, .. }
            | Self::Recorded { version, .. } => Some(*version),
            Self::Reported { version, .. } => *version,
            _ => None,
        }
    }
}

/// The answer to a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The version at which the last of the commands was decided: a reader that has it sees all of them.
    pub version: Version,
    /// The outcome of each command, in order.
    pub outcomes: Vec<Outcome>,
    /// Whether this is the answer to an earlier request with the same idempotency key.
    pub replayed: bool,
}

impl Answer {
    /// Returns true if the same key must get the same answer. It must as soon as anything was written, whatever
    /// happened to the other commands: deciding them again would write the first ones twice. If nothing was written it
    /// must unless the request was malformed, which costs nothing to find again and changes once the client mends it,
    /// or the journal refused a part of it, or a pool had no room or a replica was too old,
    /// which may be different the next time.
    pub fn is_final(&self) -> bool {
        let wrote = self.outcomes.iter().any(|outcome| outcome.entry().is_some());
        let unfit = |outcome: &Outcome| match outcome {
            Outcome::KeyReused
            | Outcome::Failed
            | Outcome::Refused { refusal: Refusal::NotYet, .. } => true,
            Outcome::Exhausted { .. } => !Planted::RefusalKept.is_there(),
            _ => false,
        };
        let malformed = |outcome: &Outcome| matches!(outcome, Outcome::Invalid { .. });
        wrote || !self.outcomes.iter().any(unfit) && !self.outcomes.iter().all(malformed)
    }
}

/// An answer as the journal keeps it for an idempotency key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeptAnswer {
    /// The key's scope.
    pub scope: [u8; 32],
    /// The sum of the body that it was used for.
    pub body: [u8; 32],
    /// The encoded [`Answer`], and behind it the request's [`Sums`].
    pub answer: Bytes,
}
