//! Standard output and error that cannot be written: it costs lines, and nothing else.

use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, ErrorKind, PipeReader, Write, pipe};
use std::path::Path;
use std::process::Stdio;

use placard_testkit::process::Process;
use placard_testkit::wait::until;
use rustix::io::ioctl_fionbio;

use crate::journal;
use crate::seed::server as answering;
use crate::server::{ANY_PORT, PLACARD, Server, ad, client};

/// The targets of both outputs of a process, and handles that must be kept meanwhile.
struct Outputs {
    what: &'static str,
    out: Stdio,
    err: Stdio,
    _reader: Option<PipeReader>,
}

fn both(what: &'static str, to: &File, reader: Option<PipeReader>) -> Outputs {
    let another = || to.try_clone().expect("a file can be shared").into();
    Outputs { what, out: another(), err: another(), _reader: reader }
}

fn full_disk() -> File {
    OpenOptions::new().write(true).open("/dev/full").expect("Linux has /dev/full")
}

/// Returns a pipe without a reader.
fn gone() -> File {
    let (_, writer) = pipe().expect("a pipe can be made");
    File::from(std::os::fd::OwnedFd::from(writer))
}

/// A pipe that is full, with a reader that does not read.
fn full_pipe(nonblocking: bool) -> (File, PipeReader) {
    let (reader, writer) = pipe().expect("a pipe can be made");
    let mut writer = File::from(std::os::fd::OwnedFd::from(writer));
    ioctl_fionbio(&writer, true).expect("a pipe can be made not to block");
    // Single bytes at the end: a pipe may have room for a short line where it has none for a long one.
    for bytes in [&[b'x'; 4_096][..], b"x"] {
        let full = loop {
            if let Err(error) = writer.write_all(bytes) {
                break error;
            }
        };
        assert_eq!(full.kind(), ErrorKind::WouldBlock);
    }
    ioctl_fionbio(&writer, nonblocking).expect("a pipe can be made to block");
    (writer, reader)
}

/// A reader that has enough after two lines.
fn two_lines() -> File {
    let (reader, writer) = pipe().expect("a pipe can be made");
    std::thread::spawn(move || BufReader::new(reader).lines().take(2).for_each(drop));
    File::from(std::os::fd::OwnedFd::from(writer))
}

fn broken() -> Vec<Outputs> {
    let (blocked, blocking_reader) = full_pipe(false);
    let (unready, unready_reader) = full_pipe(true);
    vec![
        both("a reader that has gone", &gone(), None),
        both("a reader that goes after two lines", &two_lines(), None),
        both("a full disk", &full_disk(), None),
        both("a full pipe that blocks", &blocked, Some(blocking_reader)),
        both("a full pipe that does not block", &unready, Some(unready_reader)),
    ]
}

fn serve(directory: &Path) -> Vec<String> {
    let data = directory.to_str().expect("the directory's name is text");
    ["serve", "--listen", ANY_PORT, "--data-dir", data, "--log", "debug"].map(str::to_owned).into()
}

/// Starts it, makes it log many requests, stops it, and checks what it has written.
async fn serves(what: &str, mut process: Process, directory: &Path, loses: bool) {
    let url = process.listens().await;
    let server = Server { process, url, client: client() };
    until("a ready server", async || {
        let asked = server.client.get(server.path("/readyz")).send().await;
        let answer = asked.unwrap_or_else(|error| panic!("{what}: {error}"));
        (answer.status() == 200).then_some(())
    })
    .await;
    for _ in 0..50 {
        assert_eq!(server.get("/api/v1/ad").await.status(), 200, "{what}");
    }
    server.create(&ad("Written all the same")).await;
    let metrics = server.get("/metrics").await.text().await.expect("metrics are text");
    let lost = metrics.lines().find_map(|line| line.strip_prefix("placard_log_lines_lost_total "));
    let lost: u64 = lost.and_then(|lost| lost.parse().ok()).expect("lost lines are counted");
    assert_eq!(lost > 0, loses, "{what}: {lost} lines are lost");
    server.process.terminate();
    assert_eq!(server.process.ended().await.status.code(), Some(0), "{what}");
    assert_eq!(journal::read(directory).ads.len(), 1, "{what}");
}

