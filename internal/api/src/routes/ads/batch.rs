//! Many creations in one request. Each is decided by itself; the answer lists their outcomes, in order.

use axum::body::Body;
use axum::response::Response;
use http::StatusCode;
use placard_model::command::{self, Command, Conditions, Outcome};
use placard_model::{Creation, Fields, Version, Violation, limits};
use serde::Serialize;
use serde_json::{Value, json};
use uuid::Uuid;

use super::BATCH_PATH;
use super::create::NewAd;
use crate::http::headers::Unconditional;
use crate::http::problem::{Details, Problem};
use crate::http::render::{self, with_replayed, with_version};
use crate::http::subject::Subject;
use crate::openapi::answers::{Answer, REPLAYED, VERSION, answers};
use crate::openapi::parameters;
use crate::openapi::schema::{id, object, version, whole};
use crate::openapi::shape::shape;
use crate::routes::answers::{NOT_YET, refused_body, refused_write};
use crate::routes::receipts;
use crate::routes::receipts::ReceiptsBody;
use crate::routes::write_request::{CommittedWrite, JSON, WriteRequest, new_id};

#[derive(Serialize)]
struct BatchBody {
    created: usize,
    failed: usize,
    items: Vec<Item>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Item {
    Created(CreatedItem),
    Failed(FailedItem),
}

#[derive(Serialize)]
struct CreatedItem {
    status: u16,
    id: Uuid,
    version: Version,
}

#[derive(Serialize)]
struct FailedItem {
    status: u16,
    error: Box<Details>,
}

impl Item {
    fn failed(problem: Problem) -> Self {
        let status = problem.status().as_u16();
        Self::Failed(FailedItem { status, error: Box::new(problem.into_details()) })
    }
}

/// Ads to create, as [`Fields`] reads them.
#[derive(Debug)]
pub(super) struct BatchRequest;

shape! {
    /// Ads to create. Each is decided by itself; a member that breaks a rule is refused alone.
    BatchRequest as "BatchRequest" = |shapes| json!({
        "type": "array", "minItems": 1, "maxItems": limits::BATCH_ITEMS_MAX, "items": shapes.reference::<NewAd>(),
    })
}

shape! {
    /// What became of each ad of a batch.
    BatchBody as "BatchAnswer" = |shapes| object(&["receipts"], vec![
        ("created", whole(0, limits::BATCH_ITEMS_MAX as u64, "How many ads were created.", 1)),
        ("failed", whole(0, limits::BATCH_ITEMS_MAX as u64, "How many were not.", 1)),
        ("items", json!({
            "type": "array", "minItems": 1, "maxItems": limits::BATCH_ITEMS_MAX,
            "description": "What became of each, in the order of the request.",
            "items": {"oneOf": [shapes.reference::<CreatedItem>(), shapes.reference::<FailedItem>()]},
            "examples": [[shapes.example::<CreatedItem>(), shapes.example::<FailedItem>()]],
        })),
        ("receipts", shapes.reference::<ReceiptsBody>()),
    ])
}

shape! {
    /// An ad of a batch that was created.
    CreatedItem as "BatchItemCreated" = |_| object(&[], vec![
        ("status", whole(201, 201, "The HTTP status that the creation alone would have had.", 201)),
        ("id", id("The ad's id.")),
        ("version", version("The entry that created it.", 42)),
    ])
}

shape! {
    /// An ad of a batch that was not created.
    FailedItem as "BatchItemFailed" = |shapes| object(&[], vec![
        ("status", whole(400, 599, "The HTTP status that the creation alone would have had.", 400)),
        ("error", shapes.reference::<Details>()),
    ])
}

answers!(
    [
        [
            Answer::json::<BatchBody>(
                200,
                "What became of each ad; this replica serves those that were created."
            )
            .with(&[VERSION, REPLAYED]),
            Answer::json::<BatchBody>(202, NOT_YET).with(&[VERSION, REPLAYED]),
        ]
        .into(),
        refused_body(limits::BATCH_BODY_BYTES_MAX, "application/json"),
        refused_write(),
    ]
    .concat()
);

/// Creates many ads.
///
/// Each is decided by itself; the answer lists what became of each, in the order of the request. While a replica of an older
/// build could not read one of them, none is created, and all have failed with `not-yet`.
#[utoipa::path(
    post,
    path = BATCH_PATH,
    operation_id = "createAds",
    tag = "ads",
    params(parameters::Ack, parameters::IdempotencyKey),
    request_body(content = BatchRequest, content_type = "application/json"),
    responses(Answers),
    security(("bearer" = [])),
)]
pub(crate) async fn handle(
    write: WriteRequest,
    _: Unconditional,
    body: Body,
) -> Result<Response, Problem> {
    let bytes_max = limits::BATCH_BODY_BYTES_MAX;
    let (ack, raw) = write.read_json(body, JSON, bytes_max).await?;
    let items = Fields::many_from_json(&raw, limits::BATCH_ITEMS_MAX).map_err(Problem::invalid)?;
    let items: Vec<_> = items.into_iter().map(Fields::into_creation).collect();
    let idempotency = write.idempotency(None, &Conditions::default(), &raw, || meaning(&items))?;
    let mut commands = Vec::with_capacity(items.len());
    let mut broken: Vec<Option<Vec<Violation>>> = Vec::with_capacity(items.len());
    for item in items {
        match item {
            Ok(creation) => {
                let id = creation.id.unwrap_or_else(new_id);
                commands.push(Command::Create { id, spec: creation.spec });
                broken.push(None);
            }
            Err(violations) => broken.push(Some(violations)),
        }
    }
    let committed = if commands.is_empty() {
        let version = write.replica().reader().published().version;
        let answer = command::Answer { version, outcomes: Vec::new(), replayed: false };
        CommittedWrite { answer, visible: true, history: write.replica().state().history }
    } else {
        write.commit(idempotency, commands).await?
    };
    let command::Answer { version, outcomes, replayed } = committed.answer.clone();
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
    let created = items.iter().filter(|item| matches!(item, Item::Created(_))).count();
    let body = BatchBody { created, failed: items.len() - created, items };
    let status = if committed.visible { StatusCode::OK } else { StatusCode::ACCEPTED };
    let mut response = render::serialised(status, &body);
    with_version(&mut response, version);
    if replayed {
        with_replayed(&mut response);
    }
    if created == 0 {
        return Ok(response);
    }
    receipts::answer(write.replica(), ack, &committed, response).await
}

/// Returns the meaning of the items, however they are written; for an invalid item, its violations.
fn meaning(items: &[Result<Creation, Vec<Violation>>]) -> Value {
    let told = |violations: &Vec<Violation>| {
        violations.iter().map(|violation| Value::from(violation.to_string())).collect()
    };
    items.iter().map(|item| item.as_ref().map_or_else(told, Creation::to_json)).collect()
}

fn item(outcome: Outcome, decided_at: Version) -> Item {
    match Problem::unless_accepted(outcome, decided_at, Subject::Ad, &Conditions::default()) {
        Ok(Outcome::Created { id, version, .. }) => {
            Item::Created(CreatedItem { status: StatusCode::CREATED.as_u16(), id, version })
        }
        Ok(other) => unreachable!("a creation came to {other:?}"),
        Err(problem) => Item::failed(problem),
    }
}
