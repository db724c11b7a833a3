//! `placard seed`: generated ads, sent through the batch route.

#![expect(
    clippy::disallowed_methods,
    reason = "it shows how fast it is, and generates ads around the present"
)]

use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use placard_model::generator::Generator;
use placard_model::limits;
use placard_node::system_now;
use reqwest::header::{HeaderMap, RETRY_AFTER};
use reqwest::{Client, ClientBuilder, StatusCode, Url};
use serde::Deserialize;

use crate::access;
use crate::misconfigured::Misconfigured;
use crate::options::{RETRY_FOR_DEFAULT, SeedOptions};
use crate::output::Log;

/// How long one batch may take before it is sent again.
const DEADLINE: Duration = Duration::from_secs(30);
/// The pause before a batch is sent again. It doubles with each try, up to the second; a server may ask for more.
const PAUSE_MIN: Duration = Duration::from_millis(250);
const PAUSE_MAX: Duration = Duration::from_secs(5);
/// How often a line is logged if the output is not a terminal with a progress bar.
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

pub(crate) async fn run(options: SeedOptions, log: &Log) -> anyhow::Result<()> {
    // The token is for the server, and no proxy in between may see it.
    let headers = access::headers(&options.token).map_err(Misconfigured::new)?;
    let client = Client::builder().no_proxy().default_headers(headers);
    let sender = Sender::new(client, &options.target, Duration::from_secs(options.retry_for))?;
    send_all(sender, options.ads, options.seed, log).await
}

/// Sends `ads` ads of `seed` to the server at `target`.
pub(crate) async fn fill(
    client: ClientBuilder,
    target: Url,
    ads: u64,
    seed: u64,
    log: &Log,
) -> anyhow::Result<()> {
    let sender = Sender::new(client, &target, Duration::from_secs(RETRY_FOR_DEFAULT))?;
    send_all(sender, ads, seed, log).await
}

async fn send_all(mut sender: Sender, ads: u64, seed: u64, log: &Log) -> anyhow::Result<()> {
    // A run of its own each time: seeding twice means twice the ads.
    let run = format!("{:x}", system_now().micros());
    let mut generator = Generator::new(seed, system_now());
    let progress = Progress::new(ads);
    let mut sent = 0;
    while sent < ads {
        let size = (ads - sent).min(limits::BATCH_ITEMS_MAX as u64);
        let batch: Vec<_> =
            generator.by_ref().take(size as usize).map(|spec| spec.to_json()).collect();
        let body = serde_json::to_vec(&batch).context("cannot serialise a batch")?;
        let key = format!("seed-{run}-{sent}");
        let answer = sender.send(&key, body).await;
        let answer = answer.with_context(|| format!("{sent} of {ads} ads were sent"))?;
        if answer.failed > 0 || answer.created != size {
            let first = answer.items.into_iter().find_map(|item| item.error);
            let why = first.map_or_else(|| "it does not say why".to_owned(), |error| error.detail);
            bail!("the server refused {} ads of a batch of {size}: {why}", answer.failed);
        }
        sent += size;
        progress.at(sent);
    }
    log.say(&progress.finish(sender.repeated));
    Ok(())
}

/// Sends batches, each until there is a definite answer to it, for a while.
struct Sender {
    client: Client,
    route: Url,
    /// For how long one batch is sent again.
    retry_for: Duration,
    /// Requests that were sent again.
    repeated: u64,
}

/// The outcome of one request.
enum Outcome {
    Answered(Answer),
    /// The batch may or may not have been written; the server may say how long to wait.
    Unknown(anyhow::Error, Option<Duration>),
}

impl Sender {
    fn new(client: ClientBuilder, target: &Url, retry_for: Duration) -> anyhow::Result<Self> {
        let route = target.join("/api/v1/ad/batch").context("cannot name the batch route")?;
        let client = client.timeout(DEADLINE).build().context("cannot make a client")?;
        Ok(Self { client, route, retry_for, repeated: 0 })
    }

