//! Three replicas of the real binary on a private PostgreSQL and a private Redis.

mod cluster;
mod joining;
mod serving;
mod setup;
