//! SIGTERM, SIGINT and SIGHUP: `/readyz` says so, requests under way are finished, and the program ends with code 0.

use placard_testkit::process::Process;
use placard_testkit::wait::until;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::server::{ANY_PORT, PLACARD, Server, ad};

async fn ends_well(process: Process) {
    let ended = process.ended().await;
    assert_eq!(ended.status.code(), Some(0), "{ended:#?}");
}

/// The signal is sent as soon as the server says that it serves, while a client keeps its connection.
#[tokio::test]
async fn each_signal_stops_the_server_cleanly() {
    let directory = tempfile::tempdir().unwrap();
    for signal in
        [Process::terminate, Process::interrupt, Process::hang_up].into_iter().cycle().take(6)
    {
        let server = Server::on(directory.path()).await;
        signal(&server.process);
        ends_well(server.process).await;
        let server = Server::on(directory.path()).await;
        server.create(&ad("Kept alive")).await;
        signal(&server.process);
        ends_well(server.process).await;
    }
}

/// The signal is sent as soon as the server has printed anything: it may still be restoring, or has just begun to
/// serve.
#[tokio::test]
async fn signal_during_startup_stops_the_server_cleanly() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().to_str().unwrap();
    for _ in 0..8 {
        let arguments = ["serve", "--listen", ANY_PORT, "--data-dir", data, "--log", "debug"];
        let mut process = Process::start(PLACARD, &arguments, &[]);
        process.first_words().await;
        process.terminate();
        ends_well(process).await;
    }
}

/// The code of a health check as a container's engine runs it.
async fn health(server: &Server) -> Option<i32> {
    let listen = server.url.trim_start_matches("http://");
    let asked = Process::start(PLACARD, &["healthcheck"], &[("PLACARD_LISTEN", listen)]);
    asked.ended().await.status.code()
}

#[tokio::test]
async fn server_drains_before_it_stops() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::with(directory.path(), &["--drain-delay", "1500"]).await;
    assert_eq!(server.get("/readyz").await.status(), 200);
    assert_eq!(health(&server).await, Some(0));
    server.process.terminate();
    until("a 503 on /readyz", async || {
        let ready = server.get("/readyz").await;
        (ready.status() == 503).then_some(())
    })
    .await;
    assert_eq!(health(&server).await, Some(1));
    // It still serves those who have not noticed.
    server.create(&ad("During the drain")).await;
    assert_eq!(server.json("/api/v1/ad").await["total"], 1);
    assert_eq!(server.get("/livez").await.status(), 200);
    assert_eq!(server.process.ended().await.status.code(), Some(0));
    assert_eq!(Server::on(directory.path()).await.ads().await, 1);
}

#[tokio::test]
async fn requests_under_way_are_finished() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::on(directory.path()).await;
    let address = server.url.trim_start_matches("http://").to_owned();
    let body = ad("Begun before, done after").to_string();
    let (first, second) = body.split_at(body.len() / 2);
    let mut stream = TcpStream::connect(&address).await.unwrap();
    let head = format!(
        "POST /api/v1/ad HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    stream.write_all(first.as_bytes()).await.unwrap();
    // An answer to a later connection means that the earlier one has been accepted.
    assert_eq!(server.get("/livez").await.status(), 200);
    server.process.terminate();
    until("the end of listening", async || TcpStream::connect(&address).await.err()).await;
    stream.write_all(second.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 201 "), "{answer}");
    assert_eq!(server.process.ended().await.status.code(), Some(0));
    assert_eq!(Server::on(directory.path()).await.ads().await, 1);
}

#[tokio::test]
async fn a_client_that_never_finishes_is_not_waited_for() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::on(directory.path()).await;
    let address = server.url.trim_start_matches("http://").to_owned();
    let mut stream = TcpStream::connect(&address).await.unwrap();
    let head = "POST /api/v1/ad HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 99\r\n\r\n";
    stream.write_all(head.as_bytes()).await.unwrap();
    assert_eq!(server.get("/livez").await.status(), 200);
    server.process.terminate();
    assert_eq!(server.process.ended().await.status.code(), Some(0));
}

#[tokio::test]
async fn second_signal_stops_the_server_at_once() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::with(directory.path(), &["--drain-delay", "600000"]).await;
    server.process.terminate();
    until("a 503 on /readyz", async || (server.get("/readyz").await.status() == 503).then_some(()))
        .await;
    // One that comes right behind the first is the same.
    let Server { mut process, .. } = server;
    until("the end", async || {
        process.interrupt();
        process.has_ended().then_some(())
    })
    .await;
    let ended = process.ended().await;
    assert_eq!(ended.status.code(), Some(1), "{ended:#?}");
}

/// A terminal and the program's parent may both pass it on.
#[tokio::test]
async fn signal_doubled_at_once_counts_as_one() {
    let directory = tempfile::tempdir().unwrap();
    for _ in 0..3 {
        let server = Server::with(directory.path(), &["--drain-delay", "500"]).await;
        server.process.terminate();
        server.process.terminate();
        server.process.interrupt();
        ends_well(server.process).await;
    }
}

/// An operator who starts a server with nohup closes the terminal afterwards.
#[tokio::test]
async fn a_server_under_nohup_outlives_its_terminal() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().to_str().unwrap();
    let arguments = [PLACARD, "serve", "--listen", ANY_PORT, "--data-dir", data];
    let server = Server::of(Process::start("nohup", &arguments, &[])).await;
    server.process.hang_up();
    server.create(&ad("After the terminal has closed")).await;
    server.process.terminate();
    ends_well(server.process).await;
}
