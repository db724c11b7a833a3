//! The writes: a request's shape is checked here, everything else is the committer's to decide.

use axum::body::Body;
use axum::extract::State;
use axum::response::Response;
use http::{HeaderMap, HeaderValue, Method, StatusCode, Uri};
use placard_model::command::{Answer, Command, Idempotency, IfMatch, Outcome, Request};
use placard_model::{EncodedAd, Fields, Version, fragment, limits};
use placard_replica::Reply;
use serde::Serialize;
use sha2::{Digest, Sha256};
use uuid::Uuid;

use crate::access::Principal;
use crate::body::Whole;
use crate::openapi::{answers, parameters, shapes};
use crate::params::Id;
use crate::problem::Problem;
use crate::render::{self, REPLAYED_HEADER, with_etag, with_location, with_version};
use crate::{AD_PATH, ADS_PATH, App, headers, params, receipts};

const JSON: &[&str] = &["application/json"];
const MERGE_PATCH: &[&str] = &["application/merge-patch+json", "application/json"];

/// Creates an ad.
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
    principal: Principal,
    uri: Uri,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let raw = read_json(&app, &uri, &headers, body, JSON, limits::AD_BODY_BYTES_MAX).await?;
    let fields = Fields::from_json(&raw).and_then(Fields::into_creation);
    let creation = fields.map_err(Problem::invalid)?;
    let id = creation.id.unwrap_or_else(Uuid::now_v7);
    let command = Command::Create { id, spec: creation.spec };
    one(&app, &principal, Method::POST, &uri, &headers, &raw, command).await
}

/// Replaces an ad wholly.
#[utoipa::path(
    put,
    path = AD_PATH,
    operation_id = "replaceAd",
    tag = "ads",
    params(parameters::Id, parameters::Ack, parameters::IdempotencyKey, parameters::IfMatch),
    request_body(content = shapes::Replacement, content_type = "application/json"),
    responses(answers::Replaced),
    security(("bearer" = [])),
)]
pub(crate) async fn replace(
    State(app): State<App>,
    principal: Principal,
    Id(id): Id,
    uri: Uri,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let if_match = precondition(&headers)?;
    let raw = read_json(&app, &uri, &headers, body, JSON, limits::AD_BODY_BYTES_MAX).await?;
    let spec = Fields::from_json(&raw).and_then(Fields::into_spec).map_err(Problem::invalid)?;
    let command = Command::Replace { id, if_match, spec };
    one(&app, &principal, Method::PUT, &uri, &headers, &raw, command).await
}

/// Changes some of an ad.
#[utoipa::path(
    patch,
    path = AD_PATH,
    operation_id = "patchAd",
    tag = "ads",
    params(parameters::Id, parameters::Ack, parameters::IdempotencyKey, parameters::IfMatch),
    request_body(content((shapes::Patch = "application/merge-patch+json"), (shapes::Patch = "application/json"))),
    responses(answers::Patched),
    security(("bearer" = [])),
)]
pub(crate) async fn patch(
    State(app): State<App>,
    principal: Principal,
    Id(id): Id,
    uri: Uri,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let if_match = precondition(&headers)?;
    let raw = read_json(&app, &uri, &headers, body, MERGE_PATCH, limits::AD_BODY_BYTES_MAX).await?;
    let patch = Fields::from_json(&raw).and_then(Fields::into_patch).map_err(Problem::invalid)?;
    let command = Command::Patch { id, if_match, patch };
    one(&app, &principal, Method::PATCH, &uri, &headers, &raw, command).await
}

/// Deletes an ad.
#[utoipa::path(
    delete,
    path = AD_PATH,
    operation_id = "deleteAd",
    tag = "ads",
    params(parameters::Id, parameters::Ack, parameters::IdempotencyKey, parameters::IfMatch),
    responses(answers::Deleted),
    security(("bearer" = [])),
)]
pub(crate) async fn delete(
    State(app): State<App>,
    principal: Principal,
    Id(id): Id,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    params::ack(uri.query()).map_err(Problem::invalid)?;
    let command = Command::Delete { id, if_match: precondition(&headers)? };
    one(&app, &principal, Method::DELETE, &uri, &headers, b"", command).await
}

/// Checks what all writes with a body have in common, and reads the body.
pub(crate) async fn read_json(
    app: &App,
    uri: &Uri,
    headers: &HeaderMap,
    body: Body,
    accepted: &[&str],
    bytes_max: usize,
) -> Result<Whole, Problem> {
    params::ack(uri.query()).map_err(Problem::invalid)?;
    headers::require_json(headers, accepted)?;
    app.room.read(headers, body, bytes_max).await
}

