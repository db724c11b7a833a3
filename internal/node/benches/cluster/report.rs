//! The table of what was measured, printed and written down.

use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;

use crate::setup::Servers;

/// The bound that a ratio must keep.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Reach {
    AtLeast(f64),
    AtMost(f64),
}

/// One figure.
#[derive(Debug)]
pub(crate) struct Row {
    pub(crate) what: String,
    pub(crate) measured: String,
    pub(crate) baseline: String,
    pub(crate) ratio: f64,
    /// `None` for a figure that is there to be compared with.
    pub(crate) reach: Option<Reach>,
}

impl Row {
    fn reach(&self) -> String {
        match self.reach {
            Some(Reach::AtLeast(least)) => format!("at least {least}x"),
            Some(Reach::AtMost(most)) => format!("at most {most}x"),
            None => "-".to_owned(),
        }
    }

    fn reached(&self) -> &'static str {
        let reached = self.reach.map(|reach| match reach {
            Reach::AtLeast(least) => self.ratio >= least,
            Reach::AtMost(most) => self.ratio <= most,
        });
        match reached {
            Some(true) => "reached",
            Some(false) => "NOT REACHED",
            None => "-",
        }
    }

    fn cells(&self) -> [String; 6] {
        let ratio = format!("{:.2}x", self.ratio);
        let [what, measured, baseline] =
            [&self.what, &self.measured, &self.baseline].map(Clone::clone);
        [what, measured, baseline, ratio, self.reach(), self.reached().to_owned()]
    }
}

const HEADS: [&str; 6] = ["what", "measured", "baseline", "ratio", "to reach", "reached"];

/// All figures, and what is to be known beside them.
#[derive(Debug, Default)]
pub(crate) struct Report {
    rows: Vec<Row>,
    notes: Vec<String>,
    servers: String,
}

impl Report {
    pub(crate) fn row(&mut self, row: Row) {
        self.rows.push(row);
    }

    pub(crate) fn note(&mut self, note: String) {
        self.notes.push(note);
    }

    /// Adds the versions of the servers.
    pub(crate) fn server_versions(&mut self, servers: &Servers) {
        let postgres = servers.postgres.sql("SHOW server_version").unwrap();
        let redis = output("redis-server", &["--version"]);
        let redis = redis.split_whitespace().find_map(|word| word.strip_prefix("v="));
        let durable = servers.postgres.sql("SELECT name || '=' || setting FROM pg_settings WHERE name IN ('fsync', 'full_page_writes', 'synchronous_commit') ORDER BY 1").unwrap();
        let durable = durable.replace('\n', ", ");
        self.servers = format!("PostgreSQL {postgres} ({durable}), Redis {}", redis.unwrap_or("?"));
    }

    /// Returns it as a table whose columns are as wide as they must be.
    fn table(&self) -> String {
        let heads = HEADS.map(str::to_owned);
        let cells: Vec<_> = [heads].into_iter().chain(self.rows.iter().map(Row::cells)).collect();
        let width = |column: usize| cells.iter().map(|row| row[column].chars().count()).max();
        let widths: [usize; 6] = std::array::from_fn(|column| width(column).unwrap_or(0));
        let mut table = String::new();
        for (nth, row) in cells.iter().enumerate() {
            for (cell, width) in row.iter().zip(widths) {
                let _ = write!(table, "| {cell:width$} ");
            }
            table.push_str("|\n");
            if nth == 0 {
                widths.iter().for_each(|width| {
                    let _ = write!(table, "|{}", "-".repeat(width + 2));
                });
                table.push_str("|\n");
            }
        }
        table
    }

    pub(crate) fn print(&self) {
        println!("{}", self.table());
        self.notes.iter().for_each(|note| println!("{note}"));
    }

    /// Writes the report beside the other ones.
    pub(crate) fn write(&self) -> std::io::Result<()> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let directory = root.join("docs/performance");
        std::fs::create_dir_all(&directory)?;
        let missed = self.rows.iter().filter(|row| row.reached() == "NOT REACHED").count();
        let verdict = match missed {
            0 => "Every figure is reached.".to_owned(),
            some => format!("{some} of the figures below are not reached."),
        };
        let mut text = format!(
            "# A cluster beside what it is made of\n\n\
             Written by `scripts/bench-cluster` (`cargo bench -p placard-node --bench cluster`; `ADS` sets how many\n\
             ads are restored). Ratios are within one run: servers, replicas and load share one machine.\n\n\
             - machine: {}\n- servers: {}\n- date: {}\n- commit: {}\n\n{verdict}\n\n{}\n",
            machine(),
            self.servers,
            output("date", &["-u", "+%F %R UTC"]),
            commit(&root),
            self.table(),
        );
        for note in &self.notes {
            let _ = writeln!(text, "- {note}");
        }
        text.push_str(
            "- One-row transactions are INSERTs of a key and 200 bytes, each on a connection of its own up to 256 \
             connections; more writers wait for a free one. Those numbered without gaps take their \
             number from one locked row, as entries of a log must: that is a write of the same worth without group \
             commit, and what the figures to reach are multiples of. Those in no order promise less; PostgreSQL \
             syncs concurrent ones together.\n",
        );
        std::fs::write(directory.join("cluster.md"), text)?;
        let mut csv = HEADS.join(",") + "\n";
        for row in &self.rows {
            let quoted = row.cells().map(|cell| format!("\"{}\"", cell.replace('"', "\"\"")));
            csv += &(quoted.join(",") + "\n");
        }
        std::fs::write(directory.join("cluster.csv"), csv)
    }
}

/// Returns what a program prints, on one line; empty if the program does not exist.
fn output(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output();
    let text = output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
    text.unwrap_or_default().trim().to_owned()
}

fn commit(root: &Path) -> String {
    let root = root.to_string_lossy();
    let commit = output("git", &["-C", &root, "rev-parse", "--short", "HEAD"]);
    let changed = output(
        "git",
        &["-C", &root, "status", "--porcelain", "--", "*.rs", "*.toml", "*.lua", "*.sql"],
    );
    if changed.is_empty() { commit } else { format!("{commit}, with changes") }
}

fn machine() -> String {
    let field = |file: &str, name: &str| {
        let text = std::fs::read_to_string(file).unwrap_or_default();
        let line = text.lines().find_map(|line| line.strip_prefix(name).map(str::to_owned));
        line.unwrap_or_default().trim_start_matches([' ', '\t', ':']).trim().to_owned()
    };
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let model = field("/proc/cpuinfo", "model name");
    let memory = field("/proc/meminfo", "MemTotal:");
    let kib: u64 = memory.split_whitespace().next().and_then(|n| n.parse().ok()).unwrap_or(0);
    format!("{model}, {cores} cores, {} GiB, Linux {}", kib >> 20, output("uname", &["-r"]))
}
