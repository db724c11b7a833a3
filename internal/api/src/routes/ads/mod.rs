//! Ads: their paths, and a file for each verb. What the verbs have in common is in the files above this folder.

mod ad;
pub(super) mod batch;
pub(super) mod create;
pub(super) mod delete;
pub(super) mod patch;
pub(super) mod replace;
pub(super) mod search;
pub(super) mod show;

pub(super) use ad::Ad;

/// The path of the ads.
pub const ADS_PATH: &str = "/api/v1/ad";
/// The path at which many ads are created at once.
pub const BATCH_PATH: &str = "/api/v1/ad/batch";
/// The path of one ad.
pub(crate) const AD_PATH: &str = "/api/v1/ad/{id}";
