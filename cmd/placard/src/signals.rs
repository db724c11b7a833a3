//! Ctrl-C, SIGTERM and SIGHUP, which a terminal sends when it closes. They are listened for from the start on, by one listener: a new listener for
//! each wait misses the signal that comes in between.

use std::time::{Duration, Instant};

use anyhow::Context;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// A signal within so long of the first counts as the same: a terminal, and whoever runs the program, may both pass it on.
const SAME: Duration = Duration::from_secs(1);

/// The signals that stop the program; they no longer end it by themselves.
pub(crate) struct Signals {
    terminate: Signal,
    interrupt: Signal,
    /// `None` where whoever started the program has it ignored, as nohup does.
    hang_up: Option<Signal>,
    first: Option<Instant>,
}

impl Signals {
    /// Listens from now on.
    pub(crate) fn listen() -> anyhow::Result<Self> {
        let listener = |kind| signal(kind).context("cannot listen for signals");
        Ok(Self {
            terminate: listener(SignalKind::terminate())?,
            interrupt: listener(SignalKind::interrupt())?,
            hang_up: (!ignores_hang_ups()).then(|| listener(SignalKind::hangup())).transpose()?,
            first: None,
        })
    }

    /// Waits until somebody wants the program to stop, or returns at once if somebody did before.
    pub(crate) async fn stop(&mut self) -> &'static str {
        let signal = self.next().await;
        self.first.get_or_insert_with(Instant::now);
        signal
    }

    /// Waits until somebody wants it to end at once: after [`Signals::stop`], by a signal that is not the same one, which
    /// may come from two sides.
    pub(crate) async fn insists(&mut self) -> &'static str {
        loop {
            let signal = self.next().await;
            if self.first.is_none_or(|first| first.elapsed() >= SAME) {
                return signal;
            }
        }
    }

    async fn next(&mut self) -> &'static str {
        let hang_up = async {
            match &mut self.hang_up {
                Some(hang_up) => hang_up.recv().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
            _ = hang_up => "SIGHUP",
        }
    }
}

/// Whether SIGHUP, signal 1, is ignored (proc(5)).
fn ignores_hang_ups() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let ignored = ignored.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    ignored.is_some_and(|mask| mask & 1 == 1)
}