#[tokio::test]
async fn serve_outlives_its_output_whatever_breaks_it() {
    for outputs in broken() {
        let directory = tempfile::tempdir().unwrap();
        let arguments = serve(directory.path());
        let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
        let Outputs { what, out, err, _reader } = outputs;
        let process = Process::start_into(PLACARD, &arguments, &[], (out, err));
        // A line waits for its reader where it can, up to a bound that this test does not reach.
        let loses = !what.starts_with("a full pipe");
        serves(what, process, directory.path(), loses).await;
    }
}

#[tokio::test]
async fn serve_does_without_outputs_that_are_closed() {
    let directory = tempfile::tempdir().unwrap();
    let arguments = serve(directory.path());
    let closing = ["-c", r#"exec "$0" "$@" >&- 2>&-"#, PLACARD].map(str::to_owned);
    let all: Vec<_> = closing.iter().chain(&arguments).map(String::as_str).collect();
    serves("closed", Process::start("sh", &all, &[]), directory.path(), false).await;
}

#[tokio::test]
async fn codes_are_the_same_when_nobody_reads_the_errors() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::on(directory.path()).await;
    let data = directory.path().to_str().unwrap();
    for (arguments, code) in [
        (&["--bogus"][..], 2),
        (&["serve", "--log", "placard=[", "--listen", ANY_PORT], 2),
        (&["serve", "--listen", ANY_PORT, "--data-dir", data], 1),
        (&["seed", "--target", &server.url, "--ads", "3", "--log", "debug"], 0),
        (&["status", "--once", "--target", &server.url, "--log", "debug"], 0),
    ] {
        for to in [gone(), full_disk()] {
            let process = Process::start_into(PLACARD, arguments, &[], (Stdio::piped(), to.into()));
            assert_eq!(process.ended().await.status.code(), Some(code), "{arguments:?}");
        }
    }
    assert_eq!(server.ads().await, 6);
    server.stop().await;
}

/// A reader that does not read holds the one task up that looks at signals.
#[tokio::test]
async fn status_stops_while_nobody_reads_it() {
    let directory = tempfile::tempdir().unwrap();
    let asked = Server::on(directory.path()).await;
    let page = asked.get("/api/v1/cluster").await.text().await.unwrap();
    asked.stop().await;
    let answer = format!("HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n{page}");
    let (url, served) = answering(vec![answer]).await;
    let (blocked, _reader) = full_pipe(false);
    let status = ["status", "--once", "--target", &url];
    let process = Process::start_into(PLACARD, &status, &[], (blocked.into(), Stdio::piped()));
    // It listens to signals before it asks.
    served.await.unwrap();
    process.terminate();
    assert_eq!(process.ended().await.status.code(), Some(0));
}

/// A result that cannot be written completely is an error, unless its reader has gone.
#[tokio::test]
async fn results_that_cannot_be_written_are_errors() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::on(directory.path()).await;
    let data = directory.path().to_str().unwrap();
    let copy = directory.path().join("copy");
    let copy = copy.to_str().unwrap();
    for arguments in [
        &["--help"][..],
        &["--version"],
        &["help", "serve"],
        &["status", "--once", "--target", &server.url],
        &["backup", "--data-dir", data, "--to", copy],
    ] {
        for (to, code, errors) in [(gone(), 0, 0), (full_disk(), 1, 1)] {
            let process = Process::start_into(PLACARD, arguments, &[], (to.into(), Stdio::piped()));
            let ended = process.ended().await;
            assert_eq!(ended.status.code(), Some(code), "{arguments:?}: {ended:#?}");
            assert_eq!(ended.err.len(), errors, "{arguments:?}: {ended:#?}");
            assert!(
                ended.err.iter().all(|line| line.contains("cannot write to standard output")),
                "{ended:#?}"
            );
            let _ = std::fs::remove_file(copy);
        }
    }
    server.stop().await;
}
