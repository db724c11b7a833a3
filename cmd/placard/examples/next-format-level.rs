//! The program as a newer build would be: it writes one format level more, once every replica reads it. Tests
//! run it together with today's.

fn main() -> std::process::ExitCode {
    placard_model::entry::be_the_next_build();
    placard::main()
}
