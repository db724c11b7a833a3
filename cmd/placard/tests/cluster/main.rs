//! Three replicas of the real binary on a private PostgreSQL and a private Redis.

#![allow(clippy::disallowed_methods, reason = "tests use clocks, chance and tasks as they like")]

mod autoscaled;
mod balancers;
mod board;
mod builds;
mod clock;
mod cluster;
mod collector;
mod emptied;
mod expiry;
mod followed;
mod freshness;
mod held;
mod joining;
mod lapsing;
mod logging;
mod reserving;
mod serving;
mod setup;
mod shared;
mod supervised;
mod traces;
