//! A file that the server must write and cannot write is found at the start, and the error names it; so is a file that
//! was written before and is missing.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use placard_testkit::process::Process;

use crate::server::{ANY_PORT, PLACARD, Server, ad};

/// Starts it so that file permissions bind its user, also if that is root.
fn start(arguments: &[&str], variables: &[(&str, &str)]) -> Process {
    if !rustix::process::geteuid().is_root() {
        return Process::start(PLACARD, arguments, variables);
    }
    let obeying = ["--bounding-set=-dac_override,-dac_read_search", "--", PLACARD];
    Process::start("setpriv", &[&obeying[..], arguments].concat(), variables)
}

/// Checks that it does not start, and that the one line about it names a file.
async fn refused(process: Process, file: &Path) {
    let ended = process.ended().await;
    let name = file.to_str().expect("the file's name is text");
    assert_eq!(ended.status.code(), Some(1), "{name}: {ended:#?}");
    let [line] = ended.err.as_slice() else { panic!("{name}: {ended:#?}") };
    let found = line.split([' ', ':']).any(|word| word == name);
    assert!(line.starts_with("error: ") && found, "{name}: {line}");
}

fn permit(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).expect("its owner may");
}

fn files(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).expect("the directory can be read");
    let mut files: Vec<_> = entries.map(|entry| entry.expect("it is there").path()).collect();
    files.sort();
    files
}

#[tokio::test]
async fn files_that_cannot_be_written_are_refused_by_name() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().to_str().unwrap();
    let serve = ["serve", "--listen", ANY_PORT, "--data-dir", data];
    let server = Server::of(start(&serve, &[])).await;
    server.create(&ad("Acknowledged")).await;
    // A killed server leaves its files as they are, including the write-ahead log.
    server.process.kill().await;
    let there = files(directory.path());
    for file in ["journal.sqlite", "journal.sqlite-wal", "expiry.db", "lock"] {
        assert!(there.contains(&directory.path().join(file)), "{file} is not among {there:?}");
    }
    for file in &there {
        permit(file, 0o444);
        refused(start(&serve, &[]), file).await;
        permit(file, 0o644);
    }
    permit(directory.path(), 0o555);
    refused(start(&serve, &[]), directory.path()).await;
    permit(directory.path(), 0o755);
    // Nothing was changed by any of that.
    assert_eq!(files(directory.path()), there);
    let server = Server::of(start(&serve, &[])).await;
    assert_eq!(server.ads().await, 1);
    server.stop().await;
}

/// The directory is looked at before PostgreSQL is.
#[tokio::test]
async fn unwritable_checkpoint_files_are_refused_by_name() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().to_str().unwrap();
    let serve = ["serve", "--listen", ANY_PORT, "--data-dir", data];
    let cluster = [
        ("PLACARD_POSTGRES_URL", "postgres://nobody@127.0.0.1:1/none"),
        ("PLACARD_REDIS_URL", "redis://127.0.0.1:1"),
    ];
    for name in ["checkpoint", "checkpoint.next", "lock"] {
        let file = directory.path().join(name);
        fs::write(&file, "").unwrap();
        permit(&file, 0o444);
        refused(start(&serve, &cluster), &file).await;
        fs::remove_file(&file).unwrap();
    }
    permit(directory.path(), 0o555);
    // No lock can be made there.
    refused(start(&serve, &cluster), &directory.path().join("lock")).await;
    permit(directory.path(), 0o755);
}

/// In place of a journal that had gone it began an empty one, and served that.
#[tokio::test]
async fn embedded_server_does_not_replace_a_lost_journal() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().to_str().unwrap();
    let serve = ["serve", "--listen", ANY_PORT, "--data-dir", data];
    let server = Server::of(Process::start(PLACARD, &serve, &[])).await;
    server.create(&ad("Kept here")).await;
    server.process.terminate();
    assert!(server.process.ended().await.status.success());
    let (journal, queue) =
        (directory.path().join("journal.sqlite"), directory.path().join("expiry.db"));
    let (elsewhere, checkpoint) =
        (directory.path().join("elsewhere"), directory.path().join("checkpoint"));
    let refused = async |known: &Path| {
        let ended = Process::start(PLACARD, &serve, &[]).ended().await;
        let [line] = ended.err.as_slice() else { panic!("{ended:#?}") };
        assert_eq!(ended.status.code(), Some(1), "{line}");
        for says in [known.to_str().unwrap(), "is empty", "--new-journal"] {
            assert!(line.contains(says), "{says}: {line}");
        }
        assert!(!journal.exists());
    };
    fs::rename(&journal, &elsewhere).unwrap();
    refused(&queue).await;
    // A replica of a cluster whose URLs are missing.
    fs::remove_file(&queue).unwrap();
    fs::write(&checkpoint, "PLACARD").unwrap();
    refused(&checkpoint).await;
    // The lost file is back.
    fs::rename(&elsewhere, &journal).unwrap();
    let server = Server::of(Process::start(PLACARD, &serve, &[])).await;
    server.process.terminate();
    assert!(server.process.ended().await.status.success());
    // Or it was meant; then once is enough.
    fs::remove_file(&journal).unwrap();
    let new = [&serve[..], &["--new-journal"]].concat();
    for arguments in [&new[..], &serve[..]] {
        let server = Server::of(Process::start(PLACARD, arguments, &[])).await;
        server.process.terminate();
        assert!(server.process.ended().await.status.success());
    }
}
