//! `placard autoscale`: watches the load at the balancers, and has a command of the operator's change the number of
//! replicas. [`policy`] decides and [`reading`] adds up, without a clock or a socket; this file connects them with
//! [`balancers`], [`command`] and [`metrics`].

#![expect(
    clippy::disallowed_methods,
    reason = "it looks at regular times, and measures what is between"
)]

mod balancers;
mod command;
mod metrics;
mod page;
mod policy;
mod reading;

use std::pin::Pin;
use std::time::{Duration, Instant};

use anyhow::{bail, ensure};
use tokio::time::{MissedTickBehavior, interval};

use crate::misconfigured::Misconfigured;
use crate::options::AutoscaleOptions;
use crate::output::announce;
use crate::serve::bind;
use crate::signals::Signals;
use balancers::Balancers;
use command::Template;
use metrics::Shared;
use policy::{Decision, Hold, Order, Policy, Rules};
use reading::{Meters, Reading};

pub(crate) async fn run(options: AutoscaleOptions) -> anyhow::Result<()> {
    let signals = Signals::listen()?;
    let listener = options.metrics_listen.map(bind).transpose()?;
    let address = listener.as_ref().map(tokio::net::TcpListener::local_addr).transpose()?;
    let scaler = Scaler::new(options)?;
    let shown = scaler.shown.clone();
    let page = async {
        match listener {
            Some(listener) => {
                placard_node::serve_metrics(listener, move |text| shown.write(text)).await;
            }
            None => std::future::pending().await,
        }
    };
    if let Some(address) = address {
        announce(format!("Placard is scaling; its metrics are at http://{address}/metrics\n"))
            .await;
    }
    tokio::select! {
        () = page => bail!("the server of the metrics has ended unexpectedly"),
        ended = scaler.run(signals) => ended,
    }
}

type Running = Pin<Box<dyn Future<Output = anyhow::Result<()>> + Send>>;

struct Scaler {
    balancers: Balancers,
    meters: Meters,
    policy: Policy,
    template: Template,
    interval: Duration,
    is_dry_run: bool,
    shown: Shared,
    begun: Instant,
    running: Option<Running>,
    /// The last reason to do nothing that was logged.
    told: Hold,
}

impl Scaler {
    fn new(options: AutoscaleOptions) -> anyhow::Result<Self> {
        check(&options).map_err(Misconfigured::new)?;
        let timeout = Duration::from_secs(options.command_timeout);
        let template = Template::new(options.command, timeout).map_err(Misconfigured::new)?;
        let AutoscaleOptions { replicas_min: min, replicas_max: max, targets, .. } = options;
        let rules = Rules {
            min,
            max,
            requests: targets.requests_per_replica.map(f64::from),
            sessions: targets.sessions_per_replica.map(f64::from),
            response: targets.response_time.map(|ms| f64::from(ms) / 1e3),
            quiet: Duration::from_secs(options.quiet),
        };
        let interval = Duration::from_secs(options.interval);
        let meters = Meters::new(options.balancer.len(), 2 * interval);
        Ok(Self {
            balancers: Balancers::new(options.balancer, options.backend, interval)?,
            meters,
            policy: Policy::new(rules),
            template,
            interval,
            is_dry_run: options.dry_run,
            shown: Shared::default(),
            begun: Instant::now(),
            running: None,
            told: Hold::Blind,
        })
    }

