//! Pools: their paths, and a file for each verb.

pub(super) mod create;
pub(super) mod delete;
pub(super) mod list;
pub(super) mod patch;
mod pool;
pub(super) mod replace;
pub(super) mod show;

pub(super) use pool::LeftPool;

/// The path of the pools.
pub(super) const POOLS_PATH: &str = "/api/v1/pool";
/// The path of one pool.
pub(super) const POOL_PATH: &str = "/api/v1/pool/{id}";
