//! An embedded journal is one file after a clean stop, and `placard backup` copies it while a server writes.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use placard_testkit::process::{Ended, Process};
use placard_testkit::wait::until;

use crate::journal;
use crate::server::{PLACARD, Server, ad};

async fn backup(directory: &Path, to: &Path) -> Ended {
    let [directory, to] = [directory, to].map(|path| path.to_str().expect("the name is text"));
    let arguments = ["backup", "--data-dir", directory, "--to", to];
    Process::start(PLACARD, &arguments, &[]).ended().await
}

fn names(directory: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(directory).expect("the directory can be read");
    let mut names: Vec<_> = entries.map(|entry| entry.expect("it is there").path()).collect();
    names.sort();
    names
}

#[tokio::test]
async fn the_journal_is_one_file_after_a_clean_stop() {
    let directory = tempfile::tempdir().unwrap();
    for ads in 1..=3 {
        let server = Server::on(directory.path()).await;
        server.create(&ad("Acknowledged")).await;
        server.stop().await;
        let file = directory.path().join("journal.sqlite");
        let beside = names(directory.path());
        let beside = beside.iter().filter(|name| name.to_string_lossy().contains("sqlite-"));
        assert_eq!(beside.count(), 0, "there is more beside it");
        let alone = tempfile::tempdir().unwrap();
        std::fs::copy(file, alone.path().join("journal.sqlite")).unwrap();
        assert_eq!(journal::read(alone.path()).ads.len(), ads);
        let server = Server::on(alone.path()).await;
        assert_eq!(server.ads().await, ads as u64);
        server.stop().await;
    }
}

#[tokio::test]
async fn a_backup_is_whole_while_the_server_writes() {
    let directory = tempfile::tempdir().unwrap();
    let server = Arc::new(Server::on(directory.path()).await);
    let (written, done) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
    let writers: Vec<_> = (0..4)
        .map(|_| {
            let (server, written) = (Arc::clone(&server), Arc::clone(&written));
            let done = Arc::clone(&done);
            tokio::spawn(async move {
                while !done.load(Ordering::Relaxed) {
                    server.create(&ad("Written meanwhile")).await;
                    written.fetch_add(1, Ordering::Relaxed);
                }
            })
        })
        .collect();
    for copies in 1..=3 {
        until("more writes", async || {
            (written.load(Ordering::Relaxed) > copies * 20).then_some(())
        })
        .await;
        let before = written.load(Ordering::Relaxed);
        let copy = tempfile::tempdir().unwrap();
        let file = copy.path().join("journal.sqlite");
        let ended = backup(directory.path(), &file).await;
        assert_eq!(ended.status.code(), Some(0), "{ended:#?}");
        assert_eq!(names(copy.path()), [file], "there is more than the copy");
        let found = journal::read(copy.path());
        let after = written.load(Ordering::Relaxed) + writers.len() as u64;
        assert!((before..=after).contains(&found.version), "{before} {} {after}", found.version);
        let says = format!("up to version {}.", found.version);
        assert!(ended.out[0].ends_with(&says), "{ended:#?}");
        let server = Server::on(copy.path()).await;
        assert_eq!(server.ads().await, found.ads.len() as u64);
        server.stop().await;
    }
    done.store(true, Ordering::Relaxed);
    for writer in writers {
        writer.await.expect("a writer gets its answers");
    }
    let server = Arc::into_inner(server).expect("the writers are done");
    server.stop().await;
    assert_eq!(journal::read(directory.path()).version, written.load(Ordering::Relaxed));
}

/// A killed server has not emptied its write-ahead log.
#[tokio::test]
async fn a_backup_of_a_killed_server_has_everything() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::on(directory.path()).await;
    server.create(&ad("Acknowledged")).await;
    server.process.kill().await;
    let copy = tempfile::tempdir().unwrap();
    let ended = backup(directory.path(), &copy.path().join("journal.sqlite")).await;
    assert_eq!(ended.status.code(), Some(0), "{ended:#?}");
    assert_eq!(journal::read(copy.path()).ads.len(), 1);
    assert_eq!(Server::on(directory.path()).await.ads().await, 1);
}

#[tokio::test]
async fn a_backup_that_cannot_be_made_leaves_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::on(directory.path()).await;
    server.create(&ad("Acknowledged")).await;
    server.stop().await;
    let there = names(directory.path());
    // A database of SQLite's, and no journal.
    let other = tempfile::tempdir().unwrap();
    std::fs::write(other.path().join("journal.sqlite"), "").unwrap();
    let to = tempfile::tempdir().unwrap();
    let taken = to.path().join("taken");
    std::fs::write(&taken, "somebody's").unwrap();
    for (from, to, says) in [
        (directory.path(), taken.clone(), "is there already"),
        (directory.path(), to.path().to_owned(), "is there already"),
        (directory.path(), to.path().join("missing/copy"), "cannot write"),
        (to.path(), to.path().join("copy"), "there is no journal"),
        (other.path(), to.path().join("copy"), "cannot read the journal"),
    ] {
        let ended = backup(from, &to).await;
        assert_eq!(ended.status.code(), Some(1), "{ended:#?}");
        assert!(matches!(ended.err.as_slice(), [line] if line.contains(says)), "{ended:#?}");
    }
    assert_eq!(std::fs::read_to_string(&taken).unwrap(), "somebody's");
    assert_eq!(names(to.path()), [taken]);
    assert_eq!(names(directory.path()), there);
}
