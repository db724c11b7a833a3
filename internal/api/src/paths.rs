//! Where everything is.

/// Where the ads are.
pub const ADS_PATH: &str = "/api/v1/ad";
/// Where many are created at once.
pub const BATCH_PATH: &str = "/api/v1/ad/batch";
/// Where one is.
pub(crate) const AD_PATH: &str = "/api/v1/ad/{id}";

/// What is answered also when there are more connections than there may be.
pub(crate) const HEALTH_PATHS: [&str; 4] = ["/livez", "/readyz", "/readyz/404", "/metrics"];
/// Where a replica tells of the cluster.
pub(crate) const CLUSTER_PATH: &str = "/api/v1/cluster";
/// Where an operator releases the brake of this replica's expiry.
pub(crate) const RELEASE_PATH: &str = "/api/v1/admin/expiry/release";
