//! Many creations in one request. Each is decided by itself; the answer lists their outcomes, in order.

use axum::body::Body;
use axum::extract::State;
use axum::response::Response;
use http::StatusCode;
use placard_model::command::{Answer, Command, Conditions, Outcome};
use placard_model::{Creation, Fields, Version, Violation, limits};
use serde::Serialize;
use serde_json::Value;
use uuid::Uuid;

use crate::app::App;
use crate::headers::Unconditional;
use crate::openapi::{answers, parameters, shapes};
use crate::paths::BATCH_PATH;
use crate::problem::{Details, Problem};
use crate::receipts;
use crate::render::{self, with_replayed, with_version};
use crate::write::{JSON, accepted};
use crate::writing::{Decided, Writing};

#[derive(Serialize)]
struct BatchBody {
    created: usize,
    failed: usize,
    items: Vec<Item>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Item {
    Created { status: u16, id: Uuid, version: Version },
    Failed { status: u16, error: Box<Details> },
}

impl Item {
    fn failed(problem: Problem) -> Self {
        Self::Failed { status: problem.status().as_u16(), error: Box::new(problem.into_details()) }
    }
}

/// Creates many ads.
///
/// Each is decided by itself; the answer lists what became of each, in the order of the request.
#[utoipa::path(
    post,
    path = BATCH_PATH,
    operation_id = "createAds",
    tag = "ads",
    params(parameters::Ack, parameters::IdempotencyKey),
    request_body(content = shapes::BatchRequest, content_type = "application/json"),
    responses(answers::Batch),
    security(("bearer" = [])),
)]
pub(crate) async fn create(
    State(app): State<App>,
    writing: Writing,
    _: Unconditional,
    body: Body,
) -> Result<Response, Problem> {
    let bytes_max = limits::BATCH_BODY_BYTES_MAX;
    let raw = writing.read_json(&app, body, JSON, bytes_max).await?;
    let ack = writing.ack()?;
    let items = Fields::many_from_json(&raw, limits::BATCH_ITEMS_MAX).map_err(Problem::invalid)?;
    let items: Vec<_> = items.into_iter().map(Fields::into_creation).collect();
    let idempotency =
        writing.idempotency(None, &Conditions::default(), &raw, || meaning(&items))?;
    let mut commands = Vec::with_capacity(items.len());
    let mut broken: Vec<Option<Vec<Violation>>> = Vec::with_capacity(items.len());
    for item in items {
        match item {
            Ok(creation) => {
                let id = creation.id.unwrap_or_else(Uuid::now_v7);
                commands.push(Command::Create { id, spec: creation.spec });
                broken.push(None);
            }
            Err(violations) => broken.push(Some(violations)),
        }
    }
    let decided = if commands.is_empty() {
        let version = app.replica.reader().published().version;
        let answer = Answer { version, outcomes: Vec::new(), replayed: false };
        Decided { answer, visible: true, history: app.replica.state().history }
    } else {
        writing.decided(&app, idempotency, commands).await?
    };
    let Answer { version, outcomes, replayed } = decided.answer.clone();
    // The key belongs to the request: if it was used before, that is so for every item.
    if outcomes.first() == Some(&Outcome::KeyReused) {
        return Err(Problem::key_reused().at(version));
    }
    let mut outcomes = outcomes.into_iter();
    let items: Vec<_> = broken
        .into_iter()
        .map(|violations| match violations {
            Some(violations) => Item::failed(Problem::invalid(violations)),
            None => item(outcomes.next().unwrap_or(Outcome::Failed), version),
        })
        .collect();
    let created = items.iter().filter(|item| matches!(item, Item::Created { .. })).count();
    let body = BatchBody { created, failed: items.len() - created, items };
    let status = if decided.visible { StatusCode::OK } else { StatusCode::ACCEPTED };
    let mut response = render::serialised(status, &body);
    with_version(&mut response, version);
    if replayed {
        with_replayed(&mut response);
    }
    if created == 0 {
        return Ok(response);
    }
    receipts::answer(&app, ack, &decided, response).await
}

/// Returns the meaning of the items, however they are written; for an invalid item, its violations.
fn meaning(items: &[Result<Creation, Vec<Violation>>]) -> Value {
    let told = |violations: &Vec<Violation>| {
        violations.iter().map(|violation| Value::from(violation.to_string())).collect()
    };
    items.iter().map(|item| item.as_ref().map_or_else(told, Creation::to_json)).collect()
}

fn item(outcome: Outcome, decided_at: Version) -> Item {
    match accepted(outcome, decided_at, &Conditions::default()) {
        Ok(Outcome::Created { id, version, .. }) => {
            Item::Created { status: StatusCode::CREATED.as_u16(), id, version }
        }
        Ok(other) => unreachable!("a creation came to {other:?}"),
        Err(problem) => Item::failed(problem),
    }
}
