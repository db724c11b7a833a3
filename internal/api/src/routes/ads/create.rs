//! Creates an ad.

use axum::body::Body;
use axum::response::Response;
use placard_model::command::{Command, Conditions};
use placard_model::{Fields, limits};

use super::ADS_PATH;
use super::ad::{OPTIONAL, WrittenAd, spec_fields};
use crate::http::headers::Unconditional;
use crate::http::problem::Problem;
use crate::http::subject::Subject;
use crate::openapi::answers::{Answer, ETAG, LOCATION, REPLAYED, VERSION, answers};
use crate::openapi::parameters;
use crate::openapi::schema::{closed, id, nullable, object};
use crate::openapi::shape::shape;
use crate::routes::answers::{NOT_YET, failed, refused_body, refused_write};
use crate::routes::outcome::one;
use crate::routes::write_request::{JSON, WriteRequest, new_id};

/// A new ad, as [`Fields`] reads it.
#[derive(Debug)]
pub(super) struct NewAd;

shape! {
    /// A new ad.
    NewAd as "Creation" = |_| closed(object(
        &[&["id"], &OPTIONAL[..]].concat(),
        [vec![("id", nullable(id("Chosen by the client, or drawn by the server if it is left out.")))], spec_fields(true)].concat(),
    ))
}

answers!(
    [
        [
            Answer::json::<WrittenAd>(201, "The ad is written, and this replica serves it.")
                .with(&[VERSION, ETAG, LOCATION, REPLAYED]),
            Answer::json::<WrittenAd>(202, NOT_YET).with(&[VERSION, ETAG, LOCATION, REPLAYED]),
            Answer::problem(409, "There is an ad with this id already.").with(&[VERSION, REPLAYED]),
        ]
        .into(),
        refused_body(limits::AD_BODY_BYTES_MAX, "application/json"),
        refused_write(),
        vec![failed()],
    ]
    .concat()
);

/// Creates an ad.
///
/// It is served from its start, to those whom its conditions fit. An ad whose end is past is refused.
#[utoipa::path(
    post,
    path = ADS_PATH,
    operation_id = "createAd",
    tag = "ads",
    params(parameters::Ack, parameters::IdempotencyKey),
    request_body(content = NewAd, content_type = "application/json"),
    responses(Answers),
    security(("bearer" = [])),
)]
pub(crate) async fn handle(
    write: WriteRequest,
    _: Unconditional,
    body: Body,
) -> Result<Response, Problem> {
    let (ack, raw) = write.read_json(body, JSON, limits::AD_BODY_BYTES_MAX).await?;
    let fields = Fields::from_json(&raw).and_then(Fields::into_creation);
    let creation = fields.map_err(Problem::invalid)?;
    let none = Conditions::default();
    let idempotency = write.idempotency(None, &none, &raw, || creation.to_json())?;
    let id = creation.id.unwrap_or_else(new_id);
    let command = Command::Create { id, spec: creation.spec };
    one(&write, ack, idempotency, Subject::Ad, command).await
}
