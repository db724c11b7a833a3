//! `ack=all`: a write is answered when every registered replica has published it, with a receipt for each.

use axum::body::Body;
use axum::response::Response;
use http::StatusCode;
use http_body_util::BodyExt;
use placard_model::{Version, limits};
use placard_replica::Receipts;
use placard_replica::ports::Member;
use serde::Serialize;
use uuid::Uuid;

use crate::App;
use crate::params::Ack;

#[derive(Serialize)]
struct ReceiptsBody {
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

impl From<Member> for Receipt {
    fn from(member: Member) -> Self {
        Self {
            replica: member.identity.replica,
            address: member.identity.address,
            version: member.standing.published.version,
        }
    }
}

/// Waits for whom the client wants to wait for, adds the receipts to the answer's JSON object, and makes the
/// answer a 202 if some are missing.
pub(crate) async fn answer(app: &App, ack: Ack, version: Version, response: Response) -> Response {
    if ack == Ack::Applied {
        return response;
    }
    let Receipts { confirmed, unconfirmed } =
        app.replica.confirmed(version, limits::ACK_ALL_WAIT).await;
    let shown = |members: Vec<Member>| {
        members.into_iter().take(limits::MEMBERS_SHOWN_MAX).map(Receipt::from).collect()
    };
    let receipts = ReceiptsBody { confirmed: shown(confirmed), unconfirmed: shown(unconfirmed) };
    let (mut head, body) = response.into_parts();
    if !receipts.unconfirmed.is_empty() || receipts.confirmed.is_empty() {
        head.status = StatusCode::ACCEPTED;
    }
    let body = body.collect().await.map(|body| body.to_bytes()).unwrap_or_default();
    let open = body.strip_suffix(b"}").expect("a write is answered with a JSON object");
    let receipts = serde_json::to_vec(&receipts).expect("bodies of ours serialise");
    let body = [open, b",\"receipts\":", receipts.as_slice(), b"}"].concat();
    Response::from_parts(head, Body::from(body))
}
