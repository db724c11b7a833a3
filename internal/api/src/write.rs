//! The writes: a request's shape is checked here; the committer decides everything else.

use axum::body::Body;
use axum::extract::State;
use axum::response::Response;
use http::StatusCode;
use placard_model::command::{Answer, Command, Conditions, Idempotency, Outcome};
use placard_model::{EncodedAd, Fields, Version, fragment, limits};
use serde::Serialize;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::app::App;
use crate::entity_tag::EntityTag;
use crate::headers::Unconditional;
use crate::openapi::{answers, parameters, shapes};
use crate::params::Id;
use crate::paths::{AD_PATH, ADS_PATH};
use crate::problem::Problem;
use crate::receipts;
use crate::render::{self, with_etag, with_location, with_replayed, with_version};
use crate::writing::Writing;

pub(crate) const JSON: &[&str] = &["application/json"];
const MERGE_PATCH: &[&str] = &["application/merge-patch+json", "application/json"];

/// Creates an ad.
///
/// It is served from its start, to those whom its conditions fit. An ad whose end is past is refused.
#[utoipa::path(
    post,
    path = ADS_PATH,
    operation_id = "createAd",
    tag = "ads",
    params(parameters::Ack, parameters::IdempotencyKey),
    request_body(content = shapes::Creation, content_type = "application/json"),
    responses(answers::Created),
    security(("bearer" = [])),
)]
pub(crate) async fn create(
    State(app): State<App>,
    writing: Writing,
    _: Unconditional,
    body: Body,
) -> Result<Response, Problem> {
    let raw = writing.read_json(&app, body, JSON, limits::AD_BODY_BYTES_MAX).await?;
    let fields = Fields::from_json(&raw).and_then(Fields::into_creation);
    let creation = fields.map_err(Problem::invalid)?;
    let none = Conditions::default();
    let idempotency = writing.idempotency(None, &none, &raw, || creation.to_json())?;
    let id = creation.id.unwrap_or_else(Uuid::now_v7);
    let command = Command::Create { id, spec: creation.spec };
    one(&app, &writing, idempotency, command).await
}

/// Replaces an ad wholly.
///
/// Its id and the time of its creation stay. There must be such an ad: none is created.
#[utoipa::path(
    put,
    path = AD_PATH,
    operation_id = "replaceAd",
    tag = "ads",
    params(parameters::Id, parameters::Ack, parameters::IdempotencyKey, parameters::Conditions),
    request_body(content = shapes::Replacement, content_type = "application/json"),
    responses(answers::Replaced),
    security(("bearer" = [])),
)]
pub(crate) async fn replace(
    State(app): State<App>,
    writing: Writing,
    Id(id): Id,
    body: Body,
) -> Result<Response, Problem> {
    let only_if = writing.conditions()?;
    let raw = writing.read_json(&app, body, JSON, limits::AD_BODY_BYTES_MAX).await?;
    let fields = Fields::from_json(&raw).and_then(Fields::into_spec);
    let (spec, said) = fields.map_err(Problem::invalid)?;
    let meaning = || json!([spec.to_json(), said.to_json()]);
    let idempotency = writing.idempotency(Some(id), &only_if, &raw, meaning)?;
    let command = Command::Replace { id, only_if, said, spec };
    one(&app, &writing, idempotency, command).await
}

/// Changes some of an ad.
///
/// The resulting ad must keep all rules. A patch without fields changes nothing, and keeps the version.
#[utoipa::path(
    patch,
    path = AD_PATH,
    operation_id = "patchAd",
    tag = "ads",
    params(parameters::Id, parameters::Ack, parameters::IdempotencyKey, parameters::Conditions),
    request_body(content((shapes::Patch = "application/merge-patch+json"), (shapes::Patch = "application/json"))),
    responses(answers::Patched),
    security(("bearer" = [])),
)]
pub(crate) async fn patch(
    State(app): State<App>,
    writing: Writing,
    Id(id): Id,
    body: Body,
) -> Result<Response, Problem> {
    let only_if = writing.conditions()?;
    let raw = writing.read_json(&app, body, MERGE_PATCH, limits::AD_BODY_BYTES_MAX).await?;
    let fields = Fields::from_json(&raw).and_then(Fields::into_patch);
    let (patch, said) = fields.map_err(Problem::invalid)?;
    let meaning = || json!([patch.to_json(), said.to_json()]);
    let idempotency = writing.idempotency(Some(id), &only_if, &raw, meaning)?;
    let command = Command::Patch { id, only_if, said, patch };
    one(&app, &writing, idempotency, command).await
}

/// Deletes an ad.
///
/// It is served no more, and its id is free again.
#[utoipa::path(
    delete,
    path = AD_PATH,
    operation_id = "deleteAd",
    tag = "ads",
    params(parameters::Id, parameters::Ack, parameters::IdempotencyKey, parameters::Conditions),
    responses(answers::Deleted),
    security(("bearer" = [])),
)]
pub(crate) async fn delete(
    State(app): State<App>,
    writing: Writing,
    Id(id): Id,
) -> Result<Response, Problem> {
    writing.ack()?;
    let only_if = writing.conditions()?;
    let idempotency = writing.idempotency(Some(id), &only_if, b"", || Value::Null)?;
    let command = Command::Delete { id, only_if };
    one(&app, &writing, idempotency, command).await
}

/// Submits one command, and answers with its outcome.
async fn one(
    app: &App,
    writing: &Writing,
    idempotency: Option<Idempotency>,
    command: Command,
) -> Result<Response, Problem> {
    let ack = writing.ack()?;
    let only_if = command.only_if().cloned().unwrap_or_default();
    let decided = writing.decided(app, idempotency, vec![command]).await?;
    let Answer { version, replayed, outcomes } = &decided.answer;
    let (version, replayed) = (*version, *replayed);
    let outcome = outcomes.first().cloned().ok_or_else(Problem::failed)?;
    let outcome =
        accepted(outcome, version, &only_if).map_err(|problem| problem.replayed(replayed))?;
    let mut response = rendered(outcome, decided.visible)?;
    if replayed {
        with_replayed(&mut response);
    }
    receipts::answer(app, ack, &decided, response).await
}

#[derive(Serialize)]
struct Gone {
    id: Uuid,
    version: Version,
}

/// Returns the problem of a command that was not accepted, or the outcome of one that was.
pub(crate) fn accepted(
    outcome: Outcome,
    decided_at: Version,
    only_if: &Conditions,
) -> Result<Outcome, Problem> {
    match outcome {
        Outcome::NotFound { .. } => Err(Problem::ad_not_found().at(decided_at)),
        Outcome::Exists { version, .. } => Err(Problem::ad_exists().at(decided_at.max(version))),
        Outcome::VersionMismatch { version, .. } => {
            Err(Problem::version_mismatch(only_if, version).at(decided_at.max(version)))
        }
        Outcome::Invalid { violations, .. } => Err(Problem::invalid(violations).at(decided_at)),
        Outcome::KeyReused => Err(Problem::key_reused().at(decided_at)),
        Outcome::Failed => Err(Problem::failed()),
        accepted => Ok(accepted),
    }
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