fn precondition(headers: &HeaderMap) -> Result<Option<IfMatch>, Problem> {
    headers::if_match(headers).map_err(|broken| Problem::invalid(vec![broken]))
}

/// Has one command decided, and answers with what became of it.
async fn one(
    app: &App,
    principal: &Principal,
    method: Method,
    uri: &Uri,
    headers: &HeaderMap,
    raw: &[u8],
    command: Command,
) -> Result<Response, Problem> {
    let key = headers::idempotency_key(headers).map_err(|broken| Problem::invalid(vec![broken]))?;
    let ack = params::ack(uri.query()).map_err(Problem::invalid)?;
    let decided = decided(app, principal, &method, uri, key, raw, vec![command]).await?;
    let Answer { version, replayed, outcomes } = decided.answer;
    let outcome = outcomes.into_iter().next().ok_or_else(Problem::failed)?;
    let mut response = rendered(outcome, version, decided.visible)?;
    if replayed {
        with_replayed(&mut response);
    }
    Ok(receipts::answer(app, ack, version, response).await)
}

/// What the committer says, and whether readers of this replica see it already.
pub(crate) struct Decided {
    pub(crate) answer: Answer,
    pub(crate) visible: bool,
}

/// Puts a request on the committer's queue and waits for its answer.
pub(crate) async fn decided(
    app: &App,
    principal: &Principal,
    method: &Method,
    uri: &Uri,
    key: Option<&str>,
    raw: &[u8],
    commands: Vec<Command>,
) -> Result<Decided, Problem> {
    let request = Request {
        id: Uuid::new_v4(),
        principal: principal.name().to_owned(),
        idempotency: key.map(|key| idempotency(principal.name(), method, uri.path(), key, raw)),
        trace: principal.trace(),
        commands,
    };
    // The entry names this id; it stands beside the one that the client knows.
    tracing::debug!(entry = %request.id, principal = request.principal, "queueing a write");
    match app.replica.write(request).await.map_err(|_| Problem::overloaded())? {
        Reply::Applied(answer) => Ok(Decided { answer, visible: true }),
        Reply::Committed(answer) => Ok(Decided { answer, visible: false }),
        Reply::Unavailable => Err(Problem::unavailable()),
        Reply::Overloaded => Err(Problem::overloaded()),
        Reply::Unknown => Err(Problem::outcome_unknown()),
    }
}

fn idempotency(
    principal: &str,
    method: &Method,
    path: &str,
    key: &str,
    body: &[u8],
) -> Idempotency {
    let mut scope = Sha256::new();
    for part in [principal, method.as_str(), path, key] {
        // Each part behind its length, so that no two lists of parts run together to the same bytes.
        scope.update((part.len() as u64).to_be_bytes());
        scope.update(part);
    }
    Idempotency { scope: scope.finalize().into(), body: Sha256::digest(body).into() }
}

#[derive(Serialize)]
struct Gone {
    id: Uuid,
    version: Version,
}

pub(crate) fn with_replayed(response: &mut Response) {
    response.headers_mut().insert(REPLAYED_HEADER, HeaderValue::from_static("true"));
}

/// The problem of a command that was not accepted, or the outcome of one that was.
pub(crate) fn accepted(outcome: Outcome, decided_at: Version) -> Result<Outcome, Problem> {
    match outcome {
        Outcome::NotFound { .. } => Err(Problem::ad_not_found().at(decided_at)),
        Outcome::Exists { version, .. } => Err(Problem::ad_exists().at(decided_at.max(version))),
        Outcome::VersionMismatch { version, .. } => {
            Err(Problem::version_mismatch().at(decided_at.max(version)))
        }
        Outcome::Invalid { violations, .. } => Err(Problem::invalid(violations).at(decided_at)),
        Outcome::KeyReused => Err(Problem::key_reused().at(decided_at)),
        Outcome::Failed => Err(Problem::failed()),
        accepted => Ok(accepted),
    }
}

fn rendered(outcome: Outcome, decided_at: Version, visible: bool) -> Result<Response, Problem> {
    let status = |done| if visible { done } else { StatusCode::ACCEPTED };
    Ok(match accepted(outcome, decided_at)? {
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
    with_etag(&mut response, version);
    Ok(response)
}
