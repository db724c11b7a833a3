//! The program as a build before pools was: it reads nothing above the first format level. Tests run it together with
//! today's.

fn main() -> std::process::ExitCode {
    placard_model::entry::be_a_build_of(placard_model::entry::FORMAT_LEVEL_MIN);
    placard::main()
}
