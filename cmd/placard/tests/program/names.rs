//! The data directory is the one with exactly the given name, even if SQLite would read the name as a URI or as a
//! database in memory.

use std::path::Path;

use placard_testkit::process::{Ended, Process};

use crate::server::{ANY_PORT, PLACARD, Server, ad};

/// Runs it in this working directory, so that a relative name is one.
fn start(within: &Path, arguments: &[&str]) -> Process {
    let within = within.to_str().expect("the directory's name is text");
    let first = ["-c", r#"cd "$0" && exec "$@""#, within, PLACARD];
    Process::start("sh", &[&first[..], arguments].concat(), &[])
}

#[tokio::test]
async fn a_journal_is_in_its_directory_whatever_its_name() {
    let within = tempfile::tempdir().unwrap();
    for name in [
        "file:y?mode=memory&z=",
        "file::memory:?cache=shared",
        "file:plain",
        ":memory:",
        "what?mode=memory",
        "a b#c%20d",
        "ä'\"\\",
    ] {
        let serve = ["serve", "--listen", ANY_PORT, "--data-dir", name];
        let server = Server::of(start(within.path(), &serve)).await;
        server.create(&ad("Acknowledged")).await;
        server.process.kill().await;
        let directory = within.path().join(name);
        for file in ["journal.sqlite", "expiry.db"] {
            assert!(directory.join(file).is_file(), "{name} has no {file}");
        }
        let copy = format!("{name}.copy");
        let backup = ["backup", "--data-dir", name, "--to", &copy];
        let Ended { status, err, .. } = start(within.path(), &backup).ended().await;
        assert!(status.success() && within.path().join(&copy).is_file(), "{name}: {err:#?}");
        let server = Server::of(start(within.path(), &serve)).await;
        assert_eq!(server.ads().await, 1, "{name}");
        server.stop().await;
        // By its whole name it is the same.
        let server = Server::on(&directory).await;
        assert_eq!(server.ads().await, 1, "{name}");
        server.stop().await;
    }
}
