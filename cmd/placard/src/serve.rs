//! `placard serve`: the embedded server on a directory that lasts, or a replica of a cluster, until a signal
//! stops it.

use std::error::Error;
use std::net::SocketAddr;

use anyhow::Context;
use placard_model::limits;
use placard_node::{Config, Listeners, Node};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::net::TcpListener;

use crate::config;
use crate::misconfigured::Misconfigured;
use crate::notify;
use crate::options::serve::ServeOptions;
use crate::output::{Log, announce};
use crate::signals::Signals;

/// File descriptors of a server beside its connections: files, and connections to other servers.
const OWN_DESCRIPTORS: u64 = 128;

pub(crate) async fn run(options: ServeOptions, log: &Log) -> anyhow::Result<()> {
    let signals = Signals::listen()?;
    let (listen, admin_listen) = (options.listen, options.admin_listen);
    let mut config = config::config(options).map_err(Misconfigured::new)?;
    config.api.log_lost = log.lost();
    prepare(config.connections.max);
    let storage = config.storage.clone();
    let node = start(listen, admin_listen, config).await?;
    config::tell(&storage);
    let (handle, address, admin) = (node.handle().clone(), node.address(), node.admin_address());
    let opening = async move {
        handle.ready().await;
        notify::ready();
        let board = admin.map(|admin| format!("Its task board is at http://{admin}\n"));
        let board = board.unwrap_or_default();
        announce(format!("Placard is serving at http://{address}\n{board}")).await;
        Ok(())
    };
    until_stopped(node, signals, opening).await
}

/// Starts a node, and says where it failed if it does.
pub(crate) async fn start(
    listen: SocketAddr,
    admin_listen: Option<SocketAddr>,
    config: Config,
) -> anyhow::Result<Node> {
    let api = bind(listen)?;
    let admin = match admin_listen {
        Some(listen) => Some(bind(listen)?),
        None => None,
    };
    Ok(Node::start(config, Listeners { api, admin }).await?)
}

pub(crate) fn bind(listen: SocketAddr) -> anyhow::Result<TcpListener> {
    placard_node::listen(listen).with_context(|| format!("cannot listen on {listen}"))
}

/// Raises the limit of file descriptors for `connections_max` connections, and logs what the system does not give.
fn prepare(connections_max: usize) {
    let given = getrlimit(Resource::Nofile);
    // If the system refuses, the limit stays as it was.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: given.maximum, ..given });
    let descriptors = getrlimit(Resource::Nofile).current;
    let needed = (connections_max + limits::CONNECTIONS_RESERVED) as u64 + OWN_DESCRIPTORS;
    if let Some(descriptors) = descriptors.filter(|descriptors| *descriptors < needed) {
        tracing::warn!(
            descriptors,
            needed,
            "fewer file descriptors than connections need: raise the limit (ulimit -n)"
        );
    }
    if let Some(backlog) = placard_node::short_backlog() {
        let wanted = limits::BACKLOG;
        tracing::info!(
            backlog,
            wanted,
            "few connections can wait to be accepted: raise net.core.somaxconn"
        );
    }
}

/// Runs `opening`, and waits for a signal, which may come before `opening` is done, or for a task of the node to fail,
/// which is an error. Then stops the node, which finishes what it still can; a second signal ends it at once.
pub(crate) async fn until_stopped(
    mut node: Node,
    mut signals: Signals,
    opening: impl Future<Output = anyhow::Result<()>>,
) -> anyhow::Result<()> {
    let broken = async {
        match opening.await {
            Ok(()) => std::future::pending().await,
            Err(error) => error,
        }
    };
    let failed = tokio::select! {
        signal = signals.stop() => {
            tracing::info!(signal, "stopping");
            None
        }
        failed = node.failed() => {
            let cause = failed.source().map(ToString::to_string);
            tracing::error!(error = %failed, cause, "stopping");
            Some(failed)
        }
        error = broken => return Err(error),
    };
    notify::stopping(node.stop_deadline());
    let stopped = tokio::select! {
        stopped = node.stop() => stopped,
        signal = signals.insists() => anyhow::bail!("received a second signal, exiting immediately, {signal}"),
    };
    if let Some(failed) = failed {
        return Err(failed.into());
    }
    if !stopped? {
        tracing::warn!("stopped before every request was finished");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use placard_model::TraceContext;
    use placard_node::Storage;
    use placard_node::spans::{Arrival, Serving, SpanCounts, Spans, Stage, Step};
    use placard_testkit::wait::until;
    use reqwest::{Client, StatusCode};

    use super::*;

    /// A port that fails as no port should.
    #[derive(Debug)]
    struct Panics;

    struct Traced;

    impl Spans for Panics {
        fn arrived(&self, arrival: &Arrival<'_>) -> Option<Box<dyn Serving>> {
            assert!(!arrival.path.ends_with("/panic"), "as a test wants it, in a connection");
            Some(Box::new(Traced))
        }

        fn done(&self, step: &Step) {
            let commits = matches!(step.stage, Stage::Commit { .. });
            assert!(!commits, "as a test wants it, in the task that commits");
        }

        fn counts(&self) -> SpanCounts {
            SpanCounts::default()
        }
    }

    impl Serving for Traced {
        fn context(&self) -> TraceContext {
            TraceContext { trace_id: 1, span_id: 1 }
        }

        fn answered(self: Box<Self>, _: u16) {}
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn panic_ends_one_connection_or_fails_the_program() {
        const AD: &str = r#"{"title":"Not to be seen","content":"content",
            "start_at":"2026-01-01T00:00:00Z","end_at":"2099-12-31T00:00:00Z"}"#;
        let directory = tempfile::tempdir().expect("a directory can be made");
        let mut config = Config {
            storage: Storage::Embedded(directory.path().to_owned()),
            drain_delay: Duration::ZERO,
            connections: Default::default(),
            api: Default::default(),
            replica: Default::default(),
            traces: None,
        };
        config.replica.spans = Some(Arc::new(Panics));
        let listen = "127.0.0.1:0".parse().expect("an address");
        let node = start(listen, None, config).await.expect("a node starts");
        let (handle, url) = (node.handle().clone(), format!("http://{}", node.address()));
        handle.ready().await;
        let client = Client::builder().no_proxy().build().expect("a client can be made");
        let opening = async {
            let get = |path: &str| client.get(format!("{url}{path}")).send();
            assert!(get("/api/v1/ad/panic").await.is_err(), "its connection is gone");
            // The client sees the end of its connection before the panic is counted.
            until("the panic to be counted", async || {
                let metrics = get("/metrics").await.expect("other connections go on");
                assert_eq!(metrics.status(), StatusCode::OK);
                let metrics = metrics.text().await.expect("metrics are text");
                metrics.contains("placard_connection_panics_total 1").then_some(())
            })
            .await;
            let post = client.post(format!("{url}/api/v1/ad")).body(AD);
            // It may have an answer, or none.
            let _ = post.header("content-type", "application/json").send().await;
            Ok(())
        };
        let signals = Signals::listen().expect("signals can be listened for");
        let stopping = until_stopped(node, signals, opening);
        let ended = tokio::time::timeout(Duration::from_secs(60), stopping).await;
        let error = ended.expect("it ends").expect_err("a task has panicked");
        assert_eq!(error.to_string(), "a task of the replica has ended unexpectedly");
    }
}
