//! What the autoscaler counts and measures, as its own `/metrics` shows it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use placard_node::{Exposition, counters};

use super::policy::{Order, Outlook, Why};
use super::reading::Reading;

counters! {
    /// What is counted.
    #[derive(Debug, Clone, Copy, Default)]
    pub(crate) struct Counts {
        /// Looks at the balancers.
        looks = "placard_autoscale_looks_total";
        /// Looks at which a balancer did not answer: nothing is scaled down then.
        looks_incomplete = "placard_autoscale_looks_incomplete_total";
        /// Restarts of balancers that were noticed.
        balancer_restarts = "placard_autoscale_balancer_restarts_total";
        /// Orders of more replicas.
        ups = "placard_autoscale_ups_total";
        /// Orders of one replica less.
        downs = "placard_autoscale_downs_total";
        /// Orders that were repeated because their replicas did not come.
        repeats = "placard_autoscale_repeats_total";
        /// Commands that failed or were killed.
        commands_failed = "placard_autoscale_commands_failed_total";
    }
}

/// What is counted, and what was read last.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Account {
    pub(crate) counts: Counts,
    pub(crate) outlook: Outlook,
    pub(crate) reading: Reading,
    /// Whether the last command has failed, so that the next one waits.
    pub(crate) is_backing_off: bool,
}

impl Account {
    /// Counts an order.
    pub(crate) fn ordered(&mut self, order: Order) {
        let Counts { ups, downs, repeats, .. } = &mut self.counts;
        *match order.why {
            Why::Up => ups,
            Why::Down => downs,
            Why::Again => repeats,
        } += 1;
    }

    fn write(&self, text: &mut Exposition) {
        text.counted(Counts::COUNTERS, &self.counts);
        let Self { outlook, reading, is_backing_off, .. } = self;
        text.gauge(
            "placard_autoscale_replicas",
            "Replicas that there are or that were asked for, whichever is more; 0 if none was seen yet",
            outlook.there,
        );
        text.gauge(
            "placard_autoscale_replicas_wanted",
            "Replicas that the load needs, within the bounds",
            outlook.wanted,
        );
        text.gauge(
            "placard_autoscale_replicas_serving",
            "Replicas that every balancer sends requests to",
            reading.serving,
        );
        text.gauge(
            "placard_autoscale_replicas_draining",
            "Replicas that get no new requests because they are about to leave, or refuse them",
            reading.draining,
        );
        text.gauge(
            "placard_autoscale_requests_per_second",
            "Requests a second of all balancers that answer",
            reading.requests,
        );
        text.gauge(
            "placard_autoscale_sessions",
            "Requests that are being answered or are queued, of all balancers that answer",
            reading.sessions,
        );
        text.gauge(
            "placard_autoscale_queue",
            "Those of them that are queued, because no replica takes them",
            reading.queue,
        );
        text.gauge(
            "placard_autoscale_response_seconds",
            "Mean time to answer, of the last 1,024 requests of each balancer; 0 without requests",
            reading.response.unwrap_or_default(),
        );
        text.gauge(
            "placard_autoscale_incomplete",
            "1 if a balancer does not answer, or was started a short time ago",
            !reading.is_whole,
        );
        text.gauge(
            "placard_autoscale_backing_off",
            "1 if the last command failed, and the next one waits",
            *is_backing_off,
        );
    }
}

/// The account, which the loop writes and the page shows; cloning it is cheap.
#[derive(Debug, Clone, Default)]
pub(crate) struct Shared(Arc<Mutex<Account>>);

impl Shared {
    /// Returns the account, to change it.
    pub(crate) fn account(&self) -> MutexGuard<'_, Account> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes the page.
    pub(crate) fn write(&self, text: &mut Exposition) {
        let account = *self.account();
        account.write(text);
    }
}
