//! Replaces an ad.

use axum::body::Body;
use axum::response::Response;
use placard_model::command::Command;
use placard_model::{Fields, limits};
use serde_json::json;

use super::AD_PATH;
use super::ad::{OPTIONAL, READ_ONLY, WrittenAd, read_only_fields, spec_fields};
use crate::http::params::Id;
use crate::http::problem::Problem;
use crate::http::subject::Subject;
use crate::openapi::answers::answers;
use crate::openapi::parameters;
use crate::openapi::schema::{closed, object, shown_as};
use crate::openapi::shape::shape;
use crate::routes::answers::{failed, refused_body, refused_write};
use crate::routes::outcome::{changed, one};
use crate::routes::write_request::{JSON, WriteRequest};

/// What an ad becomes, as [`Fields`] reads it.
#[derive(Debug)]
pub(super) struct Replacement;

shape! {
    /// What an ad becomes, wholly: a condition that is left out is opened. The read-only fields may stay in what was read:
    /// they are refused if they are not so.
    Replacement as "Replacement" = |shapes| shown_as(
        closed(object(&[&READ_ONLY[..], &OPTIONAL[..]].concat(), [read_only_fields(), spec_fields(true)].concat())),
        shapes.example_of(&object(&[], spec_fields(true))),
    )
}

answers!(
    [
        changed::<WrittenAd>(Subject::Ad),
        refused_body(limits::AD_BODY_BYTES_MAX, "application/json"),
        refused_write(),
        vec![failed()]
    ]
    .concat()
);

/// Replaces an ad wholly.
///
/// Its id and the time of its creation stay. There must be such an ad: none is created.
#[utoipa::path(
    put,
    path = AD_PATH,
    operation_id = "replaceAd",
    tag = "ads",
    params(parameters::Id, parameters::Ack, parameters::IdempotencyKey, parameters::Conditions),
    request_body(content = Replacement, content_type = "application/json"),
    responses(Answers),
    security(("bearer" = [])),
)]
pub(crate) async fn handle(
    write: WriteRequest,
    Id(id): Id,
    body: Body,
) -> Result<Response, Problem> {
    let only_if = write.conditions()?;
    let (ack, raw) = write.read_json(body, JSON, limits::AD_BODY_BYTES_MAX).await?;
    let fields = Fields::from_json(&raw).and_then(Fields::into_spec);
    let (spec, said) = fields.map_err(Problem::invalid)?;
    let meaning = || json!([spec.to_json(), said.to_json()]);
    let idempotency = write.idempotency(Some((Subject::Ad, id)), &only_if, &raw, meaning)?;
    let command = Command::Replace { id, only_if, said, spec };
    one(&write, ack, idempotency, Subject::Ad, command).await
}
