//! The private servers do what the tests that use them rely on.

use placard_cluster::servers::postgres::PostgresServer;
use placard_cluster::servers::redis::RedisServer;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Returns Redis' answer to one command.
async fn ask(server: &RedisServer, command: &str) -> String {
    ask_at(server.port(), command).await
}

/// The same of a Redis at this port.
async fn ask_at(port: u16, command: &str) -> String {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await.expect("it listens");
    stream.write_all(format!("{command}\r\nQUIT\r\n").as_bytes()).await.expect("it reads");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.expect("it answers");
    answer.trim_end_matches("+OK\r\n").to_owned()
}

#[tokio::test]
async fn redis_keeps_what_its_settings_say() {
    let mut server = RedisServer::start_with(&[("appendonly", "yes")]).await.unwrap();
    ask(&server, "SET key value").await;
    server.stop().await.unwrap();
    server.restart().await.unwrap();
    assert_eq!(ask(&server, "GET key").await, "$5\r\nvalue\r\n");
    server.restart_empty().await.unwrap();
    assert_eq!(ask(&server, "GET key").await, "$-1\r\n");
    server.restart_with(&[("appendonly", "no"), ("maxmemory", "7mb")]).await.unwrap();
    assert!(ask(&server, "CONFIG GET maxmemory").await.contains("7340032"));
    ask(&server, "SET key value").await;
    server.kill().await;
    server.restart().await.unwrap();
    assert_eq!(ask(&server, "GET key").await, "$-1\r\n");
}

#[tokio::test]
async fn a_paused_redis_answers_once_it_goes_on() {
    let server = RedisServer::start().await.unwrap();
    server.pause();
    let asked = ask(&server, "ECHO here");
    tokio::pin!(asked);
    let soon = tokio::time::timeout(std::time::Duration::from_millis(50), asked.as_mut()).await;
    assert!(soon.is_err());
    server.resume();
    assert_eq!(asked.await, "$4\r\nhere\r\n");
}

#[tokio::test]
async fn postgres_keeps_what_was_committed() {
    let mut server = PostgresServer::start_with(&[("work_mem", "7MB")]).await.unwrap();
    assert_eq!(server.sql("SHOW work_mem").unwrap(), "7MB");
    assert_eq!(server.sql("SHOW fsync").unwrap(), "on");
    server.sql("CREATE TABLE kept (word text); INSERT INTO kept VALUES ('value')").unwrap();
    server.stop().await.unwrap();
    assert!(server.sql("SELECT").is_err());
    server.restart().await.unwrap();
    server.kill().await;
    server.restart_with(&[("fsync", "off")]).await.unwrap();
    assert_eq!(server.sql("SELECT word FROM kept").unwrap(), "value");
    assert_eq!(server.sql("SHOW fsync").unwrap(), "off");
}

#[tokio::test]
async fn a_paused_postgres_answers_once_it_goes_on() {
    let server = PostgresServer::start().await.unwrap();
    let mut stream = TcpStream::connect(("127.0.0.1", server.port())).await.unwrap();
    server.pause();
    // The request for TLS, which is answered by one letter.
    stream.write_all(&[0, 0, 0, 8, 4, 210, 22, 47]).await.unwrap();
    let mut answer = [0];
    let answered = stream.read_exact(&mut answer);
    tokio::pin!(answered);
    let soon = tokio::time::timeout(std::time::Duration::from_millis(50), answered.as_mut()).await;
    assert!(soon.is_err());
    server.resume();
    answered.await.unwrap();
    assert_eq!(answer, *b"N");
}

#[tokio::test]
async fn a_dropped_server_leaves_nothing() {
    let server = RedisServer::start().await.unwrap();
    let (directory, port) = (server.directory().to_owned(), server.port());
    drop(server);
    assert!(!directory.exists());
    assert!(TcpStream::connect(("127.0.0.1", port)).await.is_err());
}

/// Started by the test below, in a process of its own.
#[tokio::test]
async fn victim() {
    let Some(told) = std::env::var_os("PLACARD_VICTIM") else { return };
    let server = RedisServer::start().await.unwrap();
    let directory = server.directory().to_string_lossy();
    std::fs::write(&told, format!("{}\n{directory}", server.port())).unwrap();
    std::future::pending::<()>().await;
}

#[tokio::test]
async fn a_server_dies_with_its_test_process() {
    let directory = tempfile::tempdir().unwrap();
    let told = directory.path().join("told");
    let mut test = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "victim"])
        .env("PLACARD_VICTIM", &told)
        .stdout(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let text =
        until(async || std::fs::read_to_string(&told).ok().filter(|t| t.contains('/'))).await;
    let (port, kept) = text.split_once('\n').unwrap();
    let port: u16 = port.parse().unwrap();
    // The kernel may send that to the group of a server whose parent has died, and Redis ignores it.
    let info = ask_at(port, "INFO server").await;
    let (_, id) = info.split_once("process_id:").unwrap();
    let group = format!("-{}", id.lines().next().unwrap());
    let hung_up = std::process::Command::new("kill").args(["-HUP", "--", &group]).status();
    assert!(hung_up.unwrap().success());
    test.kill().unwrap();
    test.wait().unwrap();
    until(async || TcpStream::connect(("127.0.0.1", port)).await.err()).await;
    until(async || (!std::path::Path::new(kept).exists()).then_some(())).await;
}

/// Waits until there is something.
async fn until<T>(mut condition: impl AsyncFnMut() -> Option<T>) -> T {
    let found = async {
        loop {
            if let Some(found) = condition().await {
                return found;
            }
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(30), found).await.expect("it comes to be")
}
