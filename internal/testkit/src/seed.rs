//! The seed of a random test: drawn for each run, printed, and taken from the environment to repeat a run.

#![allow(clippy::print_stdout, reason = "a test that fails shows it")]

use std::hash::{BuildHasher, RandomState};

/// Names the variable that repeats a run.
pub const VARIABLE: &str = "PLACARD_TEST_SEED";

/// Returns the seed for the test `name` of the crate `package`, and prints it, so that a failed test shows it.
///
/// # Panics
/// The variable is set, but is no whole number.
pub fn seed(package: &str, name: &str) -> u64 {
    let seed = match std::env::var(VARIABLE) {
        Ok(text) => text.parse().unwrap_or_else(|_| panic!("{VARIABLE}={text} is no seed")),
        Err(_) => RandomState::new().hash_one(name),
    };
    println!("repeat with: {VARIABLE}={seed} cargo test -p {package} {name}");
    seed
}
