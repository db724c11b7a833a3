//! The one place where a command is accepted or rejected.

use placard_model::command::{Command, Outcome};
use placard_model::{Ad, Said, Spec, Timestamp, Version, Violation};

/// The decision on a command.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Decision {
    /// The ad is now this.
    Put {
        /// The ad's new content.
        spec: Spec,
        /// When it was first created.
        created_at: Timestamp,
    },
    /// Deletes the ad.
    Delete,
    /// The ad already is as the command wants it.
    Keep,
    /// Nothing changes.
    Reject(Outcome),
}

/// Decides a command on the ad that it concerns (`None` if the ad does not exist), at the journal's time.
pub(crate) fn decide(command: &Command, current: Option<&Ad>, now: Timestamp) -> Decision {
    let version = current.map(|ad| ad.version);
    let id = command.ad().unwrap_or_default();
    if command.only_if().is_some_and(|only_if| !only_if.hold(version)) {
        return Decision::Reject(Outcome::VersionMismatch { id, version: version.unwrap_or(0) });
    }
    match (command, current) {
        (Command::Create { id, .. }, Some(ad)) => {
            Decision::Reject(Outcome::Exists { id: *id, version: ad.version })
        }
        (Command::Create { spec, .. }, None) => {
            put(spec, now, now).unwrap_or_else(|violations| invalid(command, violations))
        }
        (_, None) => Decision::Reject(Outcome::NotFound { id }),
        (Command::Replace { said, spec, .. }, Some(ad)) => {
            changed(command, ad, said, put(spec, ad.created_at, now), now)
        }
        (Command::Patch { said, patch, .. }, Some(ad)) => {
            let decision = if patch.is_empty() {
                Ok(Decision::Keep)
            } else {
                patch.merged(&ad.spec).and_then(|spec| put(&spec, ad.created_at, now))
            };
            changed(command, ad, said, decision, now)
        }
        (Command::Delete { .. }, Some(_)) => Decision::Delete,
        (Command::Expire { version, .. }, Some(ad)) => expire(ad, *version, now),
        // `super::capacity` decides those: they concern no ad.
        (Command::Capacity { .. }, Some(_)) => Decision::Reject(Outcome::Failed),
    }
}

fn put(spec: &Spec, created_at: Timestamp, now: Timestamp) -> Result<Decision, Vec<Violation>> {
    if spec.end_at <= now {
        return Err(vec![Violation::field("end_at", format!("is past: it is {now}"))]);
    }
    Ok(Decision::Put { spec: spec.clone(), created_at })
}

/// Returns the decision if what the command says of the ad is true. Otherwise rejects the command with all violations
/// at once, those of the change among them.
fn changed(
    command: &Command,
    ad: &Ad,
    said: &Said,
    decision: Result<Decision, Vec<Violation>>,
    now: Timestamp,
) -> Decision {
    let mut violations = said.violations(ad, now);
    match decision {
        Ok(decision) if violations.is_empty() => return decision,
        Ok(_) => {}
        Err(more) => violations.extend(more),
    }
    violations.sort();
    invalid(command, violations)
}

fn invalid(command: &Command, violations: Vec<Violation>) -> Decision {
    Decision::Reject(Outcome::Invalid { id: command.ad().unwrap_or_default(), violations })
}

/// Decides the deletion of an ended ad. If its end was moved, the ad has another version. An end that the journal's
/// clock has not reached does not count, whatever other clocks say.
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

#[cfg(test)]
mod tests {
    use placard_model::command::Conditions;
    use placard_model::{Delivery, Targeting};
    use uuid::Uuid;

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
            delivery: Delivery::default(),
        };
        Ad { id: ID, version, created_at: at(0), spec }
    }

    fn expired(ad: Option<&Ad>, version: Version, now: i64) -> Decision {
        decide(&Command::Expire { id: ID, version }, ad, at(now))
    }

    #[test]
    fn ad_expires_at_its_end_and_not_before() {
        let ad = ad(7, 1_000);
        assert!(matches!(expired(Some(&ad), 7, 999), Decision::Reject(Outcome::Invalid { .. })));
        assert_eq!(expired(Some(&ad), 7, 1_000), Decision::Delete);
        assert_eq!(expired(Some(&ad), 7, 2_000), Decision::Delete);
    }

    #[test]
    fn changed_ad_does_not_expire_as_its_old_version() {
        let ad = ad(8, 1_000);
        let mismatch = Decision::Reject(Outcome::VersionMismatch { id: ID, version: 8 });
        assert_eq!(expired(Some(&ad), 7, 2_000), mismatch);
    }

    #[test]
    fn an_ad_that_is_gone_does_not_expire() {
        assert_eq!(expired(None, 7, 2_000), Decision::Reject(Outcome::NotFound { id: ID }));
    }

    #[test]
    fn only_expire_commands_have_the_reason_expired() {
        use placard_model::entry::Reason;
        assert_eq!(Command::Expire { id: ID, version: 1 }.reason(), Reason::Expired);
        assert_eq!(
            Command::Delete { id: ID, only_if: Conditions::default() }.reason(),
            Reason::Client
        );
    }
}
