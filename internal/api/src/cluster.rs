//! What this replica knows of the cluster, for people and for `placard status`.

use axum::extract::State;
use axum::response::Response;
use http::{HeaderMap, StatusCode};
use placard_model::entry::Position;
use placard_model::{Timestamp, Version, limits};
use placard_replica::core::Cluster;
use placard_replica::expiry::{Account, Brake};
use placard_replica::ports::Member;
use serde::Serialize;
use uuid::Uuid;

use crate::app::App;
use crate::headers::Unconditional;
use crate::openapi::answers;
use crate::paths::{CLUSTER_PATH, RELEASE_PATH};
use crate::principal::Principal;
use crate::problem::Problem;
use crate::render::{self, with_version};

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
struct ExpiryBody {
    /// Whether it deletes what has ended: `running`, `braked` or `clock-off`.
    state: &'static str,
    /// Only while it is braked.
    #[serde(skip_serializing_if = "Option::is_none")]
    brake: Option<BrakeBody>,
    /// Delete entries that it has brought about since it started.
    deleted: u64,
}

#[derive(Serialize)]
struct BrakeBody {
    /// By how much the journal's clock has jumped, in milliseconds.
    jump_ms: i64,
    /// The journal's clock when that was noticed.
    since: String,
}

impl From<Account> for ExpiryBody {
    fn from(account: Account) -> Self {
        let state = match (account.braked, account.clock_off) {
            (Some(_), _) => "braked",
            (None, true) => "clock-off",
            (None, false) => "running",
        };
        let brake = account.braked.map(|Brake { jump, since }| BrakeBody {
            jump_ms: jump / 1_000,
            since: since.to_string(),
        });
        Self { state, brake, deleted: account.counts.deleted }
    }
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
    /// What is left of its lease, in milliseconds; negative if it has ended.
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

/// Shows every replica, the head and the stream.
///
/// That is what the replica that answers has heard at its last look at the journal.
#[utoipa::path(
    get,
    path = CLUSTER_PATH,
    operation_id = "showCluster",
    tag = "operation",
    responses(answers::ClusterShown),
)]
pub(crate) async fn show(State(app): State<App>, _: Unconditional) -> Result<Response, Problem> {
    let cluster = app.replica.cluster().ok_or_else(Problem::not_ready)?;
    // While the journal is away, what was heard last grows old.
    let now = app.replica.clock().now().max(cluster.now);
    let members = cluster.members.iter().take(limits::MEMBERS_SHOWN_MAX);
    let body = ClusterBody {
        replica: app.replica.replica(),
        now: cluster.now.to_string(),
        head: cluster.head.into(),
        stream: StreamBody {
            top: cluster.stream.top.map(|(version, _)| version),
            entries: cluster.stream.entries,
            fault: app.replica.stream_fault().map(|fault| fault.to_string()),
        },
        members: members.map(|member| shown(member, &cluster, now)).collect(),
        expiry: app.expiry.account().into(),
    };
    let mut response = render::serialised(StatusCode::OK, &body);
    with_version(&mut response, app.replica.reader().published().version);
    Ok(response)
}

#[derive(Serialize)]
struct ReleaseBody {
    /// Whether the brake was on.
    released: bool,
    expiry: ExpiryBody,
}

/// Lets this replica delete ended ads again, after the journal's clock has jumped.
///
/// An operator says with it that the clock is right as it is.
#[utoipa::path(
    post,
    path = RELEASE_PATH,
    operation_id = "releaseExpiry",
    tag = "operation",
    responses(answers::Released),
    security(("bearer" = [])),
)]
pub(crate) async fn release(
    State(app): State<App>,
    principal: Principal,
    _: Unconditional,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    app.config.access.refuse_pages(&headers)?;
    let released = app.expiry.release();
    if released {
        tracing::warn!(principal = principal.name(), "the brake of expiry was released");
    }
    let body = ReleaseBody { released, expiry: app.expiry.account().into() };
    Ok(render::serialised(StatusCode::OK, &body))
}

fn shown(member: &Member, cluster: &Cluster, now: Timestamp) -> MemberBody {
    let Member { identity, standing, seen_at, lease_until } = member;
    let published = standing.published.version;
    let between = |stamp: Timestamp, now: Timestamp| (now.micros() - stamp.micros()) / 1_000;
    let lagging_since = cluster.first_seen_after(published);
    MemberBody {
        replica: identity.replica,
        address: identity.address.clone(),
        build: identity.build.clone(),
        format_level: identity.format_level,
        state: standing.state.clone(),
        published: standing.published.into(),
        lag_entries: cluster.head.version.saturating_sub(published),
        lag_ms: lagging_since.map_or(0, |since| between(since, cluster.now)),
        lease_ms: -between(*lease_until, now),
        silent_ms: between(*seen_at, now).max(0),
        clock_ahead_ms: standing.clock_ahead as f64 / 1_000.0,
        tails: if standing.tails_journal { "journal" } else { "stream" },
    }
}
