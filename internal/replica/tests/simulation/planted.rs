//! Faults that are planted one by one, each of which an invariant has to find. `docs/TESTING.md` lists them with the seeds
//! that found them; those are tried first.

use std::cell::RefCell;
use std::fs;
use std::panic::{AssertUnwindSafe, PanicHookInfo, catch_unwind, set_hook, take_hook};
use std::path::Path;
use std::sync::Once;

use placard_model::planted::Planted;

use crate::world::Model;
use crate::{run, simulate};

const DOCUMENT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/TESTING.md");
const HEAD: &str =
    "| planted fault | seed | found by | seed | without the model |\n|---|---|---|---|---|\n";
/// Seeds within which each is found.
const SEEDS: u64 = 10_000;
/// Seeds within which another invariant than the model may find it.
const OTHERS: u64 = 40;
const NONE: &str = "none";

thread_local! {
    /// While a fault is planted: the file of the last panic.
    static PANICKED: RefCell<Option<Option<String>>> = const { RefCell::new(None) };
}

/// Keeps panics of a thread that has a fault out of the output, and remembers where they come from.
fn keep_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let before = take_hook();
        set_hook(Box::new(move |panic: &PanicHookInfo<'_>| {
            let is_kept = PANICKED.with_borrow_mut(|panicked| {
                let Some(panicked) = panicked else { return false };
                *panicked = panic.location().map(|location| location.file().to_owned());
                true
            });
            if !is_kept {
                before(panic);
            }
        }));
    });
}

/// Returns the invariant that finds a fault under a seed.
fn found_by(planted: Planted, seed: u64, model: Model) -> Option<String> {
    PANICKED.set(Some(None));
    let ran = catch_unwind(AssertUnwindSafe(|| planted.during(|| simulate(seed, model))));
    let panicked = PANICKED.take().flatten();
    ran.err()?;
    let file = panicked?;
    let file = Path::new(&file);
    let is_invariant = file.parent().is_some_and(|folder| folder.ends_with("invariants"));
    is_invariant.then(|| file.file_stem().map(|name| name.to_string_lossy().into_owned()))?
}

fn told(planted: Planted) -> &'static str {
    match planted {
        Planted::RoomBeforeLapsing => "the room is computed before what has lapsed is closed",
        Planted::JournalsClockAlone => "what has lapsed is judged by the journal's clock alone",
        Planted::NoTombstone => "no tombstone is left",
        Planted::CloseTwice => "a report closes a hold twice",
        Planted::ShrinkGrows => "a reservation that shrinks can grow",
        Planted::LoweredCapacity => "a capacity lowered below what is out wraps around",
        Planted::RefusalKept => "a refusal for want of room is kept under its key",
        Planted::LapsedUnavailable => "what has lapsed is not counted as available",
        Planted::DigestWithoutRecords => "the digest leaves out records",
        Planted::LevelOfRegister => "the level is taken from the register alone",
    }
}

/// Finds a fault under one of the seeds, first of all under the one that is listed. Returns two cells of its row.
fn find(planted: Planted, listed: Option<u64>, seeds: u64, model: Model) -> Option<(u64, String)> {
    let mut seeds = listed.into_iter().chain(0..seeds);
    seeds.find_map(|seed| Some((seed, found_by(planted, seed, model)?)))
}

/// Returns the cells that the document has of a fault.
fn listed<'d>(document: &'d str, told: &str) -> Vec<&'d str> {
    let row = document
        .lines()
        .find(|line| line.strip_prefix("| ").is_some_and(|row| row.starts_with(told)));
    row.map_or(Vec::new(), |row| row.split(" | ").collect())
}

#[test]
fn planted_faults_are_found_by_invariants() {
    keep_panics();
    let document = fs::read_to_string(DOCUMENT).expect("the document is there");
    let mut rows = String::new();
    for planted in Planted::ALL {
        let told = told(planted);
        let cells = listed(&document, told);
        let seed_in = |cell: usize| cells.get(cell).and_then(|cell| cell.parse().ok());
        let found = find(planted, seed_in(1), SEEDS, Model::Compared);
        let (seed, invariant) = found.unwrap_or_else(|| panic!("nothing finds that {told}"));
        // It is the fault that was found.
        run(seed);
        let others = if cells.get(3) == Some(&NONE) { 0 } else { OTHERS };
        let other = find(planted, seed_in(3), others, Model::LeftOut);
        let other = other.map_or(format!("{NONE} | {NONE}"), |(seed, other)| {
            run(seed);
            format!("{seed} | `{other}`")
        });
        rows += &format!("| {told} | {seed} | `{invariant}` | {other} |\n");
    }
    let (before, table) = document.split_once(HEAD).expect("the document has the table");
    let written = table.split_inclusive('\n').take_while(|line| line.starts_with('|'));
    let written: String = written.collect();
    let after = &table[written.len()..];
    if std::env::var_os("UPDATE").is_some() {
        fs::write(DOCUMENT, format!("{before}{HEAD}{rows}{after}")).expect("it can be written");
    } else {
        assert_eq!(written, rows, "write it again with `make planted`");
    }
}
