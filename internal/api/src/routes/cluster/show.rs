//! What this replica knows of the cluster, for people and for `placard status`.

use axum::extract::State;
use axum::response::Response;
use http::StatusCode;
use placard_model::entry::Position;
use placard_model::{Timestamp, Version, limits};
use placard_replica::core::Cluster;
use placard_replica::ports::Member;
use placard_replica::{Expiry, Handle};
use serde::Serialize;
use serde_json::json;
use uuid::Uuid;

use super::{CLUSTER_PATH, ExpiryBody};
use crate::http::headers::Unconditional;
use crate::http::problem::Problem;
use crate::http::render::{self, with_version};
use crate::openapi::answers::{Answer, RETRY_AFTER, VERSION, answers, invalid};
use crate::openapi::schema::{
    APART_MS_MAX, address, code, hex, id, nullable, object, shown_as, signed, stamp, stream_fault,
    text, version, whole,
};
use crate::openapi::shape::shape;

#[derive(Serialize)]
struct ClusterBody {
    /// The replica that answers.
    replica: Uuid,
    /// The journal's clock at the replica's last head poll.
    now: String,
    head: PositionBody,
    stream: StreamBody,
    members: Vec<MemberBody>,
    /// The replica that answers, not the whole cluster.
    expiry: ExpiryBody,
}

#[derive(Serialize)]
struct PositionBody {
    version: Version,
    chain: String,
    digest: String,
}

#[derive(Serialize)]
struct StreamBody {
    /// The newest version that the stream ever held.
    top: Option<Version>,
    entries: u64,
    /// Why the replica that answers does not use it.
    #[serde(skip_serializing_if = "Option::is_none")]
    fault: Option<String>,
}

#[derive(Serialize)]
struct MemberBody {
    replica: Uuid,
    address: String,
    build: String,
    format_level: u8,
    state: String,
    published: PositionBody,
    /// Entries that the head is ahead of it.
    lag_entries: u64,
    /// For how long the head has been ahead of it, in milliseconds.
    lag_ms: i64,
    /// What is left of its lease now, in milliseconds; negative if it has ended.
    lease_ms: i64,
    /// For how long it was not heard of, in milliseconds.
    silent_ms: i64,
    /// How far its clock was ahead of the journal's, in milliseconds.
    clock_ahead_ms: f64,
    /// Where it takes its entries from.
    tails: &'static str,
}

impl From<Position> for PositionBody {
    fn from(position: Position) -> Self {
        Self {
            version: position.version,
            chain: position.chain.to_string(),
            digest: position.digest.to_string(),
        }
    }
}

shape! {
    /// What one replica knows of the cluster.
    ClusterBody as "Cluster" = |shapes| object(&[], vec![
        ("replica", id("The replica that answers.")),
        ("now", stamp("The journal's clock at the replica's last head poll.")),
        ("head", shapes.reference::<PositionBody>()),
        ("stream", shapes.reference::<StreamBody>()),
        ("members", json!({
            "type": "array", "maxItems": limits::MEMBERS_SHOWN_MAX, "items": shapes.reference::<MemberBody>(),
            "description": "Every replica that is registered, or the first of them.",
            "examples": [[shapes.example::<MemberBody>()]],
        })),
        ("expiry", shapes.reference::<ExpiryBody>()),
    ])
}

shape! {
    /// A point of the log.
    PositionBody as "Position" = |_| object(&[], vec![
        ("version", version("The newest entry; 0 if there is none.", 42)),
        ("chain", hex(64, "SHA-256 over the log up to there.")),
        ("digest", hex(32, "A sum over the ads there.")),
    ])
}

shape! {
    /// What carries entries from replica to replica.
    StreamBody as "Stream" = |_| shown_as(object(&["fault"], vec![
        ("top", nullable(whole(1, limits::VERSION_MAX, "The newest version that it ever held; null if it held none.", 42))),
        ("entries", whole(0, i64::MAX as u64, "How many entries it holds.", 42)),
        ("fault", stream_fault()),
    ]), json!({"top": 42, "entries": 42}))
}

