//! Ctrl-C, SIGTERM and SIGHUP, which a terminal sends when it closes. One listener listens for them from the start on:
//! a new listener for each wait would miss a signal that comes in between.

use std::time::{Duration, Instant};

use anyhow::Context;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// A signal within this time of the first counts as the same: a terminal, and the program's parent, may both pass it
/// on.
const SAME: Duration = Duration::from_secs(1);

/// The signals that stop the program; they no longer end it by themselves.
pub(crate) struct Signals {
    terminate: Signal,
    interrupt: Signal,
    /// `None` if the program's parent has it ignored, as nohup does.
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

    /// Waits for a signal to stop, or returns at once if one came before.
    #[expect(
        clippy::disallowed_methods,
        reason = "a signal that is sent twice at once counts once"
    )]
    pub(crate) async fn stop(&mut self) -> &'static str {
        let signal = self.next().await;
        self.first.get_or_insert_with(Instant::now);
        signal
    }

    /// Waits for a second signal, which ends the program at once: one after [`Signals::stop`] that is not the same
    /// signal from a second sender.
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

/// Returns true if SIGHUP, signal 1, is ignored (proc(5)).
fn ignores_hang_ups() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let ignored = ignored.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    ignored.is_some_and(|mask| mask & 1 == 1)
}
