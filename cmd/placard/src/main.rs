//! The program as it is shipped.

fn main() -> std::process::ExitCode {
    placard::main()
}
