//! `placard seed`: sends a number of ads through the batch route.

use std::io;
use std::time::{Duration, Instant};

use placard_testkit::process::{Ended, Process};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use crate::server::{ANY_PORT, PLACARD, Server};

#[tokio::test]
async fn seed_creates_the_requested_number_of_ads() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::on(directory.path()).await;
    for (ads, there) in [("0", 0), ("1", 1), ("2500", 2_501), ("2500", 5_001)] {
        let arguments = ["seed", "--target", &server.url, "--ads", ads, "--seed", "7"];
        let ended = Process::start(PLACARD, &arguments, &[]).ended().await;
        assert_eq!(ended.status.code(), Some(0), "{ended:#?}");
        assert_eq!(server.ads().await, there);
    }
    server.stop().await;
}

/// A trailing slash is what people copy out of a browser.
#[tokio::test]
async fn a_target_may_end_in_a_slash() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::on(directory.path()).await;
    let target = format!("{}/", server.url);
    let ended =
        Process::start(PLACARD, &["seed", "--target", &target, "--ads", "3"], &[]).ended().await;
    assert_eq!(ended.status.code(), Some(0), "{ended:#?}");
    assert_eq!(server.ads().await, 3);
}

/// A request for a batch, as it was sent, and when.
pub(crate) struct Batch {
    key: String,
    body: Vec<u8>,
    at: Instant,
}

/// Reads a request, answers it by these words, and closes the connection.
async fn serve(stream: TcpStream, answer: &str) -> io::Result<Batch> {
    let mut stream = BufReader::new(stream);
    let (mut key, mut length) = (String::new(), 0);
    let mut line = String::new();
    while stream.read_line(&mut line).await? > 0 && !line.trim_end().is_empty() {
        let (name, value) = line.trim_end().split_once(": ").unwrap_or_default();
        match name.to_ascii_lowercase().as_str() {
            "idempotency-key" => value.clone_into(&mut key),
            "content-length" => length = value.parse().map_err(io::Error::other)?,
            _ => {}
        }
        line.clear();
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await?;
    let at = Instant::now();
    stream.write_all(answer.as_bytes()).await?;
    stream.shutdown().await?;
    Ok(Batch { key, body, at })
}

/// Starts a server that gives these answers, each on a connection of its own, and then ends.
pub(crate) async fn server(
    answers: Vec<impl AsRef<str> + Send + 'static>,
) -> (String, JoinHandle<Vec<Batch>>) {
    let listener = TcpListener::bind(ANY_PORT).await.expect("there is a port");
    let url = format!("http://{}", listener.local_addr().expect("it listens somewhere"));
    let served = tokio::spawn(async move {
        let mut batches = Vec::new();
        for answer in answers {
            let (stream, _) = listener.accept().await.expect("somebody connects");
            batches.push(serve(stream, answer.as_ref()).await.expect("a whole request"));
        }
        batches
    });
    (url, served)
}

async fn seed(url: &str, arguments: &[&str]) -> Ended {
    let all = [&["seed", "--target", url, "--ads", "3"][..], arguments].concat();
    Process::start(PLACARD, &all, &[]).ended().await
}

const CREATED: &str =
    "HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n{\"created\":3,\"failed\":0,\"items\":[]}";

#[tokio::test]
async fn batch_of_unknown_outcome_is_resent_with_its_key() {
    let (url, served) = server(vec![
        "HTTP/1.1 502 Bad Gateway\r\nconnection: close\r\ncontent-length: 0\r\n\r\n",
        "HTTP/1.1 504 Gateway Timeout\r\nconnection: close\r\n\r\n<html>",
        // No answer at all, and one that breaks off.
        "",
        "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 999\r\n\r\n{\"created\":3",
        "HTTP/1.1 503 Service Unavailable\r\nretry-after: 7\r\nconnection: close\r\n\r\n",
        CREATED,
    ])
    .await;
    let ended = seed(&url, &[]).await;
    assert_eq!(ended.status.code(), Some(0), "{ended:#?}");
    let batches = served.await.unwrap();
    assert!(!batches[0].key.is_empty());
    for batch in &batches {
        assert_eq!((&batch.key, &batch.body), (&batches[0].key, &batches[0].body));
    }
    let [.., asked, last] = &batches[..] else { panic!("too few requests") };
    assert!(last.at - asked.at >= Duration::from_secs(7), "it did not wait for what it was told");
    let says = |line: &String| line.ends_with("; 5 requests were sent again");
    assert!(ended.err.iter().any(says), "{ended:#?}");
}

#[tokio::test]
async fn a_batch_is_given_up_after_its_time() {
    let bad = "HTTP/1.1 502 Bad Gateway\r\nconnection: close\r\n\r\n";
    let (url, served) = server(vec![bad; 1_000]).await;
    let ended = seed(&url, &["--retry-for", "1"]).await;
    served.abort();
    assert_eq!(ended.status.code(), Some(1), "{ended:#?}");
    let [waits, line] = ended.err.as_slice() else { panic!("{ended:#?}") };
    assert!(waits.contains("WARN") && waits.contains("502"), "{waits}");
    for says in ["0 of 3 ads were sent", "may have been written", "502"] {
        assert!(line.contains(says), "{line}");
    }
}

#[tokio::test]
async fn a_refusal_after_an_unknown_outcome_says_both() {
    let (url, served) = server(vec![
        "HTTP/1.1 502 Bad Gateway\r\nconnection: close\r\ncontent-length: 0\r\n\r\n",
        "HTTP/1.1 500 Internal Server Error\r\nconnection: close\r\n\r\n",
    ])
    .await;
    let ended = seed(&url, &[]).await;
    assert_eq!(ended.status.code(), Some(1), "{ended:#?}");
    assert_eq!(served.await.unwrap().len(), 2);
    let line = ended.err.last().unwrap();
    assert!(line.contains("may have been written") && line.contains("500"), "{line}");
}

#[tokio::test]
async fn a_batch_that_is_refused_is_not_sent_again() {
    let (url, served) = server(vec!["HTTP/1.1 400 Bad Request\r\nconnection: close\r\n\r\n"]).await;
    let ended = seed(&url, &[]).await;
    assert_eq!(ended.status.code(), Some(1), "{ended:#?}");
    assert!(ended.err[0].contains("400"), "{ended:#?}");
    assert_eq!(served.await.unwrap().len(), 1);
}
