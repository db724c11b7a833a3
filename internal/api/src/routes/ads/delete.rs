//! Deletes an ad.

use axum::response::Response;
use placard_model::command::Command;
use serde_json::Value;

use super::AD_PATH;
use crate::http::params::Id;
use crate::http::problem::Problem;
use crate::http::subject::Subject;
use crate::openapi::answers::{Answer, REPLAYED, VERSION, answers};
use crate::openapi::parameters;
use crate::routes::answers::{NOT_YET, failed, refused_write};
use crate::routes::outcome::{Gone, absent, one};
use crate::routes::write_request::WriteRequest;

answers!(
    [
        [
            Answer::json::<Gone>(200, "The ad is gone, and this replica no longer serves it.")
                .with(&[VERSION, REPLAYED]),
            Answer::json::<Gone>(202, NOT_YET).with(&[VERSION, REPLAYED]),
        ]
        .into(),
        absent(Subject::Ad),
        refused_write(),
        vec![failed()],
    ]
    .concat()
);

/// Deletes an ad.
///
/// It is served no more, and its id is free again.
#[utoipa::path(
    delete,
    path = AD_PATH,
    operation_id = "deleteAd",
    tag = "ads",
    params(parameters::Id, parameters::Ack, parameters::IdempotencyKey, parameters::Conditions),
    responses(Answers),
    security(("bearer" = [])),
)]
pub(crate) async fn handle(write: WriteRequest, Id(id): Id) -> Result<Response, Problem> {
    let ack = write.ack()?;
    let only_if = write.conditions()?;
    let idempotency = write.idempotency(Some((Subject::Ad, id)), &only_if, b"", || Value::Null)?;
    let command = Command::Delete { id, only_if };
    one(&write, ack, idempotency, Subject::Ad, command).await
}
