//! The cluster, as the replica that answers knows it, and that replica's expiry.

pub(super) mod release;
pub(super) mod show;

use placard_replica::expiry::{Account, Brake};
use serde::Serialize;
use serde_json::json;

use crate::openapi::schema::{code, object, shown_as, signed, stamp, whole};
use crate::openapi::shape::shape;

/// The path at which a replica shows the cluster.
pub(crate) const CLUSTER_PATH: &str = "/api/v1/cluster";
/// The path at which an operator releases the brake of this replica's expiry.
pub(crate) const RELEASE_PATH: &str = "/api/v1/admin/expiry/release";

/// The expiry of the replica that answers.
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

shape! {
    /// Whether the replica that answers deletes what has ended.
    ExpiryBody as "Expiry" = |shapes| shown_as(object(&["brake"], vec![
        ("state", code(
            &["running", "braked", "clock-off"],
            "Deletes; does not since the journal's clock has jumped; does not since its own clock is off.",
            "running",
        )),
        ("brake", shapes.reference::<BrakeBody>()),
        ("deleted", whole(0, i64::MAX as u64, "Delete entries that it has brought about since it started.", 3)),
    ]), json!({"state": "running", "deleted": 3}))
}

shape! {
    /// Why nothing is deleted.
    BrakeBody as "Brake" = |_| object(&[], vec![
        ("jump_ms", signed("By how much the journal's clock has jumped, in milliseconds.", 86_400_000)),
        ("since", stamp("The journal's clock when that was noticed.")),
    ])
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
