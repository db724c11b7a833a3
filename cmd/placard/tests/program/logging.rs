//! What a server says in its log of what fails for a while.

use std::net::TcpStream;

use placard_testkit::process::Process;
use placard_testkit::wait::until;

use crate::server::{ANY_PORT, PLACARD, Server};

/// Twenty times a second it is tried again.
#[tokio::test]
async fn descriptor_shortage_is_logged_at_start_and_end() {
    const FEW: &str = "ulimit -n 48 && exec \"$@\"";
    const FAILS: &str = "connections cannot be accepted";
    let directory = tempfile::tempdir().unwrap();
    let directory = directory.path().to_str().unwrap();
    let serve = [PLACARD, "serve", "--listen", ANY_PORT, "--data-dir", directory];
    let server = Server::of(Process::start("sh", &[&["-c", FEW, "sh"], &serve[..]].concat(), &[]));
    let server = server.await;
    let address = server.url.trim_start_matches("http://");
    let silent: Vec<_> = (0..200).map(|_| TcpStream::connect(address).unwrap()).collect();
    let begins = |line: &&String| line.contains(" WARN ") && line.contains(FAILS);
    until("the first failure", async || server.process.err().iter().find(begins).cloned()).await;
    drop(silent);
    let over = format!("over: {FAILS}");
    let ended = |line: &&String| line.contains(&over);
    until("the end", async || {
        // It ends with a connection that is accepted.
        drop(TcpStream::connect(address).unwrap());
        let log = server.process.err();
        let count = log.iter().filter(ended).count();
        (count > 0 && count == log.iter().filter(begins).count()).then_some(())
    })
    .await;
    let log = server.process.err();
    let failures = log.iter().filter(ended).map(|line| {
        let count = line.split("failures=").nth(1).and_then(|rest| rest.split(' ').next());
        count.and_then(|count| count.parse::<usize>().ok()).expect("it says how many")
    });
    assert!(failures.sum::<usize>() > log.iter().filter(begins).count(), "{log:#?}");
    assert_eq!(server.get("/readyz").await.status(), 200);
}
