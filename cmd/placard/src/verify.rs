//! `placard verify`: recomputes the chain and the digest of a journal, of a cluster or of a standalone server, and compares
//! them with every replica's.

use std::path::PathBuf;

use anyhow::{Context, bail};
use placard_node::{Audited, Report};
use reqwest::header::HeaderMap;

use crate::misconfigured::Misconfigured;
use crate::options::VerifyOptions;
use crate::output::print;
use crate::{config, status};

/// Faults that are listed; a broken log may have millions.
const SHOWN: usize = 20;

pub(crate) async fn run(options: VerifyOptions) -> anyhow::Result<()> {
    let cluster = config::postgres_url(&options.postgres).map_err(Misconfigured::new)?;
    let (mut claims, mut unasked) = (Vec::new(), Vec::new());
    if let Some(target) = &options.target {
        // Asked first: what replicas have published by then is in the journal that is read afterwards.
        let cluster = status::fetch(&status::client(HeaderMap::new())?, target).await?;
        for member in cluster.members {
            let name = format!("replica {}", member.address);
            match member.silence() {
                // Its last report says nothing about what it has now, if it still runs at all.
                Some(silence) => unasked.push(format!("{name} was {silence}: it is not compared")),
                None if member.published.version == 0 => {
                    unasked.push(format!("{name} has published nothing: it is not compared"));
                }
                None => claims.push(Audited {
                    name,
                    version: member.published.version,
                    chain: member.published.chain,
                    digest: member.published.digest,
                }),
            }
        }
    }
    let report = match cluster {
        Some(url) => placard_node::verify_cluster(url, &claims).await?,
        None => {
            let directory = options.data_dir.unwrap_or_else(|| PathBuf::from(config::DATA_DIR));
            placard_node::verify_standalone(directory, &claims).await?
        }
    };
    let Report { base, head, entries, ads, records, wrong } = report;
    let records = match records {
        (0, 0, 0) => String::new(),
        (pools, holds, tombstones) => {
            format!("{pools} pools, {holds} holds, {tombstones} tombstones, ")
        }
    };
    let mut text = format!(
        "{entries} entries from version {base} to {head}, {ads} ads, {records}{} replicas compared\n",
        claims.len()
    );
    unasked.iter().for_each(|replica| text += &format!("{replica}\n"));
    wrong.iter().take(SHOWN).for_each(|fault| text += &format!("WRONG: {fault}\n"));
    if wrong.is_empty() {
        text += match (claims.len(), unasked.len()) {
            (0, _) => "The chain and the digest agree.\n",
            (_, 0) => "The chain, the digest and the replicas agree.\n",
            _ => "The chain, the digest and the replicas that were compared agree.\n",
        };
        return print(&text).map(drop);
    }
    // The faults are the outcome, whether or not the output still has a reader.
    let printed = print(&text);
    printed.with_context(|| format!("{} faults were found", wrong.len()))?;
    bail!("{} faults were found", wrong.len())
}
