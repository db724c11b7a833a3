//! `placard serve`: the embedded server on a directory that lasts, or a replica of a cluster, until a signal
//! stops it.

use std::net::SocketAddr;

use anyhow::Context;
use placard_node::{Config, Listeners, Node};
use tokio::net::TcpListener;

use crate::cluster;
use crate::options::ServeOptions;
use crate::output::{Log, announce};
use crate::signals::Signals;

pub(crate) async fn run(options: ServeOptions, log: &Log) -> anyhow::Result<()> {
    let signals = Signals::listen()?;
    let (listen, admin_listen) = (options.listen, options.admin_listen);
    let mut config = cluster::config(options)?;
    config.api.log_lost = log.lost();
    let storage = config.storage.clone();
    let node = start(listen, admin_listen, config).await?;
    cluster::tell(&storage);
    let (handle, address, admin) = (node.handle().clone(), node.address(), node.admin_address());
    let opening = async move {
        handle.ready().await;
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
    let api = bind(listen).await?;
    let admin = match admin_listen {
        Some(listen) => Some(bind(listen).await?),
        None => None,
    };
    Ok(Node::start(config, Listeners { api, admin }).await?)
}

async fn bind(listen: SocketAddr) -> anyhow::Result<TcpListener> {
    TcpListener::bind(listen).await.with_context(|| format!("cannot listen on {listen}"))
}

/// Does what there is to do at the `opening`, and waits for a signal, which may come before that is done.
/// Then stops the node; a second signal ends it at once.
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
    let signal = tokio::select! {
        signal = signals.stop() => signal,
        failed = node.failed() => return Err(ended(failed)),
        error = broken => return Err(error),
    };
    tracing::info!(signal, "stopping");
    tokio::select! {
        finished = node.stop() => {
            if !finished? {
                tracing::warn!("stopped before every request was finished");
            }
            Ok(())
        }
        signal = signals.stop() => anyhow::bail!("ended at once by a second signal, {signal}"),
    }
}

fn ended(failed: Option<impl std::error::Error + Send + Sync + 'static>) -> anyhow::Error {
    failed.map_or_else(|| anyhow::anyhow!("a task of the replica has ended"), Into::into)
}
