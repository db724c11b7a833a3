//! The tokio side of the core: the task that owns it, its workers, the handle, the clocks, and what is logged and traced.

mod clock;
mod handle;
mod healing;
mod log_feed;
mod outage;
mod read_permits;
mod shell;
mod state;
mod traced;
mod uptime;
mod workers;

pub use clock::{Clock, Reading, system_now};
pub use handle::{Handle, Lost, Overloaded, Receipts};
pub use log_feed::{FeedError, LogFeed};
pub use outage::Outage;
pub use read_permits::{ReadPermit, ReadPermits};
pub use shell::{Config, Replica, Stopped};
pub use state::State;
pub use uptime::Uptime;
