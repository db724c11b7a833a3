//! Replaces what clients set of a pool.

use axum::body::Body;
use axum::response::Response;
use placard_model::capacity::Command;
use placard_model::{Fields, limits};
use serde_json::json;

use super::POOL_PATH;
use super::pool::{READ_ONLY, WrittenPool, read_only_fields, spec_fields};
use crate::http::params::Id;
use crate::http::problem::Problem;
use crate::http::subject::Subject;
use crate::openapi::answers::answers;
use crate::openapi::conditions::OPEN;
use crate::openapi::parameters;
use crate::openapi::schema::{closed, object, shown_as};
use crate::openapi::shape::shape;
use crate::routes::answers::{failed, refused_body, refused_write};
use crate::routes::outcome::{changed, one};
use crate::routes::write_request::{JSON, WriteRequest};

/// What a pool becomes, as [`Fields`] reads it.
#[derive(Debug)]
pub(super) struct Replacement;

shape! {
    /// All that clients set of a pool: what is left out is opened, or has its default. The id, the version and the time of
    /// creation may stay in what was read, and are refused if they are not so. Nothing is made of the units, the status and
    /// as_of.
    Replacement as "PoolReplacement" = |shapes| shown_as(
        closed(object(
            &[&READ_ONLY[..], &["start_at", "end_at", "pacing", "paused"], &OPEN[..]].concat(),
            [read_only_fields(), spec_fields(true)].concat(),
        )),
        shapes.example_of(&object(&[], spec_fields(true))),
    )
}

answers!(
    [
        changed::<WrittenPool>(Subject::Pool),
        refused_body(limits::POOL_BODY_BYTES_MAX, "application/json"),
        refused_write(),
        vec![failed()],
    ]
    .concat()
);

/// Replaces what clients set of a pool.
///
/// What is reserved, allotted, used and lost stays. There must be such a pool: none is created.
#[utoipa::path(
    put,
    path = POOL_PATH,
    operation_id = "replacePool",
    tag = "pools",
    params(parameters::PoolId, parameters::Ack, parameters::IdempotencyKey, parameters::VersionConditions),
    request_body(content = Replacement, content_type = "application/json"),
    responses(Answers),
    security(("bearer" = [])),
)]
pub(crate) async fn handle(
    write: WriteRequest,
    Id(id): Id,
    body: Body,
) -> Result<Response, Problem> {
    let only_if = write.conditions_by_version()?;
    let (ack, raw) = write.read_json(body, JSON, limits::POOL_BODY_BYTES_MAX).await?;
    let fields = Fields::from_json(&raw).and_then(Fields::into_pool_spec);
    let (spec, said) = fields.map_err(Problem::invalid)?;
    let meaning = || json!([spec.to_json(), said.to_json()]);
    let idempotency = write.idempotency(Some((Subject::Pool, id)), &only_if, &raw, meaning)?;
    let command = write.of_capacity(Command::ReplacePool { id, only_if, said, spec });
    one(&write, ack, idempotency, Subject::Pool, command).await
}
