//! `ack=all`: a write is answered when every registered replica has published it, with a receipt for each.

use std::time::Duration;

use axum::body::Body;
use axum::response::Response;
use http::StatusCode;
use http_body_util::BodyExt;
use placard_model::command::Answer;
use placard_model::{Version, limits};
use placard_replica::ports::Member;
use placard_replica::{Handle, Receipts};
use serde::Serialize;
use serde_json::{Value, json};
use uuid::Uuid;

use super::write_request::CommittedWrite;
use crate::http::params::Ack;
use crate::http::problem::Problem;
use crate::openapi::schema::{address, id, object, version};
use crate::openapi::shape::{Shapes, shape};

#[derive(Serialize)]
pub(crate) struct ReceiptsBody {
    confirmed: Vec<Receipt>,
    unconfirmed: Vec<Receipt>,
}

#[derive(Serialize)]
struct Receipt {
    replica: Uuid,
    address: String,
    /// The newest version that it is known to have published.
    version: Version,
}

shape! {
    /// With ack=all: which replicas have published the write.
    ReceiptsBody as "Receipts" = |shapes| object(&[], vec![
        ("confirmed", receipts(shapes, "Replicas that serve it.")),
        ("unconfirmed", receipts(
            shapes,
            "Replicas that did not say so in time; if there are any, and only then, the status is 202. All, if the one \
             that answers did not serve the write in time.",
        )),
    ])
}

shape! {
    /// How far one replica is.
    Receipt as "Receipt" = |_| object(&[], vec![
        ("replica", id("The replica's id.")),
        ("address", address()),
        ("version", version("The newest version that it is known to have published.", 42)),
    ])
}

fn receipts(shapes: &mut Shapes, description: &str) -> Value {
    json!({
        "type": "array", "maxItems": limits::MEMBERS_SHOWN_MAX, "items": shapes.reference::<Receipt>(),
        "description": description, "examples": [[shapes.example::<Receipt>()]],
    })
}

impl From<Member> for Receipt {
    fn from(member: Member) -> Self {
        Self {
            replica: member.identity.replica,
            address: member.identity.address,
            version: member.status.published.version,
        }
    }
}

/// Waits for the replicas that the client wants to wait for, adds the receipts to the answer's JSON object, and makes
/// the answer a 202 if some are missing. A write that this replica itself could not show in time has waited long
/// enough, and this replica cannot know which others show it: then all are missing.
///
/// # Errors
/// The write may be lost: the journal tells another history since.
pub(super) async fn answer(
    replica: &Handle,
    ack: Ack,
    committed: &CommittedWrite,
    response: Response,
) -> Result<Response, Problem> {
    if ack == Ack::Applied {
        return Ok(response);
    }
    let CommittedWrite { answer: Answer { version, .. }, visible, history } = committed;
    let wait = if *visible { limits::ACK_ALL_WAIT } else { Duration::ZERO };
    let receipts = replica.confirmed(*version, *history, wait).await;
    let Receipts { mut confirmed, mut unconfirmed } =
        receipts.map_err(|_| Problem::outcome_unknown())?;
    if !visible {
        unconfirmed.append(&mut confirmed);
    }
    let shown = |members: Vec<Member>| {
        members.into_iter().take(limits::MEMBERS_SHOWN_MAX).map(Receipt::from).collect::<Vec<_>>()
    };
    let (confirmed, mut unconfirmed) = (shown(confirmed), shown(unconfirmed));
    // Before the first head poll the register is empty: then this replica at least counts as unconfirmed.
    if confirmed.is_empty() && unconfirmed.is_empty() {
        unconfirmed.push(Receipt {
            replica: replica.replica(),
            address: replica.address().to_owned(),
            version: replica.reader().published().version,
        });
    }
    let (mut head, body) = response.into_parts();
    if !unconfirmed.is_empty() {
        head.status = StatusCode::ACCEPTED;
    }
    let body = body.collect().await.map(|body| body.to_bytes()).unwrap_or_default();
    let open = body.strip_suffix(b"}").expect("a write is answered with a JSON object");
    let receipts = serde_json::to_vec(&ReceiptsBody { confirmed, unconfirmed });
    let receipts = receipts.expect("bodies of ours serialise");
    let body = [open, b",\"receipts\":", receipts.as_slice(), b"}"].concat();
    Ok(Response::from_parts(head, Body::from(body)))
}
