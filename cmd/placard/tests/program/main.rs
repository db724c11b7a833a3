//! The program as its users run it: a process with arguments, an environment, signals and an exit code.

#![allow(clippy::disallowed_methods, reason = "tests use clocks, chance and tasks as they like")]
#![allow(clippy::print_stdout, reason = "a test tells what it measured")]

mod access;
mod autoscale;
mod backup;
mod board;
mod connections;
mod demo;
mod ended;
mod examples;
mod journal;
mod logging;
mod manual;
mod names;
mod notified;
mod output;
mod restart;
mod restarts;
mod secrets;
mod seed;
mod server;
mod stopping;
mod storm;
mod unwritable;
mod usage;
mod verified;
mod writer;
