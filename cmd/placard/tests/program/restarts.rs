//! A server that is restarted repeatedly under clients that keep their connections: every sent request is answered.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use placard_model::limits;
use placard_testkit::port::Port;
use placard_testkit::process::Process;
use placard_testkit::wait::until;
use placard_testkit::wire::{Wire, get, post};
use tokio::task::JoinSet;

use crate::server::{PLACARD, Server, ad};

const CLIENTS: usize = 64;
const RESTARTS: usize = 20;
const ADS: &str = "/api/v1/ad";
/// The problems that a server answers with until it has its state.
const STARTING: [&str; 2] = ["/problems/not-ready", "/problems/stale"];

/// State that the clients share with their test.
#[derive(Default)]
struct Shared {
    stop: AtomicBool,
    answers: AtomicUsize,
    /// The number of the server's current start.
    start: AtomicUsize,
    /// The last start that has answered a read as it should, and a write.
    served: [AtomicUsize; 2],
}

/// Sends one request after another, and connects again when an answer says so, or when no server listens. Returns the
/// unexpected answers, and a text for each missing one.
async fn client(url: String, request: String, status: u16, shared: Arc<Shared>) -> Vec<String> {
    let Shared { stop, answers, start, served } = &*shared;
    let served = &served[usize::from(status == 201)];
    let mut failed = Vec::new();
    let mut wire = None;
    while !stop.load(Ordering::Relaxed) {
        let (mut open, of, since) = match wire.take() {
            Some(open) => open,
            None => {
                let opened = Instant::now();
                match (start.load(Ordering::SeqCst), Wire::try_open(&url).await) {
                    // It may be a connection to either start.
                    (of, _) if of != start.load(Ordering::SeqCst) => continue,
                    (of, Some(open)) => (open, of, opened),
                    (_, None) => {
                        tokio::time::sleep(Duration::from_millis(1)).await;
                        continue;
                    }
                }
            }
        };
        let sent = Instant::now();
        // A server that stops serves idle connections for this long, and this client may have been held for longer. It has
        // not begun to stop before it has had the last request.
        let was_held = sent - since >= limits::LAST_REQUESTS;
        let had_served = served.load(Ordering::SeqCst) >= of;
        match open.ask(&request).await {
            Some(answer) if answer.status == status => {
                answers.fetch_add(1, Ordering::Relaxed);
                served.fetch_max(of, Ordering::SeqCst);
                wire = (!answer.is_last()).then_some((open, of, sent));
            }
            // It has just started, and has not served such a request yet.
            Some(answer)
                if !had_served && STARTING.iter().any(|kind| answer.body.contains(kind)) => {}
            Some(answer) => failed.push(answer.head + &answer.body),
            None if was_held => {}
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
async fn twenty_restarts_fail_no_request_of_busy_clients() {
    let directory = tempfile::tempdir().unwrap();
    let directory = directory.path().to_str().unwrap();
    let port = Port::reserve();
    let listen = port.address().to_string();
    let mut server = serving(directory, &listen).await;
    let shared = Arc::new(Shared { start: 1.into(), ..Shared::default() });
    let mut clients = JoinSet::new();
    let body = ad("Written while it restarts").to_string();
    for number in 0..CLIENTS {
        // Reads, and writes without keys.
        let (request, status) =
            if number % 2 == 0 { (get(ADS), 200) } else { (post(ADS, &body), 201) };
        clients.spawn(client(server.url.clone(), request, status, Arc::clone(&shared)));
    }
    for _ in 0..RESTARTS {
        let before = shared.answers.load(Ordering::Relaxed);
        until("answers for the clients", async || {
            (shared.answers.load(Ordering::Relaxed) >= before + CLIENTS * 2).then_some(())
        })
        .await;
        server.stop().await;
        shared.start.fetch_add(1, Ordering::SeqCst);
        server = serving(directory, &listen).await;
    }
    shared.stop.store(true, Ordering::Relaxed);
    let failed = clients.join_all().await.concat();
    assert!(
        failed.is_empty(),
        "{} of {} failed: {failed:#?}",
        failed.len(),
        shared.answers.load(Ordering::Relaxed)
    );
}
