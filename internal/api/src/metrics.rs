//! What is counted and measured, as `/metrics` shows it. A metric is declared where it is written here, or, if the core
//! or the scheduler counts it, with its counter; the table of docs/OPERATIONS.md follows from what this file writes.

pub(crate) mod connections;
mod exposition;
pub(crate) mod page;
pub(crate) mod requests;

use std::sync::atomic::{AtomicI64, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use http::Method;
use placard_engine::Reader;
use placard_model::Timestamp;
use placard_model::capacity::{Books, Refusal};
use placard_model::command::Outcome;
use placard_model::entry::format_level;
use placard_replica::core::{Counts, Verdict, Why};
use placard_replica::expiry::{self, Account, Chore};
use placard_replica::histogram::{COMMIT_ENTRIES_BOUNDS, COMMIT_MICROS_BOUNDS, Histogram};
use placard_replica::ports::{Commits, Member};
use placard_replica::restores::RestoreCause;
use placard_replica::spans::{Sink, SpanCounts};
use placard_replica::{self as replica, Handle};

use crate::feed::Feed;
use connections::ConnectionMetrics;
pub use exposition::Exposition;
use requests::{RouteMetrics, increment};

/// What the API itself counts. Each app has its own, so that several replicas in one process do not add up.
#[derive(Debug, Default)]
pub(crate) struct Metrics {
    routes: Mutex<Vec<Arc<RouteMetrics>>>,
    connections: ConnectionMetrics,
    unknown_path: AtomicU64,
    unknown_method: AtomicU64,
    /// Commands that were refused because a registered replica does not know pools.
    not_yet: AtomicU64,
    index_bytes: AtomicUsize,
    overdue: AtomicUsize,
    /// For how many microseconds the first of them has been overdue.
    overdue_micros: AtomicI64,
}

/// What else is shown at a scrape.
#[derive(Debug)]
pub(crate) struct Shown<'a> {
    pub(crate) replica: &'a Handle,
    pub(crate) state: &'a replica::State,
    /// Whether `/readyz` says 200.
    pub(crate) is_ready: bool,
    pub(crate) verdict: Verdict,
    pub(crate) expiry: &'a Account,
    pub(crate) spans: &'a Sink,
    pub(crate) feed: &'a Feed,
    /// Lines of the log that could not be written.
    pub(crate) log_lost: u64,
}

impl Metrics {
    /// Returns the metrics of connections.
    pub(crate) fn connections(&self) -> &ConnectionMetrics {
        &self.connections
    }

    /// Counts a request that is answered 404 because no route has its path.
    pub(crate) fn path_not_found(&self) {
        increment(&self.unknown_path);
    }

    /// Counts a request that is answered 405 because its route does not have its method.
    pub(crate) fn method_not_allowed(&self) {
        increment(&self.unknown_method);
    }

    /// Counts the commands of a write that are refused because a registered replica does not know pools.
    pub(crate) fn refused_not_yet(&self, outcomes: &[Outcome]) {
        let not_yet = |outcome: &&Outcome| {
            matches!(outcome, Outcome::Refused { refusal: Refusal::NotYet, .. })
        };
        let refused = outcomes.iter().filter(not_yet).count();
        if refused > 0 {
            self.not_yet.fetch_add(refused as u64, Ordering::Relaxed);
        }
    }

    /// Does the work that takes too long for a scrape; to be called every few seconds.
    pub(crate) fn upkeep(&self, reader: &Reader, now: Timestamp) {
        // A look at each of its chunks, of which there are some thousands in a million ads.
        self.index_bytes.store(reader.index_bytes(), Ordering::Relaxed);
        // A look at each pool of which a reservation can lapse, and at those that have lapsed.
        let (_, books) = reader.books(Books::clone);
        let (overdue, first) = books.overdue(now, OVERDUE_MAX);
        let micros = first.map_or(0, |first| now.micros() - first.micros());
        self.overdue.store(overdue, Ordering::Relaxed);
        self.overdue_micros.store(micros, Ordering::Relaxed);
    }

