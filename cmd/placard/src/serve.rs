//! `placard serve`: the embedded server on a directory that lasts, until a signal stops it.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use anyhow::Context;
use placard_node::{Config, Node};
use tokio::net::TcpListener;

use crate::options::ServeOptions;
use crate::signals;

pub(crate) async fn run(options: ServeOptions) -> anyhow::Result<()> {
    let mut node = start(options.listen, &options.data_dir, options.drain_delay).await?;
    ready(&mut node).await?;
    println!("Placard is serving at http://{}", node.address());
    until_stopped(node).await
}

/// Starts a node, and says where it failed if it does.
pub(crate) async fn start(
    listen: SocketAddr,
    data_dir: &Path,
    drain_delay: Duration,
) -> anyhow::Result<Node> {
    let listener =
        TcpListener::bind(listen).await.with_context(|| format!("cannot listen on {listen}"))?;
    let config = Config { data_dir: data_dir.to_owned(), drain_delay, replica: Default::default() };
    Ok(Node::start(config, listener).await?)
}

/// Waits until the node answers, or somebody has had enough of waiting.
pub(crate) async fn ready(node: &mut Node) -> anyhow::Result<()> {
    let handle = node.handle().clone();
    tokio::select! {
        () = handle.ready() => Ok(()),
        failed = node.failed() => Err(ended(failed)),
        signal = signals::stop() => anyhow::bail!("stopped by {} before it was ready", signal?),
    }
}

/// Waits for a signal, then stops the node; a second signal ends it at once.
pub(crate) async fn until_stopped(mut node: Node) -> anyhow::Result<()> {
    let signal = tokio::select! {
        signal = signals::stop() => signal.context("cannot wait for signals")?,
        failed = node.failed() => return Err(ended(failed)),
    };
    tracing::info!(signal, "stopping");
    tokio::select! {
        finished = node.stop() => {
            if !finished? {
                tracing::warn!("stopped before every request was finished");
            }
            Ok(())
        }
        signal = signals::stop() => anyhow::bail!("ended at once by a second signal, {}", signal?),
    }
}

fn ended(failed: Option<impl std::error::Error + Send + Sync + 'static>) -> anyhow::Error {
    failed.map_or_else(|| anyhow::anyhow!("a task of the replica has ended"), Into::into)
}
