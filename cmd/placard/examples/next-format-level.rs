//! The program as a newer build would be: it writes one format level more, once every replica reads it. Tests
//! run it together with today's.

fn main() -> std::process::ExitCode {
    placard_model::entry::be_a_build_of(placard_model::entry::FORMAT_LEVEL + 1);
    placard::main()
}
