//! Deletes a pool.

use axum::response::Response;
use placard_model::capacity::Command;
use serde_json::Value;

use super::POOL_PATH;
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
            Answer::json::<Gone>(200, "The pool is gone.").with(&[VERSION, REPLAYED]),
            Answer::json::<Gone>(202, NOT_YET).with(&[VERSION, REPLAYED]),
            Answer::problem(
                409,
                "It is not paused, units of it are held, or ads name it; the type says which. A reservation that has lapsed holds its \
                 units until it is closed, within seconds."
            )
            .with(&[VERSION, REPLAYED]),
        ]
        .into(),
        absent(Subject::Pool),
        refused_write(),
        vec![failed()],
    ]
    .concat()
);

/// Deletes a pool.
///
/// Only a paused pool of which nothing is held is deleted, and only if no ad names it.
#[utoipa::path(
    delete,
    path = POOL_PATH,
    operation_id = "deletePool",
    tag = "pools",
    params(parameters::PoolId, parameters::Ack, parameters::IdempotencyKey, parameters::VersionConditions),
    responses(Answers),
    security(("bearer" = [])),
)]
pub(crate) async fn handle(write: WriteRequest, Id(id): Id) -> Result<Response, Problem> {
    let ack = write.ack()?;
    let only_if = write.conditions_by_version()?;
    let named = Some((Subject::Pool, id));
    let idempotency = write.idempotency(named, &only_if, b"", || Value::Null)?;
    let command = write.of_capacity(Command::DeletePool { id, only_if });
    one(&write, ack, idempotency, Subject::Pool, command).await
}