shape! {
    /// A replica.
    MemberBody as "Member" = |shapes| object(&[], vec![
        ("replica", id("Its id.")),
        ("address", address()),
        ("build", text(1, 255, "The version of its program.", "0.1.0")),
        ("format_level", whole(0, u64::from(u8::MAX), "The newest format of entries that it reads.", 1)),
        (
            "state",
            text(
                1,
                64,
                "What it is doing; `missing` if its row in the register is gone, though it has not left: it may answer \
                 still.",
                "ready",
            ),
        ),
        ("published", shapes.reference::<PositionBody>()),
        ("lag_entries", whole(0, i64::MAX as u64, "Entries that the head is ahead of it.", 0)),
        ("lag_ms", signed("For how long the head has been ahead of it, in milliseconds; at least a minute is told.", 0)),
        ("lease_ms", signed("What is left of its lease now, in milliseconds; negative if it has ended.", 1933)),
        ("silent_ms", signed("For how long it has not been heard of, in milliseconds: its state is what it said then. It grows while the journal is away.", 67)),
        ("clock_ahead_ms", json!({
            "type": "number", "format": "double", "minimum": -APART_MS_MAX, "maximum": APART_MS_MAX,
            "description": "How far its clock was ahead of the journal's, in milliseconds.",
            "examples": [-0.4],
        })),
        ("tails", code(&["journal", "stream"], "Where it takes its entries from.", "stream")),
    ])
}

answers!([
    Answer::json::<ClusterBody>(200, "What this replica knows.").with(&[VERSION]),
    invalid(),
    Answer::problem(503, "This replica has not heard of the journal yet.").with(&[RETRY_AFTER]),
]);

/// Shows every replica, the head and the stream.
///
/// That is what the replica that answers has heard at its last look at the journal.
#[utoipa::path(
    get,
    path = CLUSTER_PATH,
    operation_id = "showCluster",
    tag = "operation",
    responses(Answers),
)]
pub(crate) async fn handle(
    State(replica): State<Handle>,
    State(expiry): State<Expiry>,
    _: Unconditional,
) -> Result<Response, Problem> {
    let cluster = replica.cluster().ok_or_else(Problem::not_ready)?;
    // While the journal is away, what was heard last grows old.
    let now = replica.clock().now().max(cluster.now);
    let members = cluster.members.iter().take(limits::MEMBERS_SHOWN_MAX);
    let body = ClusterBody {
        replica: replica.replica(),
        now: cluster.now.to_string(),
        head: cluster.head.into(),
        stream: StreamBody {
            top: cluster.stream.top.map(|(version, _)| version),
            entries: cluster.stream.entries,
            fault: replica.stream_fault().map(|fault| fault.to_string()),
        },
        members: members.map(|member| shown(member, &cluster, now)).collect(),
        expiry: expiry.account().into(),
    };
    let mut response = render::serialised(StatusCode::OK, &body);
    with_version(&mut response, replica.reader().published().version);
    Ok(response)
}

fn shown(member: &Member, cluster: &Cluster, now: Timestamp) -> MemberBody {
    let Member { identity, status, seen_at, lease_until } = member;
    let published = status.published.version;
    let between = |stamp: Timestamp, now: Timestamp| (now.micros() - stamp.micros()) / 1_000;
    let lagging_since = cluster.first_seen_after(published);
    MemberBody {
        replica: identity.replica,
        address: identity.address.clone(),
        build: identity.build.clone(),
        format_level: identity.format_level,
        state: status.state.clone(),
        published: status.published.into(),
        lag_entries: cluster.head.version.saturating_sub(published),
        lag_ms: lagging_since.map_or(0, |since| between(since, cluster.now)),
        lease_ms: -between(*lease_until, now),
        silent_ms: between(*seen_at, now).max(0),
        clock_ahead_ms: status.clock_ahead as f64 / 1_000.0,
        tails: if status.tails_journal { "journal" } else { "stream" },
    }
}
