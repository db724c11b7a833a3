//! The program as a newer build would be: it writes one format level more, once every replica reads it. Tests
//! run it together with today's.

#[path = "../src/main.rs"]
mod program;

fn main() -> std::process::ExitCode {
    program::main()
}
