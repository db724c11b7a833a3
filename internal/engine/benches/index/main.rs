//! The index beside every alternative, in one run and one table: `scripts/bench-index`. Each implementation is
//! held against a plain scan before it is timed.
//!
//! `N` is the numbers of ads (`"1000 100000 1000000"`), `SEED` names the ads. Beyond 2,000,000 ads only ours
//! is measured. `ONLY=ours` leaves the others out, for the work on ours. Without `--bench`, as a part of the
//! tests, everything runs with few ads for a moment each, and the reports go to a temporary directory.

#![allow(clippy::disallowed_methods, reason = "benches use clocks, chance and tasks as they like")]
#![allow(clippy::print_stderr, clippy::print_stdout, reason = "a bench tells what it measures")]
#![allow(clippy::unwrap_used, reason = "a bench that cannot go on has failed")]

mod bitmaps;
mod boolean_tree;
mod candidate;
mod compare;
mod figures;
mod measure;
mod ours;
mod plot;
mod report;
mod seed_tree;
mod sqlite;
mod whole;
mod world;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, SystemTime};

use compare::Budget;
use placard_model::Timestamp;
use report::{Conditions, Report};
use world::{MIXES, Spread, World};

/// Beyond, the others would take the whole run, and the ads the whole memory.
const COMPARED_MAX: usize = 2_000_000;

fn main() {
    let full = std::env::args().any(|argument| argument == "--bench");
    let millis = |ms: u64| Duration::from_millis(if full { ms } else { 3 });
    let budget = Budget { cell: millis(400), long: millis(1_000), full };
    let number = |text: &str| text.parse::<usize>().expect("N and SEED are whole numbers");
    let variable = |name: &str| std::env::var(name).ok().filter(|text| !text.is_empty());
    let seed = variable("SEED").map_or(1, |text| number(&text) as u64);
    let sizes = variable("N").filter(|_| full);
    let sizes = sizes.unwrap_or_else(|| if full { "1000 100000 1000000" } else { "300" }.into());
    let mut report = Report::default();
    for n in sizes.split_whitespace().map(number) {
        measure::progress(&format!("{n} ads"));
        if n > COMPARED_MAX {
            whole::vast(n, seed, budget, &mut report);
        } else {
            size(n, seed, budget, variable("ONLY").is_some(), &mut report);
        }
    }
    let figures = figures::table(&report);
    println!("{}\n{figures}", report.table());
    if variable("ONLY").is_none() {
        write(&report, &figures, seed, full).unwrap();
    }
}

/// Everything at one number of ads.
fn size(n: usize, seed: u64, budget: Budget, ours_only: bool, report: &mut Report) {
    let more = if budget.full { (n / 5).clamp(10_000, 100_000) } else { 200 };
    let world = World::new(n, more, seed, Spread::Generator);
    compare::measure::<ours::Ours>(&world, budget, report);
    if !ours_only {
        // Each of its ads takes megabytes, which a test does not have.
        let few = (!budget.full).then(|| World::new(n / 10, 10, seed, Spread::Generator));
        compare::measure::<seed_tree::SeedTree>(few.as_ref().unwrap_or(&world), budget, report);
        compare::measure::<boolean_tree::BooleanTree>(&world, budget, report);
        compare::measure::<bitmaps::Bitmaps>(&world, budget, report);
    }
    if !ours_only || std::env::var("ONLY").is_ok_and(|only| only == "sqlite") {
        compare::measure::<sqlite::InMemory>(&world, budget, report);
    }
    whole::measure(&world, seed, budget, report);
    drop(world);
    let world = World::new(n, 0, seed, Spread::All);
    whole::all_countries(&world, budget, report);
}

/// The first line that a command prints, or nothing.
fn line_of(command: &str, arguments: &[&str]) -> String {
    let output = Command::new(command).args(arguments).output();
    let text = output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
    text.unwrap_or_default().lines().next().unwrap_or_default().to_owned()
}

fn conditions(seed: u64) -> Conditions {
    let cpus = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpus.lines().find_map(|line| line.strip_prefix("model name")?.split(": ").nth(1));
    let cores = std::thread::available_parallelism().map_or(0, |cores| cores.get());
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
    let today = Timestamp::from_micros(since.as_micros() as i64).unwrap().to_string();
    Conditions {
        machine: format!("{}, {cores} cores", model.unwrap_or(std::env::consts::ARCH)),
        date: today[..10].to_owned(),
        seed,
        commit: line_of("git", &["describe", "--always", "--dirty", "--abbrev=12"]),
    }
}

/// Writes the report, the numbers and the plot; in a test, into a temporary place.
fn write(report: &Report, figures: &str, seed: u64, full: bool) -> std::io::Result<()> {
    // Before anything is written: a written file makes the work tree differ from the commit.
    let conditions = conditions(seed);
    let temporary = tempfile::tempdir()?;
    let kept: PathBuf = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/performance");
    let directory = if full { kept } else { temporary.path().to_owned() };
    std::fs::create_dir_all(&directory)?;
    let title = "Queries per second with total, all filters";
    // A run with a vast number of ads has files of its own beside the default run's; the figures to reach do not apply
    // to it.
    let vast = report.cells.iter().all(|cell| cell.ads > COMPARED_MAX);
    let name = if vast { "index-10m" } else { "index" };
    let file = |ending: &str| directory.join(format!("{name}.{ending}"));
    let figures = (!vast).then_some(figures);
    if !vast {
        std::fs::write(file("svg"), plot::svg(report, MIXES[0], title))?;
    }
    std::fs::write(file("csv"), report.csv())?;
    std::fs::write(file("md"), report.markdown(name, &conditions, figures))?;
    eprintln!("written to {}", if full { "docs/performance" } else { "a temporary directory" });
    Ok(())
}
