//! The tokio side of the core: the task that owns it, its workers, the handle, the clocks, and what is logged and traced.

mod clock;
mod freshness;
mod handle;
mod healing;
mod outage;
mod shell;
mod traced;
mod uptime;
mod workers;

pub use clock::{Clock, Reading};
pub use freshness::{Freshness, Leave};
pub use handle::{Handle, Lost, Overloaded, Receipts, State};
pub use outage::Outage;
pub use shell::{Config, Replica, Stopped};
pub use uptime::Uptime;
