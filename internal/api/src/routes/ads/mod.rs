//! Ads: their paths, and a file for each verb. What the verbs have in common is in the private files beside them.

mod ad;
pub(super) mod batch;
pub(super) mod create;
pub(super) mod delete;
mod freshness;
mod outcome;
pub(super) mod patch;
mod receipts;
pub(super) mod replace;
pub(super) mod search;
pub(super) mod show;
mod write_request;

/// The path of the ads.
pub const ADS_PATH: &str = "/api/v1/ad";
/// The path at which many ads are created at once.
pub const BATCH_PATH: &str = "/api/v1/ad/batch";
/// The path of one ad.
pub(crate) const AD_PATH: &str = "/api/v1/ad/{id}";

/// The media types of an ad's form.
const JSON: &[&str] = &["application/json"];
