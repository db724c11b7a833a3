//! The figures that the index must reach, worked out from a report.

use std::fmt::Write as _;

use crate::candidate::Candidate;
use crate::report::{Report, short};
use crate::world::MIXES;
use crate::{bitmaps, boolean_tree, ours, seed_tree, sqlite, whole};

type Tree = seed_tree::SeedTree;
type Sqlite = sqlite::InMemory;
type Roaring = bitmaps::Bitmaps;
type BooleanTree = boolean_tree::BooleanTree;

enum Bound {
    AtLeast(f64),
    AtMost(f64),
}

use Bound::{AtLeast, AtMost};

struct Figures<'a> {
    report: &'a Report,
    lines: String,
}

impl Figures<'_> {
    fn line(&mut self, what: &str, found: Option<f64>, bound: Bound) {
        let (wanted, reached) = match bound {
            AtLeast(least) => (format!("at least {}", short(least)), found.map(|f| f >= least)),
            AtMost(most) => (format!("at most {}", short(most)), found.map(|f| f <= most)),
        };
        let verdict = match reached {
            Some(true) => "reached",
            Some(false) => "**not reached**",
            None => "not measured in this run",
        };
        let found = found.map_or_else(String::new, short);
        writeln!(self.lines, "| {what} | {wanted} | {found} | {verdict} |").unwrap();
    }

    fn ours(&self, ads: usize, measure: &str) -> Option<f64> {
        self.report.get(ads, ours::NAME, measure)
    }

    /// Ours divided by another's.
    fn versus(&self, other: &str, ads: usize, measure: &str) -> Option<f64> {
        Some(self.ours(ads, measure)? / self.report.get(ads, other, measure)?)
    }

    /// How many times longer a query takes among more ads.
    fn growth(&self, mix: &str, few: usize, many: usize) -> Option<f64> {
        Some(self.ours(few, mix)? / self.ours(many, mix)?)
    }
}

/// The table of what is to be reached, what was found, and whether that is enough.
pub(crate) fn table(report: &Report) -> String {
    let lines = "| what | to reach | found | |\n|---|---:|---:|---|\n".to_owned();
    let mut figures = Figures { report, lines };
    let [all, _, deep, _] = MIXES;
    for (other, ads, least) in [
        (Tree::NAME, 1_000, 100.0),
        (Sqlite::NAME, 1_000, 500.0),
        (Sqlite::NAME, 1_000_000, 50_000.0),
        (Roaring::NAME, 100_000, 80.0),
        (Roaring::NAME, 1_000_000, 800.0),
        (BooleanTree::NAME, 100_000, 50_000.0),
    ] {
        let what = format!("queries/s, all filters, vs {other} at {ads} ads, times");
        let found = figures.versus(other, ads, all);
        figures.line(&what, found, AtLeast(least));
    }
    let found = figures.growth(all, 1_000, 1_000_000);
    figures.line("time of a query at 1,000,000 vs at 1,000 ads, times", found, AtMost(2.0));
    let found = figures.growth(deep, 100_000, 1_000_000);
    figures.line("deep offsets, 1,000,000 vs 100,000 ads, times", found, AtMost(4.0));
    let found = figures.ours(1_000_000, whole::BYTES_ALL_COUNTRIES);
    figures.line("index bytes per ad, 1,000,000 ads, 249 countries", found, AtMost(90.0));
    for (how, least) in [("one by one", 1.0), ("in batches of 64", 2.5)] {
        let found = figures.versus(Sqlite::NAME, 1_000_000, &format!("inserts {how}"));
        let what = format!("inserts/s into 1,000,000 {how} vs SQLite, times");
        figures.line(&what, found, AtLeast(least));
    }
    let found = figures.versus(Sqlite::NAME, 1_000_000, "bulk build").map(f64::recip);
    figures.line("bulk build of 1,000,000 vs SQLite, times faster", found, AtLeast(5.0));
    let most = |measure: &str| {
        report
            .distinct(|cell| cell.ads)
            .into_iter()
            .rev()
            .find_map(|ads| report.get(ads, whole::NAME, measure))
    };
    let found = most(whole::FLAT_OUT).zip(most(whole::IDLE)).map(|(busy, idle)| busy / idle);
    figures.line("readers' p99.9, writer flat out vs idle, times", found, AtMost(1.5));
    let found = most(whole::SERIALISED).zip(most(whole::FRAGMENTS)).map(|(slow, fast)| slow / fast);
    figures.line("body of 10 ads from fragments vs serde_json, times", found, AtLeast(8.0));
    let found = most(whole::TAIL).zip(most(whole::TAIL_OFTEN)).map(|(tail, own)| tail / own);
    figures.line(
        "a tail's entries/s, published every 16,384 vs every 64, times",
        found,
        AtLeast(1.5),
    );
    figures.lines
}
