//! `placard seed`: generated ads, sent through the batch route.

use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, bail};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use placard_model::generator::Generator;
use placard_model::{Timestamp, limits};
use reqwest::{Client, ClientBuilder, StatusCode, Url};
use serde::Deserialize;

use crate::access;
use crate::options::SeedOptions;

/// How long one batch may take before it is sent again.
const DEADLINE: Duration = Duration::from_secs(30);
/// How often one batch is sent before giving up; the same key each time, so that none is created twice.
const TRIES: u32 = 10;
/// The pause between two tries.
const PAUSE: Duration = Duration::from_secs(1);
/// Where nobody watches a bar, a line is logged this often.
const LOG_EVERY: Duration = Duration::from_secs(5);

#[derive(Deserialize)]
struct Answer {
    created: u64,
    failed: u64,
    items: Vec<Item>,
}

#[derive(Deserialize)]
struct Item {
    error: Option<Problem>,
}

#[derive(Deserialize)]
struct Problem {
    detail: String,
}

pub(crate) async fn run(options: SeedOptions) -> anyhow::Result<()> {
    // The token is for the server, and for nobody in between.
    let client = Client::builder().no_proxy().default_headers(access::headers(&options.token)?);
    fill(client, options.target, options.ads, options.seed).await
}

/// Sends `ads` ads of `seed` to the server at `target`.
pub(crate) async fn fill(
    client: ClientBuilder,
    target: Url,
    ads: u64,
    seed: u64,
) -> anyhow::Result<()> {
    let route = target.join("/api/v1/ad/batch").context("cannot name the batch route")?;
    let client = client.timeout(DEADLINE).build().context("cannot make a client")?;
    // A run of its own each time: seeding twice means twice the ads.
    let run = format!("{:x}", now().micros());
    let mut generator = Generator::new(seed, now());
    let progress = Progress::new(ads);
    let mut sent = 0;
    while sent < ads {
        let size = (ads - sent).min(limits::BATCH_ITEMS_MAX as u64);
        let batch: Vec<_> =
            generator.by_ref().take(size as usize).map(|spec| spec.to_json()).collect();
        let body = serde_json::to_vec(&batch).context("cannot serialise a batch")?;
        let key = format!("seed-{run}-{sent}");
        let answer = send(&client, &route, &key, body).await?;
        if answer.failed > 0 || answer.created != size {
            let first = answer.items.into_iter().find_map(|item| item.error);
            let why = first.map_or_else(|| "it does not say why".to_owned(), |error| error.detail);
            bail!("the server refused {} ads of a batch of {size}: {why}", answer.failed);
        }
        sent += size;
        progress.at(sent);
    }
    progress.finish();
    Ok(())
}

/// Sends one batch until there is a definite answer to it.
async fn send(client: &Client, route: &Url, key: &str, body: Vec<u8>) -> anyhow::Result<Answer> {
    for tried in 1.. {
        let request = client
            .post(route.clone())
            .header("Content-Type", "application/json")
            .header("Idempotency-Key", key)
            .body(body.clone());
        let problem = match request.send().await {
            Ok(response) => match response.status() {
                StatusCode::OK | StatusCode::ACCEPTED => {
                    return response.json().await.context("the server's answer is not its own");
                }
                StatusCode::SERVICE_UNAVAILABLE | StatusCode::GATEWAY_TIMEOUT => {
                    anyhow::anyhow!("{route} answers {}", response.status())
                }
                StatusCode::UNAUTHORIZED => {
                    bail!("{route} wants a token that it knows: give a --token-file")
                }
                status => bail!("{route} answers {status}"),
            },
            Err(error) => anyhow::Error::new(error).context(format!("cannot reach {route}")),
        };
        if tried == TRIES {
            return Err(problem);
        }
        tracing::debug!(%problem, tried, "sending the batch again");
        tokio::time::sleep(PAUSE).await;
    }
    unreachable!("the last try returns")
}

fn now() -> Timestamp {
    let since_epoch = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    let micros = since_epoch.map_or(0, |elapsed| elapsed.as_micros() as i64);
    Timestamp::EPOCH.saturating_add_micros(micros)
}

/// A bar on a terminal, log lines elsewhere.
struct Progress {
    bar: ProgressBar,
    ads: u64,
    started: Instant,
    logged: std::cell::Cell<Instant>,
}

impl Progress {
    fn new(ads: u64) -> Self {
        let bar = ProgressBar::with_draw_target(Some(ads), ProgressDrawTarget::stderr());
        let style = ProgressStyle::with_template(
            "{bar:40} {human_pos}/{human_len} ads, {per_sec}, {eta} left",
        );
        if let Ok(style) = style {
            bar.set_style(style);
        }
        let now = Instant::now();
        Self { bar, ads, started: now, logged: std::cell::Cell::new(now) }
    }

    fn at(&self, sent: u64) {
        self.bar.set_position(sent);
        if self.bar.is_hidden() && self.logged.get().elapsed() >= LOG_EVERY {
            self.logged.set(Instant::now());
            tracing::info!(sent, of = self.ads, "sending ads");
        }
    }

    fn finish(&self) {
        self.bar.finish_and_clear();
        let seconds = self.started.elapsed().as_secs_f64();
        let rate = (self.ads as f64 / seconds.max(f64::MIN_POSITIVE)).round();
        eprintln!("sent {} ads in {seconds:.1} s, {rate} a second", self.ads);
    }
}
