//! The program as its users run it: a process with arguments, an environment, signals and an exit code.

mod access;
mod board;
mod demo;
mod ended;
mod journal;
mod restart;
mod seed;
mod server;
mod stopping;
mod storm;
mod usage;
mod writer;
