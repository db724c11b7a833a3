//! Creates a pool.

use axum::body::Body;
use axum::response::Response;
use placard_model::capacity::Command;
use placard_model::command::Conditions;
use placard_model::{Fields, limits};

use super::POOLS_PATH;
use super::pool::{WrittenPool, spec_fields};
use crate::http::headers::Unconditional;
use crate::http::problem::Problem;
use crate::http::subject::Subject;
use crate::openapi::answers::{Answer, LOCATION, REPLAYED, VERSION, VERSION_ETAG, answers};
use crate::openapi::conditions::OPEN;
use crate::openapi::parameters;
use crate::openapi::schema::{closed, id, nullable, object};
use crate::openapi::shape::shape;
use crate::routes::answers::{NOT_YET, failed, refused_body, refused_write};
use crate::routes::outcome::one;
use crate::routes::write_request::{JSON, WriteRequest, new_id};

/// A new pool, as [`Fields`] reads it.
#[derive(Debug)]
pub(super) struct NewPool;

shape! {
    /// A new pool.
    NewPool as "PoolCreation" = |_| closed(object(
        &[&["id", "start_at", "end_at", "pacing", "paused"], &OPEN[..]].concat(),
        [vec![("id", nullable(id("Chosen by the client, or drawn by the server if it is left out.")))], spec_fields(true)].concat(),
    ))
}

answers!(
    [
        [
            Answer::json::<WrittenPool>(201, "The pool is written, and this replica knows it.")
                .with(&[VERSION, VERSION_ETAG, LOCATION, REPLAYED]),
            Answer::json::<WrittenPool>(202, NOT_YET).with(&[
                VERSION,
                VERSION_ETAG,
                LOCATION,
                REPLAYED
            ]),
            Answer::problem(409, "There is a pool with this id already.")
                .with(&[VERSION, REPLAYED]),
        ]
        .into(),
        refused_body(limits::POOL_BODY_BYTES_MAX, "application/json"),
        refused_write(),
        vec![failed()],
    ]
    .concat()
);

/// Creates a pool.
///
/// A pool is a capacity in whole units that can be used up: impressions, slots, seats. Reservations and replicas take parts of
/// it, and never more than there is. An end that is past is refused.
#[utoipa::path(
    post,
    path = POOLS_PATH,
    operation_id = "createPool",
    tag = "pools",
    params(parameters::Ack, parameters::IdempotencyKey),
    request_body(content = NewPool, content_type = "application/json"),
    responses(Answers),
    security(("bearer" = [])),
)]
pub(crate) async fn handle(
    write: WriteRequest,
    _: Unconditional,
    body: Body,
) -> Result<Response, Problem> {
    let (ack, raw) = write.read_json(body, JSON, limits::POOL_BODY_BYTES_MAX).await?;
    let fields = Fields::from_json(&raw).and_then(Fields::into_pool_creation);
    let creation = fields.map_err(Problem::invalid)?;
    let none = Conditions::default();
    let idempotency = write.idempotency(None, &none, &raw, || creation.to_json())?;
    let id = creation.id.unwrap_or_else(new_id);
    let command = write.of_capacity(Command::CreatePool { id, spec: creation.spec });
    one(&write, ack, idempotency, Subject::Pool, command).await
}
