//! What came of a write of one ad: the committer's outcome as an answer, or as a problem.

use axum::response::Response;
use http::header::LOCATION;
use http::{HeaderValue, StatusCode};
use placard_model::command::{self, Command, Idempotency, Outcome};
use placard_model::{EncodedAd, Version, fragment};
use serde::Serialize;
use uuid::Uuid;

use super::ad::{NOT_YET, UNMET, shown_fields};
use super::receipts::ReceiptsBody;
use super::write_request::WriteRequest;
use super::{ADS_PATH, receipts};
use crate::http::entity_tag::EntityTag;
use crate::http::params::Ack;
use crate::http::problem::Problem;
use crate::http::render::{self, with_etag, with_replayed, with_version};
use crate::openapi::answers::{Answer, ETAG, REPLAYED, VERSION};
use crate::openapi::conditions::OPEN;
use crate::openapi::schema::{id, object, version};
use crate::openapi::shape::shape;

/// Submits one command, and answers with its outcome.
pub(super) async fn one(
    write: &WriteRequest,
    ack: Ack,
    idempotency: Option<Idempotency>,
    command: Command,
) -> Result<Response, Problem> {
    let only_if = command.only_if().cloned().unwrap_or_default();
    let committed = write.commit(idempotency, vec![command]).await?;
    let command::Answer { version, replayed, outcomes } = &committed.answer;
    let (version, replayed) = (*version, *replayed);
    let outcome = outcomes.first().cloned().ok_or_else(Problem::failed)?;
    let outcome = Problem::unless_accepted(outcome, version, &only_if)
        .map_err(|problem| problem.replayed(replayed))?;
    let mut response = rendered(outcome, committed.visible)?;
    if replayed {
        with_replayed(&mut response);
    }
    receipts::answer(write.replica(), ack, &committed, response).await
}

/// What is left of an ad that was deleted; [`receipts`] adds its own.
#[derive(Serialize)]
pub(super) struct Gone {
    id: Uuid,
    version: Version,
}

shape! {
    /// What is left of an ad that was deleted.
    Gone as "DeletedAd" = |shapes| object(&["receipts"], vec![
        ("id", id("The ad's id.")),
        ("version", version("The entry that deleted it.", 42)),
        ("receipts", shapes.reference::<ReceiptsBody>()),
    ])
}

/// An ad after a write, as [`placard_model::fragment`] writes it; [`receipts`] adds its own.
#[derive(Debug)]
pub(super) struct WrittenAd;

shape! {
    /// An ad as a write has left it.
    WrittenAd as "WrittenAd" = |shapes| object(&[&["receipts"], &OPEN[..]].concat(), [shown_fields(), vec![("receipts", shapes.reference::<ReceiptsBody>())]].concat())
}

fn rendered(accepted: Outcome, visible: bool) -> Result<Response, Problem> {
    let status = |done| if visible { done } else { StatusCode::ACCEPTED };
    Ok(match accepted {
        Outcome::Created { id, version, ad } => {
            let mut response = ad_response(status(StatusCode::CREATED), version, &ad)?;
            with_location(&mut response, id);
            response
        }
        Outcome::Updated { version, ad, .. } => ad_response(status(StatusCode::OK), version, &ad)?,
        Outcome::Deleted { id, version } => {
            let mut response = render::serialised(status(StatusCode::OK), &Gone { id, version });
            with_version(&mut response, version);
            response
        }
        other => unreachable!("{other:?} is a problem"),
    })
}

fn ad_response(status: StatusCode, version: Version, ad: &EncodedAd) -> Result<Response, Problem> {
    let ad = ad.view().map_err(|_| Problem::failed())?;
    let mut response = render::json(status, fragment(ad));
    with_version(&mut response, version);
    with_etag(&mut response, EntityTag::of_version(version));
    Ok(response)
}

fn with_location(response: &mut Response, id: Uuid) {
    let path = HeaderValue::try_from(format!("{ADS_PATH}/{id}"));
    response.headers_mut().insert(LOCATION, path.expect("a path with a UUID is a header value"));
}

/// An ad that a write has changed.
pub(super) fn changed() -> Vec<Answer> {
    let done = [
        Answer::json::<WrittenAd>(200, "The ad is changed, and this replica serves it.")
            .with(&[VERSION, ETAG, REPLAYED]),
        Answer::json::<WrittenAd>(202, NOT_YET).with(&[VERSION, ETAG, REPLAYED]),
    ];
    [done.into(), absent()].concat()
}

/// There is no such ad, or it is not what the preconditions ask for.
pub(super) fn absent() -> Vec<Answer> {
    vec![
        Answer::problem(404, "There is no ad with this id.").with(&[VERSION, REPLAYED]),
        Answer::problem(412, UNMET).with(&[VERSION, REPLAYED]),
    ]
}