    /// Adds a route that accepts these methods; other methods are not counted.
    pub(crate) fn route(&self, route: &'static str, methods: &[Method]) -> Arc<RouteMetrics> {
        let metrics = Arc::new(RouteMetrics::new(route, methods));
        let mut routes = self.routes.lock().unwrap_or_else(PoisonError::into_inner);
        // An app whose routes are built again counts in the new ones.
        routes.retain(|known| known.route() != route);
        routes.push(Arc::clone(&metrics));
        metrics
    }

    /// Returns all metrics as text for Prometheus.
    pub(crate) fn render(&self, shown: &Shown<'_>) -> String {
        let mut text = Exposition::default();
        self.served(&mut text, shown);
        replica_status(&mut text, shown);
        ads(&mut text, shown.replica.reader(), self.index_bytes.load(Ordering::Relaxed));
        self.capacity(&mut text, shown.replica.reader());
        cluster(&mut text, shown);
        core(&mut text, &shown.state.counts);
        expired(&mut text, shown.expiry);
        chores(&mut text, shown);
        spans(&mut text, shown.spans.as_ref().map(|spans| spans.counts()).unwrap_or_default());
        text.into_text()
    }

    /// Writes what concerns requests, connections and the program.
    fn served(&self, text: &mut Exposition, shown: &Shown<'_>) {
        text.gauges("placard_build_info", "1, by `version` and `format_level`").sample(
            "",
            &[
                ("version", env!("CARGO_PKG_VERSION")),
                ("format_level", &format_level().to_string()),
            ],
            1,
        );
        let routes = self.routes.lock().unwrap_or_else(PoisonError::into_inner);
        requests::write(&routes, text);
        drop(routes);
        let unrouted = [("404", &self.unknown_path), ("405", &self.unknown_method)];
        text.labelled(
            "placard_http_unrouted_total",
            "Requests that match no route, by `status`: 404 if nothing is at their path, 405 if the path does not take \
             their method",
            "status",
            unrouted.map(|(status, count)| (status, count.load(Ordering::Relaxed))),
        );
        self.connections.write(text);
        followed(text, shown.feed);
        text.counter(
            "placard_log_lines_lost_total",
            "Lines of the log that could not be written, because they are not read or the disk is full. Lines are not \
             counted if standard error was closed from the start",
            shown.log_lost,
        );
    }

    /// Writes what concerns pools and reservations.
    fn capacity(&self, text: &mut Exposition, reader: &Reader) {
        let (_, (pools, holds, tombstones)) = reader.books(Books::len);
        text.gauge("placard_pools", "Pools in memory", pools as f64);
        text.gauge(
            "placard_holds",
            "Holds in memory: reservations, and the units that replicas have taken for themselves",
            holds as f64,
        );
        text.gauge(
            "placard_tombstones",
            "Ids in memory of reservations that were closed less than a day ago, or were released before they were made",
            tombstones as f64,
        );
        text.gauge(
            "placard_reservations_overdue",
            "Reservations in memory that have lapsed by the readers' clock and are not closed yet. Their units are available. \
             Counted every 5 s, up to 100,000",
            self.overdue.load(Ordering::Relaxed) as f64,
        );
        text.gauge(
            "placard_reservations_overdue_seconds",
            "For how long the first of them has been overdue, as of the same count; 0 if none is. Expiry closes them within \
             seconds",
            self.overdue_micros.load(Ordering::Relaxed) as f64 / 1e6,
        );
        text.counter(
            "placard_not_yet_total",
            "Commands that need pools and were refused (503 `not-yet`), because a replica of a build without pools is registered",
            self.not_yet.load(Ordering::Relaxed),
        );
    }
}

/// Reservations that have lapsed are counted up to this number.
const OVERDUE_MAX: usize = 100_000;

/// Writes how many clients follow the log.
fn followed(text: &mut Exposition, feed: &Feed) {
    text.gauge(
        "placard_feed_clients",
        "Clients that follow the log, or wait for its next entry",
        feed.clients() as f64,
    );
    text.counter("placard_feed_entries_total", "Entries sent to such clients", feed.sent());
    text.counter(
        "placard_feed_refused_total",
        "Requests to follow the log that got 503 because there were too many such clients",
        feed.refused(),
    );
}

