//! One pool by its id, and how much of it there is.

use axum::response::Response;
use placard_model::capacity::PoolBody;

use super::POOL_PATH;
use super::pool::Pool;
use crate::http::params::Id;
use crate::http::problem::Problem;
use crate::http::subject::Subject;
use crate::openapi::answers::{
    Answer, CLOCK, STALE, VERSION, answers, invalid, renamed, unauthorised,
};
use crate::openapi::parameters;
use crate::routes::answers::not_to_be_read;
use crate::routes::books_read::{BooksRead, Times, json};

answers!([
    Answer::json::<Pool>(200, "The pool.").with(&[VERSION, STALE, CLOCK]),
    invalid(),
    unauthorised(),
    renamed(),
    Answer::problem(404, "There is no pool with this id.").with(&[VERSION, STALE, CLOCK]),
    not_to_be_read(),
]);

/// Shows a pool, and how much of it there is.
///
/// What is available is advice: the client that reserves it first gets it. `If-Match` of a write takes its version, in quotes.
#[utoipa::path(
    get,
    path = POOL_PATH,
    operation_id = "showPool",
    tag = "pools",
    params(parameters::PoolId, parameters::MinVersion),
    responses(Answers),
    security(("bearer" = [])),
)]
pub(crate) async fn handle(read: BooksRead, Id(id): Id) -> Result<Response, Problem> {
    read.show(Subject::Pool, |books, Times { now, lower }| {
        let pool = books.pool(id)?;
        Some(json(&PoolBody { pool, seen: Some((now, books.lapsed_units(id, lower))) }))
    })
    .await
}
