//! What was measured, as one table, as CSV, and held against the figures that the index must reach.

use std::fmt::Write as _;

use crate::ours;

/// One measured value.
pub(crate) struct Cell {
    pub(crate) ads: usize,
    pub(crate) name: String,
    pub(crate) measure: String,
    pub(crate) unit: &'static str,
    pub(crate) value: f64,
}

/// Where, when and of what a report is.
pub(crate) struct Conditions {
    pub(crate) machine: String,
    pub(crate) date: String,
    pub(crate) seed: u64,
    pub(crate) commit: String,
}

#[derive(Default)]
pub(crate) struct Report {
    pub(crate) cells: Vec<Cell>,
}

/// Values of which less is better.
fn is_cost(unit: &str) -> bool {
    matches!(unit, "s" | "ns" | "B")
}

impl Report {
    pub(crate) fn put(
        &mut self,
        ads: usize,
        name: &str,
        measure: &str,
        unit: &'static str,
        value: f64,
    ) {
        let (name, measure) = (name.to_owned(), measure.to_owned());
        self.cells.push(Cell { ads, name, measure, unit, value });
    }

    pub(crate) fn get(&self, ads: usize, name: &str, measure: &str) -> Option<f64> {
        let mut cells = self.cells.iter();
        cells.find(|c| c.ads == ads && c.name == name && c.measure == measure).map(|c| c.value)
    }

    /// The values of one field, each once, in the order of their first appearance.
    pub(crate) fn distinct<'a, T: PartialEq>(&'a self, of: impl Fn(&'a Cell) -> T) -> Vec<T> {
        let mut seen = Vec::new();
        for value in self.cells.iter().map(of) {
            if !seen.contains(&value) {
                seen.push(value);
            }
        }
        seen
    }

    pub(crate) fn csv(&self) -> String {
        let mut csv = "ads,implementation,measure,unit,value\n".to_owned();
        for Cell { ads, name, measure, unit, value } in &self.cells {
            writeln!(csv, "{ads},{name},\"{measure}\",{unit},{value}").unwrap();
        }
        csv
    }

    /// The table: a line per measure and number of ads, a column per implementation, each with how many times
    /// better (or, below 1, worse) ours is.
    pub(crate) fn table(&self) -> String {
        let names = self.distinct(|cell| cell.name.as_str());
        let mut table = format!("| measure | ads | {} |\n", names.join(" | "));
        table += &format!("|---|---:|{}\n", "---:|".repeat(names.len()));
        let sizes = self.distinct(|cell| cell.ads);
        for (measure, unit) in self.distinct(|cell| (cell.measure.as_str(), cell.unit)) {
            for ads in &sizes {
                let ours = self.get(*ads, ours::NAME, measure);
                let value = |name: &&str| {
                    let Some(value) = self.get(*ads, name, measure) else { return String::new() };
                    let ratio = ours.filter(|_| *name != ours::NAME).map(|ours| {
                        let times = if is_cost(unit) { value / ours } else { ours / value };
                        format!(" ({}x)", short(times))
                    });
                    short(value) + &ratio.unwrap_or_default()
                };
                let values: Vec<_> = names.iter().map(value).collect();
                if values.iter().any(|value| !value.is_empty()) {
                    let ads = short(*ads as f64);
                    writeln!(table, "| {measure}, {unit} | {ads} | {} |", values.join(" | "))
                        .unwrap();
                }
            }
        }
        table
    }

    /// The report that is kept beside the numbers in `name`.csv; with its figures it has its plot, too.
    pub(crate) fn markdown(
        &self,
        name: &str,
        conditions: &Conditions,
        figures: Option<&str>,
    ) -> String {
        let Conditions { machine, date, seed, commit } = conditions;
        let figures = figures.map_or_else(String::new, |figures| {
            format!("![queries per second]({name}.svg)\n\n## Figures to reach\n\n{figures}\n")
        });
        format!(
            "# The index, measured\n\n\
             Written by `scripts/bench-index`; all of it is one run.\n\n\
             | | |\n|---|---|\n| machine | {machine} |\n| date | {date} |\n| seed | {seed} |\n\
             | commit | {commit} |\n\n\
             {figures}## Everything\n\n\
             In brackets: how many times better ours is, below 1 how much worse. A quantile has the clock's own \
             time in it, about 30 ns. Ours inserts into and deletes from the index alone; the engine's own rates, \
             with log and digest, are under \"engine\". The bytes of SQLite include the ads' columns and \
             ids; those of the others do not include the ads. All numbers are in [{name}.csv]({name}.csv).\n\n{}",
            self.table()
        )
    }
}

/// A number in about three digits.
pub(crate) fn short(value: f64) -> String {
    let (value, suffix) = match value.abs() {
        v if v >= 9_999_500.0 => (value / 1e6, "M"),
        v if v >= 1_000_000.0 => return format!("{:.2}M", value / 1e6),
        v if v >= 10_000.0 => (value / 1e3, "k"),
        _ => (value, ""),
    };
    match value.abs() {
        v if v >= 100.0 || (v.fract() == 0.0 && v >= 1.0) => format!("{value:.0}{suffix}"),
        v if v >= 10.0 => format!("{value:.1}{suffix}"),
        v if v >= 0.01 || v == 0.0 => format!("{value:.2}{suffix}"),
        _ => format!("{value:.1e}{suffix}"),
    }
}
