//! A server that is restarted again and again under clients that keep their connections: what was sent is answered.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use placard_testkit::port::Port;
use placard_testkit::process::Process;
use placard_testkit::wait::until;
use placard_testkit::wire::{Wire, get, post};
use tokio::task::JoinSet;

use crate::server::{PLACARD, Server, ad};

const CLIENTS: usize = 64;
const RESTARTS: usize = 20;
const ADS: &str = "/api/v1/ad";

/// Sends one request after the other, and connects again when it is told to, or when nobody listens. Returns what it has
/// sent without getting an answer.
async fn client(
    url: String,
    request: String,
    status: u16,
    stop: Arc<AtomicBool>,
    answers: Arc<AtomicUsize>,
) -> Vec<String> {
    let mut failed = Vec::new();
    let mut wire = None;
    while !stop.load(Ordering::Relaxed) {
        let mut open = match wire.take() {
            Some(open) => open,
            None => match Wire::try_open(&url).await {
                Some(open) => open,
                None => {
                    tokio::time::sleep(Duration::from_millis(1)).await;
                    continue;
                }
            },
        };
        match open.ask(&request).await {
            Some(answer) if answer.status == status => {
                answers.fetch_add(1, Ordering::Relaxed);
                wire = (!answer.is_last()).then_some(open);
            }
            // A server that has just started, and is as good as not there.
            Some(answer) if answer.status == 503 && !answer.is_last() => {}
            Some(answer) => failed.push(answer.head),
            None => failed.push("no answer".to_owned()),
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    failed
}

async fn serving(directory: &str, listen: &str) -> Server {
    let arguments = ["serve", "--listen", listen, "--data-dir", directory];
    Server::of(Process::start(PLACARD, &arguments, &[])).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn busy_clients_see_no_failed_request_in_twenty_restarts() {
    let directory = tempfile::tempdir().unwrap();
    let directory = directory.path().to_str().unwrap();
    let port = Port::reserve();
    let listen = port.address().to_string();
    let mut server = serving(directory, &listen).await;
    let (stop, answers) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let mut clients = JoinSet::new();
    let body = ad("Written while it restarts").to_string();
    for number in 0..CLIENTS {
        // Reads, and writes without keys.
        let (request, status) =
            if number % 2 == 0 { (get(ADS), 200) } else { (post(ADS, &body), 201) };
        clients.spawn(client(
            server.url.clone(),
            request,
            status,
            Arc::clone(&stop),
            Arc::clone(&answers),
        ));
    }
    for _ in 0..RESTARTS {
        let before = answers.load(Ordering::Relaxed);
        until("answers for the clients", async || {
            (answers.load(Ordering::Relaxed) >= before + CLIENTS * 2).then_some(())
        })
        .await;
        server.stop().await;
        server = serving(directory, &listen).await;
    }
    stop.store(true, Ordering::Relaxed);
    let failed = clients.join_all().await.concat();
    assert!(
        failed.is_empty(),
        "{} of {} failed: {failed:#?}",
        failed.len(),
        answers.load(Ordering::Relaxed)
    );
}