/// Writes how the replica stands: whether it answers, how old its answers may be, and what waits in it.
fn replica_status(text: &mut Exposition, shown: &Shown<'_>) {
    let Shown { replica, state, is_ready, verdict, .. } = shown;
    text.gauge(
        "placard_ready",
        "1 if `/readyz` says 200: the replica is restored and caught up, is not stopping, and does not refuse reads \
         because they are too old. A replica without a connection to commit with counts only if it has had one",
        *is_ready,
    );
    text.gauge(
        "placard_read_only",
        "1 if the replica has no connection to commit with, and cannot get one",
        replica.commits() != Commits::Able,
    );
    text.gauge(
        "placard_journal_empty",
        "1 if the journal is empty although a replica has what it held",
        state.emptied,
    );
    let age = |lag: &replica::core::Lag| lag.age.map_or(f64::INFINITY, |age| age.as_secs_f64());
    text.gauge(
        "placard_stale_seconds",
        "The maximum age of answers, if older than the lease; `+Inf` if it is unknown",
        verdict.lag().as_ref().map_or(0.0, age),
    );
    text.gauge(
        "placard_behind",
        "1 if answers are older than the lease although the journal is reached: its entries are not published here",
        verdict.lag().is_some_and(|lag| lag.why == Why::Behind),
    );
    text.gauge(
        "placard_published_version",
        "The version that readers see",
        state.published.version as f64,
    );
    text.gauge(
        "placard_head_version",
        "The newest version known to be in the journal; the difference is the lag",
        state.head as f64,
    );
    text.gauge(
        "placard_clock_ahead_seconds",
        "How far the readers' clock was ahead of the journal's at the last head poll, which has corrected it",
        state.clock_ahead as f64 / 1e6,
    );
    text.gauge(
        "placard_clock_anchored",
        "1 if the readers' clock is the journal's; 0 if it is still the machine's, because the journal has not sent its \
         time since the start",
        replica.clock().is_anchored(),
    );
    text.gauge(
        "placard_queue_requests",
        "Write requests that wait for a transaction",
        state.queued as f64,
    );
    text.gauge(
        "placard_queue_bytes",
        "Bytes that they hold, approximately; beyond 64 MiB writes get 503",
        state.queued_bytes as f64,
    );
    text.gauge(
        "placard_unappended_entries",
        "Entries that are durable and that the stream is not known to have; at most 8,192 are kept in memory, the others \
         are read from the journal",
        state.unappended as f64,
    );
    text.gauge(
        "placard_unpublished_requests",
        "Write requests that are durable and wait to be visible",
        state.unpublished as f64,
    );
}

/// Writes what is in memory.
fn ads(text: &mut Exposition, reader: &Reader, index_bytes: usize) {
    let (live, pending) = reader.indexed();
    text.gauge("placard_ads", "Ads in memory, served or not", reader.ads() as f64);
    text.gauge(
        "placard_ads_live",
        "Ads in memory that have begun and were not seen to end, without those that are paused",
        live as f64,
    );
    text.gauge(
        "placard_ads_pending",
        "Ads in memory that wait for their start, without those that are paused",
        pending as f64,
    );
    text.gauge(
        "placard_index_bytes",
        "Memory of the index, without the ads themselves; measured every 5 s",
        index_bytes as f64,
    );
}

/// Writes what the last head poll brought.
fn cluster(text: &mut Exposition, shown: &Shown<'_>) {
    let Some(cluster) = shown.replica.cluster() else { return };
    let published = shown.state.published.version;
    let first_seen = cluster.first_seen_after(published);
    let behind_for = first_seen.map_or(0, |seen| cluster.now.micros() - seen.micros());
    let live = cluster.members.iter().filter(|member| member.lease_until > cluster.now);
    let disagrees = |member: &&Member| {
        member.status.published.version == cluster.head.version
            && member.status.published != cluster.head
    };
    text.gauge(
        "placard_lag_versions",
        "Versions that the journal is ahead of readers",
        shown.state.head.saturating_sub(published) as f64,
    );
    text.gauge(
        "placard_lag_seconds",
        "For how long the journal has been ahead, by the head polls; up to the last minute",
        behind_for as f64 / 1e6,
    );
    text.gauge(
        "placard_replicas",
        "Replicas with a valid lease, as far as this one knows",
        live.clone().count() as f64,
    );
    text.gauge(
        "placard_replicas_disagreeing",
        "Replicas at the head whose chain or digest differs from the head's; should always be 0",
        live.filter(disagrees).count() as f64,
    );
    text.gauge("placard_stream_entries", "Entries in the stream", cluster.stream.entries as f64);
    text.gauge(
        "placard_stream_top_version",
        "The newest version that the stream ever held",
        cluster.stream.top.map_or(0, |(version, _)| version) as f64,
    );
}

