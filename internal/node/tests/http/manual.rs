//! The manual's table of metrics is what `/metrics` says of them.

use std::fs;

use placard_testkit::wait::until;

use crate::server::Server;

const MANUAL: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/OPERATIONS.md");
const HEAD: &str = "| metric | kind | what |\n|---|---|---|\n";

/// Returns a row for each metric: its name, its kind and its help.
fn rows(metrics: &str) -> String {
    let helps = metrics.lines().filter_map(|line| line.strip_prefix("# HELP ")?.split_once(' '));
    let row = |(name, help): (&str, &str)| {
        let kind = metrics.lines().find_map(|line| line.strip_prefix(&format!("# TYPE {name} ")));
        format!("| `{name}` | {} | {help} |\n", kind.expect("a metric has a kind"))
    };
    helps.map(row).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_manual_lists_the_metrics() {
    let server = Server::over_socket().await;
    // Those of the cluster are there from the first head poll on.
    let rows = until("the metrics of a head poll", async || {
        let metrics = server.get("/metrics").await.is(200);
        let text = String::from_utf8(metrics.body.to_vec()).expect("metrics are text");
        text.contains("placard_replicas ").then(|| rows(&text))
    })
    .await;
    let manual = fs::read_to_string(MANUAL).expect("the manual is there");
    let (before, table) = manual.split_once(HEAD).expect("the manual has the table");
    let (written, after) = table.split_once("\n\n").expect("the table ends");
    if std::env::var_os("UPDATE").is_some() {
        fs::write(MANUAL, format!("{before}{HEAD}{rows}\n{after}")).expect("it can be written");
    } else {
        assert_eq!(format!("{written}\n"), rows, "write it again with `make manual`");
    }
}
