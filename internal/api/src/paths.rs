//! The paths of the routes.

/// The path of the ads.
pub const ADS_PATH: &str = "/api/v1/ad";
/// The path at which many ads are created at once.
pub const BATCH_PATH: &str = "/api/v1/ad/batch";
/// The path of one ad.
pub(crate) const AD_PATH: &str = "/api/v1/ad/{id}";

/// The paths that are answered even on connections beyond the maximum.
pub(crate) const HEALTH_PATHS: [&str; 4] = ["/livez", "/readyz", "/readyz/404", "/metrics"];
/// The path at which a replica shows the cluster.
pub(crate) const CLUSTER_PATH: &str = "/api/v1/cluster";
/// The path at which an operator releases the brake of this replica's expiry.
pub(crate) const RELEASE_PATH: &str = "/api/v1/admin/expiry/release";