/// Writes what the replica's core counts.
fn core(text: &mut Exposition, counts: &Counts) {
    text.counted(Counts::COUNTERS, counts);
    text.labelled(
        "placard_restores_total",
        "States built from the journal's ads, by `cause`: `start`, without a usable checkpoint; `fork`: the journal has \
         another history; `digest`: this replica's own was wrong; `gap`: the log was trimmed beyond what the replica \
         had; `format`: the next entry is a newer build's",
        "cause",
        RestoreCause::ALL.map(|cause| (cause.code(), counts.restores.of(cause))),
    );
    let entries = text.histogram("placard_commit_entries", "Entries of a committed transaction");
    spread(entries, (COMMIT_ENTRIES_BOUNDS, 1.0), &counts.commit_entries);
    let durations = text.histogram(
        "placard_commit_duration_seconds",
        "A transaction's time until its outcome was definite, repetitions included",
    );
    spread(durations, (COMMIT_MICROS_BOUNDS, 1e6), &counts.commit_micros);
}

/// Writes a histogram of which `scale` samples are one unit.
fn spread<const N: usize>(
    mut family: exposition::Family<'_>,
    (bounds, scale): ([u64; N], f64),
    samples: &Histogram<N>,
) {
    let bounds = bounds.map(|bound| bound as f64 / scale);
    let cumulative = bounds.into_iter().zip(samples.cumulative());
    family.spread(&[], cumulative, (samples.count(), samples.sum() as f64 / scale));
}

/// Writes what has been done about what ends.
fn expired(text: &mut Exposition, account: &Account) {
    text.counted(expiry::Counts::COUNTERS, &account.counts);
    text.gauge(
        "placard_expiry_seconds_pending",
        "Future seconds in which ads end or reservations lapse, as far as this replica has looked ahead",
        account.seconds_pending as f64,
    );
    text.gauge(
        "placard_expiry_braked",
        "1 if the journal's clock has jumped, and nothing is deleted until an operator releases the brake",
        account.braked.is_some(),
    );
    text.gauge(
        "placard_expiry_clock_off",
        "1 if this replica's own clock is off by more than a second, so that it deletes nothing",
        account.clock_off,
    );
}

/// Writes how often what need not be kept was deleted. The core trims the stream, the scheduler does all else.
fn chores(text: &mut Exposition, shown: &Shown<'_>) {
    let Counts { stream_trims, stream_trims_failed, .. } = shown.state.counts;
    let chores = || Chore::ALL.iter().map(|chore| chore.code()).zip(shown.expiry.chores);
    let runs = chores().map(|(chore, chored)| (chore, chored.runs));
    text.labelled(
        "placard_chore_runs_total",
        "Runs of a chore, by this replica or, at that moment, by another, by `chore`: `log`, `answers`, `tasks`, `stream`",
        "chore",
        runs.chain([("stream", stream_trims)]),
    );
    let failures = chores().map(|(chore, chored)| (chore, chored.failures));
    text.labelled(
        "placard_chore_failures_total",
        "Runs of a chore that failed, by `chore`",
        "chore",
        failures.chain([("stream", stream_trims_failed)]),
    );
    text.labelled(
        "placard_chore_rows_total",
        "Rows deleted by a chore, by `chore`; not counted for `stream`",
        "chore",
        chores().map(|(chore, chored)| (chore, chored.rows)),
    );
}

/// Writes what has become of spans.
fn spans(text: &mut Exposition, SpanCounts { sent, failed, dropped }: SpanCounts) {
    text.labelled(
        "placard_spans_total",
        "Spans of traced writes, by `outcome`: `sent`; `failed`: the collector did not take them; `dropped`: more were \
         waiting than there is room for",
        "outcome",
        [("sent", sent), ("failed", failed), ("dropped", dropped)],
    );
}
