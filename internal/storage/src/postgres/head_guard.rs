//! The head that a plan's statement checks for before it writes.

use placard_model::entry::Chain;

/// The head that a plan follows: how many writes had led to it, and its chain, which tells it from the head of
/// a server that has lost some of them in a failover and has seen others since.
#[derive(Debug, Clone, Copy)]
pub(super) struct HeadGuard {
    pub(super) writes: i64,
    pub(super) chain: Chain,
}
