//! `placard verify`: recomputes the chain and the digest of a cluster's journal, and compares them with every
//! replica's.

use anyhow::bail;
use placard_node::{Audited, Report};
use reqwest::header::HeaderMap;

use crate::options::VerifyOptions;
use crate::serve::say;
use crate::{cluster, status};

/// Faults that are listed; a broken log may have millions.
const SHOWN: usize = 20;

pub(crate) async fn run(options: VerifyOptions) -> anyhow::Result<()> {
    let url = cluster::required_postgres_url(&options.postgres)?;
    let mut claims = Vec::new();
    if let Some(target) = &options.target {
        // Asked first: what replicas have published by then is in the journal that is read afterwards.
        let cluster = status::fetch(&status::client(HeaderMap::new())?, target).await?;
        let published = cluster.members.into_iter().filter(|member| member.published.version > 0);
        claims.extend(published.map(|member| Audited {
            name: format!("replica {}", member.address),
            version: member.published.version,
            chain: member.published.chain,
            digest: member.published.digest,
        }));
    }
    let Report { base, head, entries, ads, wrong } = placard_node::verify(&url, &claims).await?;
    say(&format!(
        "{entries} entries from version {base} to {head}, {ads} ads, {} replicas compared",
        claims.len()
    ));
    wrong.iter().take(SHOWN).for_each(|fault| say(&format!("WRONG: {fault}")));
    if wrong.is_empty() {
        say("The chain, the digest and the replicas agree.");
        return Ok(());
    }
    bail!("{} faults were found", wrong.len())
}
