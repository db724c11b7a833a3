//! The program as it is shipped: with an allocator that copes with what a publication allocates and frees, some tens
//! of kilobytes at each commit (`docs/adr/0007-jemalloc.md`).

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> std::process::ExitCode {
    placard::main()
}
