//! A cluster of Placard on this machine, as processes: it starts PostgreSQL, Redis, replicas, and HAProxy in front of
//! them, watches, scales, rolls and stops them. `make cluster` does that by the program of this crate, and tests and
//! benches by the crate, or by its servers alone. It knows Placard only as a program.

#![expect(
    clippy::disallowed_methods,
    reason = "a supervisor of processes has deadlines, and draws ports and names"
)]

mod admission;
pub mod cluster;
pub mod control;
pub mod directory;
pub mod process;
pub mod replica;
pub mod servers;
mod socket;
