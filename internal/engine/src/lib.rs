//! The deterministic state machine of a replica: the ads by id, the index over them, their digest and their version. It
//! has no async, no clock, no random numbers and no I/O: the same entries give the same state, and "now" is an argument
//! of every read.

mod alone;
mod by_id;
mod engine;
mod index;
mod reader;
mod snapshot;
mod stored;

pub use alone::Alone;
pub use engine::{Builder, Engine, Refusal, Replaced, dry_run};
pub use reader::{Found, Page, Reader};
pub use snapshot::Snapshot;
pub use stored::StoredAd;
