//! What a service manager learns through `NOTIFY_SOCKET`, as systemd does of a service of `Type=notify`.

use std::path::Path;
use std::time::Duration;

use placard_model::limits;
use placard_testkit::process::Process;
use placard_testkit::wait::PATIENCE;
use tokio::net::UnixDatagram;

use crate::server::{ANY_PORT, PLACARD, Server};

async fn received(socket: &UnixDatagram) -> String {
    let mut bytes = [0; 256];
    let received = tokio::time::timeout(PATIENCE, socket.recv(&mut bytes)).await;
    let length = received.expect("it comes in time").expect("a datagram can be received");
    String::from_utf8_lossy(&bytes[..length]).into_owned()
}

#[tokio::test]
async fn manager_learns_when_the_server_is_ready_and_stops() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("notify");
    let socket = UnixDatagram::bind(&path).unwrap();
    is_told(socket, path.to_str().unwrap(), directory.path()).await;
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn manager_may_listen_on_an_abstract_socket() {
    use std::os::linux::net::SocketAddrExt;
    use std::os::unix::net;
    let directory = tempfile::tempdir().unwrap();
    // The name is this machine's: a directory that only this test has makes it one of its own.
    let name = directory.path().join("notify").to_str().unwrap().to_owned();
    let address = net::SocketAddr::from_abstract_name(&name).unwrap();
    let socket = net::UnixDatagram::bind_addr(&address).unwrap();
    socket.set_nonblocking(true).unwrap();
    let socket = UnixDatagram::from_std(socket).unwrap();
    is_told(socket, &format!("@{name}"), directory.path()).await;
}

/// Starts and stops a server, which tells the socket so.
async fn is_told(socket: UnixDatagram, name: &str, directory: &Path) {
    let data = directory.join("data");
    let data = data.to_str().expect("the path is text");
    let arguments = ["serve", "--listen", ANY_PORT, "--data-dir", data];
    let delay = Duration::from_millis(300);
    let milliseconds = delay.as_millis().to_string();
    let variables = [("NOTIFY_SOCKET", name), ("PLACARD_DRAIN_DELAY", &*milliseconds)];
    let process = Process::start(PLACARD, &arguments, &variables);
    assert_eq!(received(&socket).await, "READY=1");
    let server = Server::of(process).await;
    assert_eq!(server.get("/readyz").await.status(), 200);

    server.process.terminate();
    let text = received(&socket).await;
    let wanted = text.strip_prefix("STOPPING=1\nEXTEND_TIMEOUT_USEC=");
    let wanted = wanted.and_then(|number| number.parse().ok()).map(Duration::from_micros);
    let wanted = wanted.unwrap_or_else(|| panic!("not a time: {text}"));
    assert!(wanted > delay + limits::STOP_DEADLINE + limits::CLOSE_DEADLINE, "{wanted:?}");
    let ended = server.process.ended().await;
    assert_eq!(ended.status.code(), Some(0), "{ended:#?}");
}

#[tokio::test]
async fn manager_out_of_reach_does_not_hinder_the_server() {
    let directory = tempfile::tempdir().unwrap();
    let gone = directory.path().join("gone");
    let data = directory.path().join("data");
    let arguments = ["serve", "--listen", ANY_PORT, "--data-dir", data.to_str().unwrap()];
    for (socket, warns) in [(gone.to_str().unwrap(), true), ("", false)] {
        let process = Process::start(PLACARD, &arguments, &[("NOTIFY_SOCKET", socket)]);
        let ended = Server::of(process).await.stop().await;
        let said = ended.err.iter().any(|line| line.contains("NOTIFY_SOCKET"));
        assert_eq!(said, warns, "{socket}: {ended:#?}");
    }
}
