//! Capacity that can be used up, and the parts of it that are set aside: pools and holds, what clients and replicas ask of
//! them, what entries do to them, and what entries have left of them. All arithmetic is of whole units, and saturates.

mod body;
mod books;
mod command;
mod form;
mod hold;
mod moves;
mod pool;

pub(crate) use body::HoldBody;
pub use body::{PoolBody, ReservationBody};
pub use books::{Books, Fault};
pub use command::{Closing, Command, Giving, Named, Overrun, Refusal, Report};
pub use form::{PoolCreation, PoolPatch, ReservationChange, ReservationRequest, ReservationSaid};
pub use hold::{CloseReason, Expires, Hold, HoldStatus, Tombstone};
pub use moves::{After, Closed, Counted, Moves};
pub use pool::{Balance, Pacing, Pool, PoolSpec, PoolStatus};
