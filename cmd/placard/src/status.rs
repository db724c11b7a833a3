//! `placard status`: the replicas of a cluster as a table, refreshed on a terminal.

use std::fmt::Write as _;
use std::io::{self, IsTerminal};
use std::time::Duration;

use anyhow::Context;
use reqwest::header::HeaderMap;
use reqwest::{Client, Url};
use serde::Deserialize;

use crate::access;
use crate::misconfigured::Misconfigured;
use crate::options::StatusOptions;
use crate::output::{Reader, print_aside};
use crate::signals::Signals;

/// How long a replica may take to answer.
const DEADLINE: Duration = Duration::from_secs(5);
/// The pause between two looks.
const REFRESH: Duration = Duration::from_secs(1);
/// A replica polls four times a second: one that has been silent for longer than this may be gone, whatever it said
/// last.
const SILENT_MS: i64 = 2_000;
/// Moves the cursor home and clears what is below it.
const CLEAR: &str = "\x1b[H\x1b[J";

/// The fields of `/api/v1/cluster` that are used here.
#[derive(Debug, Deserialize)]
pub(crate) struct Cluster {
    replica: String,
    head: Position,
    stream: Stream,
    pub(crate) members: Vec<Member>,
}

#[derive(Debug, Deserialize)]
pub(crate) struct Position {
    pub(crate) version: u64,
    pub(crate) chain: String,
    pub(crate) digest: String,
}

#[derive(Debug, Deserialize)]
struct Stream {
    top: Option<u64>,
    entries: u64,
    fault: Option<String>,
}

#[derive(Debug, Deserialize)]
pub(crate) struct Member {
    replica: String,
    pub(crate) address: String,
    build: String,
    state: String,
    pub(crate) published: Position,
    lag_entries: u64,
    lag_ms: i64,
    lease_ms: i64,
    /// Older builds do not say.
    silent_ms: Option<i64>,
    clock_ahead_ms: f64,
    tails: String,
}

impl Member {
    /// Returns for how long the replica has been silent, if that is so long that it may be gone.
    pub(crate) fn silence(&self) -> Option<String> {
        let silent_ms = self.silent_ms.unwrap_or(-self.lease_ms);
        let is_silent = silent_ms > SILENT_MS || self.lease_ms < 0;
        is_silent.then(|| format!("not heard of for {} s", silent_ms.max(0) / 1_000))
    }

    /// Returns the state to show. For a replica whose row is missing, that says more than its silence.
    fn shown(&self) -> String {
        let is_missing = self.state == "missing";
        self.silence().filter(|_| !is_missing).unwrap_or_else(|| self.state.clone())
    }
}

pub(crate) async fn run(options: StatusOptions) -> anyhow::Result<()> {
    let client = client(access::headers(&options.token).map_err(Misconfigured::new)?)?;
    let watched = !options.once && io::stdout().is_terminal();
    let mut signals = Signals::listen()?;
    loop {
        let cluster = fetch(&client, &options.target).await?;
        let text = format!("{}{}\n", if watched { CLEAR } else { "" }, table(&cluster));
        let reader = tokio::select! {
            printed = print_aside(text) => printed?,
            _ = signals.stop() => return Ok(()),
        };
        if !watched || reader == Reader::Gone {
            return Ok(());
        }
        tokio::select! {
            () = tokio::time::sleep(REFRESH) => {}
            _ = signals.stop() => return Ok(()),
        }
    }
}

pub(crate) fn client(headers: HeaderMap) -> anyhow::Result<Client> {
    Client::builder()
        // The request goes to a replica, and no proxy in between may see the token.
        .no_proxy()
        .default_headers(headers)
        .timeout(DEADLINE)
        .build()
        .context("cannot make a client")
}

/// Asks a replica what it knows of its cluster.
pub(crate) async fn fetch(client: &Client, target: &Url) -> anyhow::Result<Cluster> {
    let page = target.join("/api/v1/cluster").context("cannot name the cluster's page")?;
    let answer = client.get(page.clone()).send().await;
    let answer = answer.and_then(reqwest::Response::error_for_status);
    let answer = answer.with_context(|| format!("cannot ask {page}"))?;
    answer.json().await.with_context(|| format!("{page} is not a Placard cluster page"))
}

fn table(cluster: &Cluster) -> String {
    let heads = [
        "replica", "state", "version", "lag", "lag ms", "tails", "lease ms", "clock ms", "digest",
        "build",
    ];
    let mut rows = vec![heads.map(str::to_owned).to_vec()];
    rows.extend(cluster.members.iter().map(|member| {
        let own = if member.replica == cluster.replica { "*" } else { "" };
        vec![
            format!("{}{own}", member.address),
            member.shown(),
            member.published.version.to_string(),
            member.lag_entries.to_string(),
            member.lag_ms.to_string(),
            member.tails.clone(),
            member.lease_ms.to_string(),
            format!("{:.1}", member.clock_ahead_ms),
            member.published.digest.chars().take(8).collect(),
            member.build.clone(),
        ]
    }));
    let widths: Vec<_> = (0..heads.len())
        .map(|column| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0))
        .collect();
    let top = cluster.stream.top.map_or_else(|| "-".to_owned(), |top| top.to_string());
    let mut text = format!(
        "head {} · stream to {top}, {} entries · {} replicas (* answers)\n",
        cluster.head.version,
        cluster.stream.entries,
        cluster.members.len(),
    );
    if let Some(fault) = &cluster.stream.fault {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "the stream is not used by the one that answers: {fault}");
    }
    for row in rows {
        let line: Vec<_> =
            row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        let _ = writeln!(text, "{}", line.join("  ").trim_end());
    }
    text.truncate(text.trim_end().len());
    text
}
