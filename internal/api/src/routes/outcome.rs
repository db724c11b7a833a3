//! What came of a write of one ad, pool or reservation: the committer's outcome as an answer, or as a problem.

use axum::response::Response;
use http::header::LOCATION;
use http::{HeaderValue, StatusCode};
use placard_model::capacity::{self, PoolBody, ReservationBody};
use placard_model::command::{self, Command, Idempotency, Outcome};
use placard_model::records::{EncodedRecord, Kind};
use placard_model::{EncodedAd, Version, fragment};
use serde::Serialize;
use uuid::Uuid;

use super::answers::{NOT_YET, unmet};
use super::receipts::{self, ReceiptsBody};
use super::write_request::WriteRequest;
use crate::http::entity_tag::EntityTag;
use crate::http::params::Ack;
use crate::http::problem::Problem;
use crate::http::render::{self, with_etag, with_replayed, with_version};
use crate::http::subject::Subject;
use crate::openapi::answers::{Answer, ETAG, REPLAYED, VERSION, VERSION_ETAG};
use crate::openapi::schema::{id, object, version};
use crate::openapi::shape::shape;
use utoipa::ToSchema;

/// Submits one command about a thing, and answers with its outcome.
pub(super) async fn one(
    write: &WriteRequest,
    ack: Ack,
    idempotency: Option<Idempotency>,
    subject: Subject,
    command: Command,
) -> Result<Response, Problem> {
    let only_if = command.only_if().cloned().unwrap_or_default();
    // A reservation is made of a pool, which may be missing.
    let found = if is_reserve(&command) { Subject::Pool } else { subject };
    let committed = write.commit(idempotency, vec![command]).await?;
    let command::Answer { version, replayed, outcomes } = &committed.answer;
    let (version, replayed) = (*version, *replayed);
    let outcome = outcomes.first().cloned().ok_or_else(Problem::failed)?;
    let about = if matches!(outcome, Outcome::NotFound { .. }) { found } else { subject };
    let outcome = Problem::unless_accepted(outcome, version, about, &only_if)
        .map_err(|problem| problem.replayed(replayed))?;
    let mut response = rendered(outcome, subject, committed.visible)?;
    if replayed {
        with_replayed(&mut response);
    }
    receipts::answer(write.replica(), ack, &committed, response).await
}

fn is_reserve(command: &Command) -> bool {
    let Command::Capacity { command, .. } = command else { return false };
    matches!(**command, capacity::Command::Reserve { .. })
}

/// What is left of what was deleted; [`receipts`] adds its own.
#[derive(Serialize)]
pub(super) struct Gone {
    id: Uuid,
    version: Version,
}

shape! {
    /// What is left of what was deleted.
    Gone as "Deleted" = |shapes| object(&["receipts"], vec![
        ("id", id("Its id.")),
        ("version", version("The entry that deleted it.", 42)),
        ("receipts", shapes.reference::<ReceiptsBody>()),
    ])
}

fn rendered(accepted: Outcome, subject: Subject, visible: bool) -> Result<Response, Problem> {
    let status = |done| if visible { done } else { StatusCode::ACCEPTED };
    let (body, done, id, version) = match accepted {
        Outcome::Created { id, version, ad } => (ad_body(&ad)?, StatusCode::CREATED, id, version),
        Outcome::Updated { id, version, ad } => (ad_body(&ad)?, StatusCode::OK, id, version),
        Outcome::Recorded { id, version, record, is_new } => {
            let done = if is_new { StatusCode::CREATED } else { StatusCode::OK };
            (record_body(&record)?, done, id, version)
        }
        Outcome::Deleted { id, version } => {
            let mut response = render::serialised(status(StatusCode::OK), &Gone { id, version });
            with_version(&mut response, version);
            return Ok(response);
        }
        other => unreachable!("{other:?} is a problem"),
    };
    let mut response = render::json(status(done), body);
    with_version(&mut response, version);
    with_etag(&mut response, EntityTag::of_version(version));
    if done == StatusCode::CREATED {
        let path = HeaderValue::try_from(subject.path(id));
        let path = path.expect("a path with a UUID is a header value");
        response.headers_mut().insert(LOCATION, path);
    }
    Ok(response)
}

fn ad_body(ad: &EncodedAd) -> Result<Vec<u8>, Problem> {
    ad.view().map(fragment).map_err(|_| Problem::failed())
}

fn record_body(record: &EncodedRecord) -> Result<Vec<u8>, Problem> {
    let failed = |_| Problem::failed();
    let body = match record.kind() {
        Kind::Pool => {
            let pool = record.pool().map_err(failed)?;
            serde_json::to_vec(&PoolBody { pool: &pool, seen: None })
        }
        Kind::Hold => {
            let hold = record.hold().map_err(failed)?;
            serde_json::to_vec(&ReservationBody { hold: &hold, seen: None })
        }
        Kind::Tombstone => return Err(Problem::failed()),
    };
    Ok(body.expect("bodies of ours serialise"))
}

/// A thing that a write has changed.
pub(super) fn changed<T: ToSchema>(subject: Subject) -> Vec<Answer> {
    let tag = if subject == Subject::Ad { ETAG } else { VERSION_ETAG };
    let done = [
        Answer::json::<T>(
            200,
            format!("The {} is changed, and this replica serves it.", subject.noun()),
        )
        .with(&[VERSION, tag, REPLAYED]),
        Answer::json::<T>(202, NOT_YET).with(&[VERSION, tag, REPLAYED]),
    ];
    [done.into(), absent(subject)].concat()
}

/// There is no such thing, or it is not what the preconditions ask for.
pub(super) fn absent(subject: Subject) -> Vec<Answer> {
    vec![
        Answer::problem(404, format!("There is no {} with this id.", subject.noun()))
            .with(&[VERSION, REPLAYED]),
        Answer::problem(412, unmet(subject)).with(&[VERSION, REPLAYED]),
    ]
}
