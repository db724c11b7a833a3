//! Changes some of an ad.

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
use crate::routes::write_request::{MERGE_PATCH, WriteRequest};

/// A change of an ad, as [`Fields`] reads it.
#[derive(Debug)]
pub(super) struct Patch;

shape! {
    /// A JSON merge patch (RFC 7396): a field that is left out stays, and a condition that is null is opened. The read-only
    /// fields may stay in what was read: they are refused if they are not so.
    Patch as "Patch" = |_| shown_as(
        closed(object(
            &[&READ_ONLY[..], &["title", "content", "start_at", "end_at"], &OPTIONAL[..]].concat(),
            [read_only_fields(), spec_fields(true)].concat(),
        )),
        json!({"title": "Winter sale", "country": null}),
    )
}

answers!(
    [
        changed::<WrittenAd>(Subject::Ad),
        refused_body(limits::AD_BODY_BYTES_MAX, "application/merge-patch+json or application/json"),
        refused_write(),
        vec![failed()],
    ]
    .concat()
);

/// Changes some of an ad.
///
/// The resulting ad must keep all rules. A patch without fields changes nothing, and keeps the version.
#[utoipa::path(
    patch,
    path = AD_PATH,
    operation_id = "patchAd",
    tag = "ads",
    params(parameters::Id, parameters::Ack, parameters::IdempotencyKey, parameters::Conditions),
    request_body(content((Patch = "application/merge-patch+json"), (Patch = "application/json"))),
    responses(Answers),
    security(("bearer" = [])),
)]
pub(crate) async fn handle(
    write: WriteRequest,
    Id(id): Id,
    body: Body,
) -> Result<Response, Problem> {
    let only_if = write.conditions()?;
    let (ack, raw) = write.read_json(body, MERGE_PATCH, limits::AD_BODY_BYTES_MAX).await?;
    let fields = Fields::from_json(&raw).and_then(Fields::into_patch);
    let (patch, said) = fields.map_err(Problem::invalid)?;
    let meaning = || json!([patch.to_json(), said.to_json()]);
    let idempotency = write.idempotency(Some((Subject::Ad, id)), &only_if, &raw, meaning)?;
    let command = Command::Patch { id, only_if, said, patch };
    one(&write, ack, idempotency, Subject::Ad, command).await
}
