//! The one place where a command is accepted or rejected.

use placard_model::command::{Command, IfMatch, Outcome};
use placard_model::{Ad, Spec, Timestamp, Violation};
use uuid::Uuid;

/// What a command comes to.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Decision {
    /// The ad is now this.
    Put {
        /// What it says.
        spec: Spec,
        /// When it was first created.
        created_at: Timestamp,
    },
    /// The ad goes.
    Delete,
    /// Nothing changes.
    Reject(Outcome),
}

/// Decides a command on the ad it concerns (`None`: there is none) at the journal's time.
pub(crate) fn decide(command: &Command, current: Option<&Ad>, now: Timestamp) -> Decision {
    match (command, current) {
        (Command::Create { id, .. }, Some(ad)) => {
            Decision::Reject(Outcome::Exists { id: *id, version: ad.version })
        }
        (Command::Create { id, spec }, None) => put(*id, spec.clone(), now, now),
        (command, None) => Decision::Reject(Outcome::NotFound { id: command.id() }),
        (Command::Replace { id, if_match, spec }, Some(ad)) => mismatch(ad, if_match.as_ref())
            .unwrap_or_else(|| put(*id, spec.clone(), ad.created_at, now)),
        (Command::Patch { id, if_match, patch }, Some(ad)) => mismatch(ad, if_match.as_ref())
            .unwrap_or_else(|| match patch.merged(&ad.spec) {
                Ok(spec) => put(*id, spec, ad.created_at, now),
                Err(violations) => Decision::Reject(Outcome::Invalid { id: *id, violations }),
            }),
        (Command::Delete { if_match, .. }, Some(ad)) => {
            mismatch(ad, if_match.as_ref()).unwrap_or(Decision::Delete)
        }
    }
}

fn put(id: Uuid, spec: Spec, created_at: Timestamp, now: Timestamp) -> Decision {
    if spec.end_at <= now {
        let violations = vec![Violation::field("end_at", format!("is past: it is {now}"))];
        return Decision::Reject(Outcome::Invalid { id, violations });
    }
    Decision::Put { spec, created_at }
}

fn mismatch(ad: &Ad, if_match: Option<&IfMatch>) -> Option<Decision> {
    let holds = if_match.is_none_or(|if_match| if_match.holds(ad.version));
    (!holds).then(|| Decision::Reject(Outcome::VersionMismatch { id: ad.id, version: ad.version }))
}
