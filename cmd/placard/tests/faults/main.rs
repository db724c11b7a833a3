//! Three replicas of the real binary on a real PostgreSQL and a real Redis, under write and read load, while
//! something is killed, paused, wiped, rolled back, cut off or forged. Afterwards, every time: no acknowledged
//! write is lost or doubled, versions have no holes, equal versions have equal chains and digests, every answer
//! is what a scan of the ads at its version gives, the stream holds what the log does, and every replica is ready
//! and at the head.

#![allow(clippy::disallowed_methods, reason = "tests use clocks, chance and tasks as they like")]
#![allow(clippy::print_stderr, reason = "a test tells what it measured")]

mod clients;
mod figures;
mod forgeries;
mod headlock;
mod history;
mod load;
mod partition;
mod paths;
mod postgres;
mod recovery;
mod redis_faults;
mod register;
mod relays;
mod replicas;
mod restored;
mod silence;
mod storm;
mod suite;
mod takedowns;
mod world;
