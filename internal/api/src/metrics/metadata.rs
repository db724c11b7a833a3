//! The metadata that the recorder requires for each metric.

use metrics::{Level, Metadata};

/// The same for all of them.
pub(super) const METADATA: Metadata<'_> = Metadata::new("placard", Level::INFO, None);
