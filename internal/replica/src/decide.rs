//! The one place where a command is accepted or rejected.

use placard_model::command::{Command, IfMatch, Outcome};
use placard_model::{Ad, Spec, Timestamp, Version, Violation};
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
        (Command::Expire { version, .. }, Some(ad)) => expire(ad, *version, now),
    }
}

fn put(id: Uuid, spec: Spec, created_at: Timestamp, now: Timestamp) -> Decision {
    if spec.end_at <= now {
        let violations = vec![Violation::field("end_at", format!("is past: it is {now}"))];
        return Decision::Reject(Outcome::Invalid { id, violations });
    }
    Decision::Put { spec, created_at }
}

/// An end that was moved has given the ad another version, and an end that the journal's clock has not reached
/// is none, whoever thinks so.
fn expire(ad: &Ad, version: Version, now: Timestamp) -> Decision {
    if ad.version != version {
        return Decision::Reject(Outcome::VersionMismatch { id: ad.id, version: ad.version });
    }
    if ad.spec.end_at > now {
        let violations = vec![Violation::field("end_at", format!("is to come: it is {now}"))];
        return Decision::Reject(Outcome::Invalid { id: ad.id, violations });
    }
    Decision::Delete
}

fn mismatch(ad: &Ad, if_match: Option<&IfMatch>) -> Option<Decision> {
    let holds = if_match.is_none_or(|if_match| if_match.holds(ad.version));
    (!holds).then(|| Decision::Reject(Outcome::VersionMismatch { id: ad.id, version: ad.version }))
}

#[cfg(test)]
mod tests {
    use placard_model::Targeting;

    use super::*;

    const ID: Uuid = Uuid::from_u128(1);

    fn at(micros: i64) -> Timestamp {
        Timestamp::EPOCH.saturating_add_micros(micros)
    }

    fn ad(version: Version, end_at: i64) -> Ad {
        let spec = Spec {
            title: "An ad that ends".to_owned(),
            content: "soon".to_owned(),
            start_at: at(0),
            end_at: at(end_at),
            targeting: Targeting::default(),
        };
        Ad { id: ID, version, created_at: at(0), spec }
    }

    fn expired(ad: Option<&Ad>, version: Version, now: i64) -> Decision {
        decide(&Command::Expire { id: ID, version }, ad, at(now))
    }

    #[test]
    fn an_ad_expires_at_its_end_and_not_a_microsecond_before() {
        let ad = ad(7, 1_000);
        assert!(matches!(expired(Some(&ad), 7, 999), Decision::Reject(Outcome::Invalid { .. })));
        assert_eq!(expired(Some(&ad), 7, 1_000), Decision::Delete);
        assert_eq!(expired(Some(&ad), 7, 2_000), Decision::Delete);
    }

    #[test]
    fn an_ad_that_was_changed_does_not_expire_as_what_it_was() {
        let ad = ad(8, 1_000);
        let mismatch = Decision::Reject(Outcome::VersionMismatch { id: ID, version: 8 });
        assert_eq!(expired(Some(&ad), 7, 2_000), mismatch);
    }

    #[test]
    fn an_ad_that_is_gone_does_not_expire() {
        assert_eq!(expired(None, 7, 2_000), Decision::Reject(Outcome::NotFound { id: ID }));
    }

    #[test]
    fn only_expiry_gives_itself_as_the_reason() {
        use placard_model::entry::Reason;
        assert_eq!(Command::Expire { id: ID, version: 1 }.reason(), Reason::Expired);
        assert_eq!(Command::Delete { id: ID, if_match: None }.reason(), Reason::Client);
    }
}
