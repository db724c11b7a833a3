//! What the tests measure and `scripts/faults` publishes (`docs/performance/faults.md`); no test fails because of it.

use std::fmt::Write;
use std::path::Path;
use std::time::Duration;

/// A line of `docs/performance/faults.csv`.
#[derive(Debug)]
struct Figure {
    /// The fault at which it was measured, or `-` for the whole test.
    of: &'static str,
    /// The figure's name, with its unit.
    name: &'static str,
    value: f64,
}

/// The figures of one test.
#[derive(Debug, Default)]
pub(crate) struct Figures(Vec<Figure>);

impl Figures {
    pub(crate) fn add(&mut self, of: &'static str, name: &'static str, value: f64) {
        assert!(!of.contains(','), "{of}: it becomes a field of comma-separated values");
        self.0.push(Figure { of, name, value });
    }

    /// As [`Figures::add`], in milliseconds.
    pub(crate) fn took(&mut self, of: &'static str, name: &'static str, time: Duration) {
        self.add(of, name, (time.as_secs_f64() * 1e3).round());
    }

    /// Leaves them where `scripts/faults` looks for them.
    ///
    /// # Panics
    /// No recovery was measured.
    pub(crate) fn publish(&self, test: &str) {
        let recovered = self.0.iter().any(|figure| figure.name == "recovered_ms");
        assert!(recovered, "{test} has not measured how long it takes to recover");
        let mut lines = String::new();
        for Figure { of, name, value } in &self.0 {
            writeln!(lines, "{test},{of},{name},{value}").expect("a string can be written to");
        }
        let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join("faults");
        std::fs::create_dir_all(&directory).expect("a directory can be made");
        std::fs::write(directory.join(format!("{test}.csv")), lines).expect("it can be written");
    }
}