    /// Looks and acts until a signal comes. Then it lets the command finish.
    async fn run(mut self, mut signals: Signals) -> anyhow::Result<()> {
        let mut ticks = interval(self.interval);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                biased;
                signal = signals.stop() => {
                    tracing::info!(signal, "stopping");
                    break;
                }
                ended = ended(&mut self.running) => self.take_over(ended),
                _ = ticks.tick() => self.look().await,
            }
        }
        if self.running.is_some() {
            tokio::select! {
                ended = ended(&mut self.running) => self.take_over(ended),
                signal = signals.insists() => {
                    bail!("received a second signal, the command is killed, {signal}");
                }
            }
        }
        Ok(())
    }

    async fn look(&mut self) {
        // Before they are asked: a balancer that is waited for must not make the others' pages look younger than they are.
        let now = self.begun.elapsed();
        let pages = self.balancers.pages().await;
        let reading = self.meters.read(now, &pages).map(|reading| self.imagined(reading));
        let decision = self.policy.step(now, reading.as_ref());
        {
            let mut account = self.shown.account();
            account.counts.looks += 1;
            account.counts.looks_incomplete += u64::from(pages.iter().any(Option::is_none));
            account.counts.balancer_restarts = self.meters.restarts();
            account.outlook = self.policy.outlook();
            account.is_backing_off = self.policy.is_backing_off(now);
            account.reading = reading.unwrap_or_default();
            if let Decision::Order(order) = decision {
                account.ordered(order);
            }
        }
        match decision {
            Decision::Order(order) => self.act(order, &reading.unwrap_or_default()),
            Decision::Hold(hold) => self.tell(hold, &reading.unwrap_or_default()),
        }
    }

    /// In a dry run, every order that was given has had its effect.
    fn imagined(&self, reading: Reading) -> Reading {
        match self.policy.asked().filter(|_| self.is_dry_run) {
            Some(asked) => Reading { serving: asked, known: asked, draining: 0, ..reading },
            None => reading,
        }
    }

    fn act(&mut self, order: Order, reading: &Reading) {
        let Order { from, replicas, why } = order;
        tracing::info!(
            from,
            to = replicas,
            why = why.code(),
            requests_per_second = rounded(reading.requests),
            sessions = reading.sessions as u64,
            queue = reading.queue as u64,
            response_ms = rounded(reading.response.unwrap_or_default() * 1e3),
            serving = reading.serving,
            draining = reading.draining,
            is_complete = reading.is_whole,
            dry_run = self.is_dry_run,
            command = self.template.shown(replicas),
            "scaling"
        );
        self.running = Some(if self.is_dry_run {
            Box::pin(std::future::ready(Ok(())))
        } else {
            Box::pin(self.template.clone().run(replicas))
        });
        self.told = Hold::Acting;
    }

    /// Logs why nothing is done, once, if an operator may wonder.
    fn tell(&mut self, hold: Hold, reading: &Reading) {
        // The first look has no rate yet.
        let is_first = self.shown.account().counts.looks == 1;
        let is_usual = is_first || matches!(hold, Hold::Acting | Hold::Enough | Hold::Quiet);
        if hold != self.told && !is_usual {
            let (serving, draining) = (reading.serving, reading.draining);
            tracing::info!(serving, draining, "not scaling: {}", hold.text());
        } else {
            let requests_per_second = rounded(reading.requests);
            tracing::debug!(requests_per_second, "not scaling: {}", hold.text());
        }
        self.told = if is_first { Hold::Enough } else { hold };
    }

    /// Takes over how the command has ended.
    fn take_over(&mut self, ended: anyhow::Result<()>) {
        let pause = self.policy.ended(self.begun.elapsed(), ended.is_ok());
        let mut account = self.shown.account();
        account.is_backing_off = pause.is_some();
        account.counts.commands_failed += u64::from(pause.is_some());
        drop(account);
        if let (Err(error), Some(pause)) = (ended, pause) {
            let retry_in_s = pause.as_secs();
            tracing::warn!(error = format!("{error:#}"), retry_in_s, "the command has failed");
        }
    }
}

/// Refuses options that do not go together.
fn check(options: &AutoscaleOptions) -> anyhow::Result<()> {
    let AutoscaleOptions { replicas_min: min, replicas_max: max, balancer: urls, .. } = options;
    ensure!(min <= max, "--replicas-min {min} is more than --replicas-max {max}");
    let again = urls.iter().enumerate().find(|(nth, url)| urls[..*nth].contains(url));
    if let Some((_, url)) = again {
        bail!("--balancer names {url} twice: its load would count twice");
    }
    Ok(())
}

/// Waits until the command has ended, or for ever without one.
async fn ended(running: &mut Option<Running>) -> anyhow::Result<()> {
    let ended = match running {
        Some(command) => command.await,
        None => std::future::pending().await,
    };
    *running = None;
    ended
}

/// Returns a number with as many digits as a log line needs.
fn rounded(number: f64) -> f64 {
    (number * 10.0).round() / 10.0
}