    /// Sends one batch, with the same key each time, so that no ad is created twice.
    async fn send(&mut self, key: &str, body: Vec<u8>) -> anyhow::Result<Answer> {
        let (begun, mut pause) = (Instant::now(), PAUSE_MIN);
        for tried in 1u32.. {
            let (problem, wanted) = match self.request(key, body.clone()).await {
                Ok(Outcome::Answered(answer)) => return Ok(answer),
                Ok(Outcome::Unknown(problem, wanted)) => (problem, wanted.unwrap_or_default()),
                Err(refusal) if tried == 1 => return Err(refusal),
                Err(refusal) => {
                    let before = "an earlier try had no definite answer, and may have been written";
                    return Err(refusal.context(before));
                }
            };
            let left = self.retry_for.saturating_sub(begun.elapsed());
            if left.is_zero() {
                let last = format!("gave up a batch after {tried} tries; it may have been written");
                return Err(problem.context(last));
            }
            let (problem, left_s) = (format!("{problem:#}"), left.as_secs());
            // An operator who waits should see the reason; one line for each batch is enough.
            if tried == 1 {
                tracing::warn!(problem, left_s, "sending the batch again, until it is answered");
            } else {
                tracing::debug!(problem, left_s, tried, "sending the batch again");
            }
            tokio::time::sleep(wanted.max(pause).min(left)).await;
            pause = (pause * 2).min(PAUSE_MAX);
            self.repeated += 1;
        }
        unreachable!("the time to send it in is bounded")
    }

    async fn request(&self, key: &str, body: Vec<u8>) -> anyhow::Result<Outcome> {
        let route = &self.route;
        let request = self
            .client
            .post(route.clone())
            .header("Content-Type", "application/json")
            .header("Idempotency-Key", key)
            .body(body);
        let unanswered = |error| {
            let problem = anyhow::Error::new(error).context(format!("no answer from {route}"));
            Outcome::Unknown(problem, None)
        };
        let response = match request.send().await {
            Ok(response) => response,
            Err(error) => return Ok(unanswered(error)),
        };
        match response.status() {
            StatusCode::OK | StatusCode::ACCEPTED => match response.bytes().await {
                Ok(body) => serde_json::from_slice(&body)
                    .map(Outcome::Answered)
                    .context("the server's answer is not its own"),
                Err(error) => Ok(unanswered(error)),
            },
            status @ (StatusCode::REQUEST_TIMEOUT
            | StatusCode::TOO_MANY_REQUESTS
            | StatusCode::BAD_GATEWAY
            | StatusCode::SERVICE_UNAVAILABLE
            | StatusCode::GATEWAY_TIMEOUT) => {
                let problem = anyhow::anyhow!("{route} answers {status}");
                Ok(Outcome::Unknown(problem, retry_after(response.headers())))
            }
            StatusCode::UNAUTHORIZED => {
                bail!("{route} requires a token: pass --token-file")
            }
            status => bail!("{route} answers {status}"),
        }
    }
}

/// Returns the pause that `Retry-After` asks for, if it does so in seconds (RFC 9110, section 10.2.3).
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    headers.get(RETRY_AFTER)?.to_str().ok()?.trim().parse().ok().map(Duration::from_secs)
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

    /// Ends the bar, and returns the summary.
    fn finish(&self, repeated: u64) -> String {
        self.bar.finish_and_clear();
        let seconds = self.started.elapsed().as_secs_f64();
        let rate = (self.ads as f64 / seconds.max(f64::MIN_POSITIVE)).round();
        let again = match repeated {
            0 => String::new(),
            1 => "; one request was sent again".to_owned(),
            many => format!("; {many} requests were sent again"),
        };
        format!("sent {} ads in {seconds:.1} s, {rate} a second{again}", self.ads)
    }
}
