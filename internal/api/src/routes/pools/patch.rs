//! Changes some of a pool.

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
use crate::routes::write_request::{MERGE_PATCH, WriteRequest};

/// A change of a pool, as [`Fields`] reads it.
#[derive(Debug)]
pub(super) struct Patch;

shape! {
    /// A JSON merge patch (RFC 7396): a field that is left out stays, and what is null is opened. The id, the version and the
    /// time of creation may stay in what was read, and are refused if they are not so. Nothing is made of the units, the
    /// status and as_of.
    Patch as "PoolPatch" = |_| shown_as(
        closed(object(
            &[&READ_ONLY[..], &["name", "capacity", "start_at", "end_at", "pacing", "paused"], &OPEN[..]].concat(),
            [read_only_fields(), spec_fields(true)].concat(),
        )),
        json!({"capacity": 120, "paused": false}),
    )
}

answers!(
    [
        changed::<WrittenPool>(Subject::Pool),
        refused_body(
            limits::POOL_BODY_BYTES_MAX,
            "application/merge-patch+json or application/json"
        ),
        refused_write(),
        vec![failed()],
    ]
    .concat()
);

/// Changes some of a pool.
///
/// A lowered capacity, and a pause, bind what is given from then on: what is out already stays out.
#[utoipa::path(
    patch,
    path = POOL_PATH,
    operation_id = "patchPool",
    tag = "pools",
    params(parameters::PoolId, parameters::Ack, parameters::IdempotencyKey, parameters::VersionConditions),
    request_body(content((Patch = "application/merge-patch+json"), (Patch = "application/json"))),
    responses(Answers),
    security(("bearer" = [])),
)]
pub(crate) async fn handle(
    write: WriteRequest,
    Id(id): Id,
    body: Body,
) -> Result<Response, Problem> {
    let only_if = write.conditions_by_version()?;
    let (ack, raw) = write.read_json(body, MERGE_PATCH, limits::POOL_BODY_BYTES_MAX).await?;
    let fields = Fields::from_json(&raw).and_then(Fields::into_pool_patch);
    let (patch, said) = fields.map_err(Problem::invalid)?;
    let meaning = || json!([patch.to_json(), said.to_json()]);
    let idempotency = write.idempotency(Some((Subject::Pool, id)), &only_if, &raw, meaning)?;
    let command = write.of_capacity(Command::PatchPool { id, only_if, said, patch });
    one(&write, ack, idempotency, Subject::Pool, command).await
}
