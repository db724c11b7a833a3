//! `placard healthcheck`: for a container that has no other program to send a health check with.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use anyhow::{Context, bail};
use reqwest::Client;

use crate::options::HealthcheckOptions;

/// How long the answer may take. It comes from memory.
const DEADLINE: Duration = Duration::from_secs(2);

pub(crate) async fn run(options: HealthcheckOptions) -> anyhow::Result<()> {
    let mut server: SocketAddr = options.listen;
    // A server may listen on any address of IPv6 and on none of IPv4.
    if server.ip().is_unspecified() {
        server.set_ip(match server {
            SocketAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
            SocketAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
        });
    }
    let page = format!("http://{server}/readyz");
    let client = Client::builder().no_proxy().timeout(DEADLINE).build();
    let client = client.context("cannot make a client")?;
    let answer = client.get(&page).send().await.with_context(|| format!("cannot ask {page}"))?;
    if !answer.status().is_success() {
        bail!("{page} answers {}", answer.text().await.unwrap_or_default());
    }
    Ok(())
}
