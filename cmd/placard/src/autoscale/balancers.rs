//! Asks the balancers for their pages.

use std::time::Duration;

use anyhow::{Context, ensure};
use placard_node::Outage;
use reqwest::redirect::Policy;
use reqwest::{Client, Url};
use tokio::task::JoinSet;

use super::page::Page;

/// How long a balancer may take to answer.
const DEADLINE: Duration = Duration::from_secs(2);
/// The most of a page that is read. HAProxy's is some 80 bytes for each number of each server.
const PAGE_BYTES_MAX: usize = 16 << 20;

/// The balancers, and whether each answers.
#[derive(Debug)]
pub(crate) struct Balancers {
    client: Client,
    backend: String,
    all: Vec<(Url, Outage)>,
}

impl Balancers {
    /// Begins with the URLs of their pages.
    pub(crate) fn new(urls: Vec<Url>, backend: String, every: Duration) -> anyhow::Result<Self> {
        // Another place than the operator's may be anything, and its address may hold a secret.
        let client = Client::builder().no_proxy().redirect(Policy::none()).timeout(DEADLINE);
        let client = client.build();
        let client = client.context("cannot make a client")?;
        let outage = || Outage::of("a balancer cannot be read").tried_every(every);
        Ok(Self { client, backend, all: urls.into_iter().map(|url| (url, outage())).collect() })
    }

    /// Asks all of them at the same time. Returns the page of each in their order, or `None` of one that has not
    /// answered, which is logged.
    pub(crate) async fn pages(&mut self) -> Vec<Option<Page>> {
        let mut asked = JoinSet::new();
        for (nth, (url, _)) in self.all.iter().enumerate() {
            let (client, url, backend) = (self.client.clone(), url.clone(), self.backend.clone());
            asked.spawn(async move { (nth, page(&client, url, &backend).await) });
        }
        let mut pages = vec![None; self.all.len()];
        for (nth, answer) in asked.join_all().await {
            let (url, outage) = &mut self.all[nth];
            match answer.with_context(|| format!("cannot use {url}")) {
                Ok(page) => {
                    outage.works();
                    pages[nth] = Some(page);
                }
                Err(error) => outage.failed(error.as_ref()),
            }
        }
        pages
    }
}

async fn page(client: &Client, mut url: Url, backend: &str) -> anyhow::Result<Page> {
    // The rest would be eight times as long.
    url.set_query(Some("scope=global&scope=backend&scope=server&no-maint"));
    let mut answer = client.get(url).send().await?.error_for_status()?;
    ensure!(answer.status().is_success(), "it leads elsewhere ({})", answer.status());
    let mut text = Vec::new();
    while let Some(chunk) = answer.chunk().await? {
        ensure!(text.len() + chunk.len() <= PAGE_BYTES_MAX, "the page is too long");
        text.extend_from_slice(&chunk);
    }
    Page::parse(&String::from_utf8_lossy(&text), backend)
}
