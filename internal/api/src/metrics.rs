//! What is counted and timed. Each app has a registry of its own rather than the process-wide one, so that
//! several replicas in one process do not add up.

pub(crate) mod connections;
mod metadata;

use std::fmt::Write;
use std::sync::atomic::{AtomicUsize, Ordering};

use http::Method;
use metrics::{Counter, Gauge, Key, KeyName, Label, Recorder, SharedString, Unit};
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle, PrometheusRecorder};
use placard_engine::Reader;
use placard_model::entry::FORMAT_LEVEL;
use placard_replica::core::{Counts, Verdict, Why};
use placard_replica::expiry::{Account, Chore};
use placard_replica::histogram::{self, COMMIT_ENTRIES_BOUNDS, COMMIT_MICROS_BOUNDS};
use placard_replica::ports::{Commits, Member};
use placard_replica::restores::Cause;
use placard_replica::spans::{Sink, SpanCounts};
use placard_replica::{self as replica, Expiry, Handle};

use crate::timed::{CLASSES, MethodMetrics, RouteMetrics};
use connections::ConnectionMetrics;
use metadata::METADATA;

const REQUESTS: &str = "placard_http_requests_total";
const DURATION: &str = "placard_http_request_duration_seconds";
/// Upper bounds of the histogram's buckets, in seconds: reads take microseconds, writes milliseconds.
const BOUNDS: &[f64] = &[
    0.000_05, 0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5,
    1.0, 2.5, 5.0,
];

pub(crate) struct Metrics {
    recorder: PrometheusRecorder,
    handle: PrometheusHandle,
    connections: ConnectionMetrics,
    index_bytes: AtomicUsize,
}

impl std::fmt::Debug for Metrics {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Metrics").finish_non_exhaustive()
    }
}

impl Metrics {
    pub(crate) fn new() -> Self {
        let builder = PrometheusBuilder::new().set_buckets(BOUNDS);
        let recorder = builder.expect("the bounds are not empty").build_recorder();
        let handle = recorder.handle();
        let described = |name: &'static str, unit, text: &'static str| {
            (KeyName::from_const_str(name), Some(unit), SharedString::from(text))
        };
        let (name, unit, text) = described(
            REQUESTS,
            Unit::Count,
            "Requests answered, by route, method and status class",
        );
        recorder.describe_counter(name, unit, text);
        let (name, unit, text) =
            described(DURATION, Unit::Seconds, "Time from a request's head to its answer");
        recorder.describe_histogram(name, unit, text);
        let (name, text) = ("placard_build_info", "1, by version and by the format that it writes");
        recorder.describe_gauge(KeyName::from_const_str(name), None, text.into());
        let labels = vec![
            Label::new("version", env!("CARGO_PKG_VERSION")),
            Label::new("format_level", FORMAT_LEVEL.to_string()),
        ];
        recorder.register_gauge(&Key::from_parts(name, labels), &METADATA).set(1.0);
        let connections = ConnectionMetrics::new(&recorder);
        Self { recorder, handle, connections, index_bytes: AtomicUsize::new(0) }
    }

    /// Returns the metrics of connections.
    pub(crate) fn connections(&self) -> &ConnectionMetrics {
        &self.connections
    }

    /// Returns the counters of requests that are answered 404 because no route has their path, and 405 because their
    /// route does not have their method.
    pub(crate) fn unrouted(&self) -> [Counter; 2] {
        let name = "placard_http_unrouted_total";
        let text = "Requests that no route takes, by status: nothing is at their path, or not by their method";
        self.recorder.describe_counter(
            KeyName::from_const_str(name),
            Some(Unit::Count),
            text.into(),
        );
        ["404", "405"].map(|status| {
            let key = Key::from_parts(name, vec![Label::new("status", status)]);
            self.recorder.register_counter(&key, &METADATA)
        })
    }

    /// Does the work that takes too long for a scrape; to be called every few seconds.
    pub(crate) fn upkeep(&self, reader: &Reader) {
        self.handle.run_upkeep();
        // A look at each of its chunks, of which there are some thousands in a million ads.
        self.index_bytes.store(reader.index_bytes(), Ordering::Relaxed);
    }

    /// Returns the handles of a route that accepts these methods; other methods are not timed.
    pub(crate) fn route(&self, route: &'static str, methods: &[Method]) -> RouteMetrics {
        let method = |method: &Method| {
            let labels =
                vec![Label::new("route", route), Label::new("method", method.as_str().to_owned())];
            let duration = Key::from_parts(DURATION, labels.clone());
            let answered = CLASSES.map(|(_, class)| {
                let mut labels = labels.clone();
                labels.push(Label::new("status", class));
                self.recorder.register_counter(&Key::from_parts(REQUESTS, labels), &METADATA)
            });
            MethodMetrics {
                method: method.clone(),
                duration: self.recorder.register_histogram(&duration, &METADATA),
                answered,
            }
        };
        RouteMetrics::new(methods.iter().map(method).collect())
    }

    /// Sets the number of lines of the log that could not be written.
    pub(crate) fn log_lost(&self, lines: u64) {
        let text = "Lines of the log that could not be written, unless standard error was closed from the start";
        self.counter("placard_log_lines_lost_total", text).absolute(lines);
    }

    /// Returns the registry as Prometheus text, with this state of the replica, whether clients may be sent to it, and
    /// how old its answers may be.
    pub(crate) fn render(
        &self,
        (replica, state): (&Handle, &replica::State),
        (is_ready, verdict): (bool, Verdict),
        expiry: &Expiry,
        spans: &Sink,
    ) -> String {
        self.expiry(&expiry.account());
        self.spans(spans.as_ref().map(|spans| spans.counts()).unwrap_or_default());
        let Counts {
            commits,
            entries,
            commit_entries,
            commit_micros,
            commits_failed,
            commits_unknown,
            commits_refused,
            applied,
            heals,
            restores,
            diverged,
            poison,
            checkpoints_loaded,
            forks,
            stream_resets,
            stream_trims,
            stream_trims_failed,
            stream_gaps,
            stream_rejects,
            relayed,
            lease_ends,
        } = state.counts;
        self.chore("stream", stream_trims, stream_trims_failed);
        for cause in Cause::ALL {
            self.labelled(
                ("placard_restores_total", "States built from the journal's ads, by why"),
                ("cause", cause.code()),
                restores.of(cause),
            );
        }
        for (name, text, count) in [
            ("placard_commits_total", "Transactions that were committed", commits),
            ("placard_commit_entries_total", "Entries that they wrote", entries),
            (
                "placard_commits_failed_total",
                "Transactions that wrote nothing and were tried again",
                commits_failed,
            ),
            (
                "placard_commits_unknown_total",
                "Transactions of unknown outcome that were repeated",
                commits_unknown,
            ),
            (
                "placard_commits_refused_total",
                "Transactions that the database refused",
                commits_refused,
            ),
            ("placard_applied_total", "Entries applied", applied),
            (
                "placard_heals_total",
                "Reads of the log because the stream did not bring what it should",
                heals,
            ),
            ("placard_diverged_total", "Times that the engine's digest was wrong", diverged),
            ("placard_poison_total", "Entries that could not be decoded", poison),
            (
                "placard_checkpoints_loaded_total",
                "States built from a checkpoint",
                checkpoints_loaded,
            ),
            ("placard_forks_total", "Times that the journal told another history", forks),
            (
                "placard_stream_resets_total",
                "Times that a forked stream was made to forget",
                stream_resets,
            ),
            (
                "placard_stream_gaps_total",
                "Times that the stream had forgotten what comes next",
                stream_gaps,
            ),
            (
                "placard_stream_rejects_total",
                "Times that the stream brought what does not belong there",
                stream_rejects,
            ),
            (
                "placard_relayed_total",
                "Entries read from the journal for a stream that lacked them",
                relayed,
            ),
            (
                "placard_lease_ends_total",
                "Times that the journal was not heard of for longer than the lease",
                lease_ends,
            ),
        ] {
            self.counter(name, text).absolute(count);
        }
        for (name, text, value) in [
            (
                "placard_published_version",
                "The version that readers see",
                state.published.version as f64,
            ),
            (
                "placard_head_version",
                "The newest version known to be in the journal",
                state.head as f64,
            ),
            (
                "placard_queue_requests",
                "Write requests that wait for a transaction",
                state.queued as f64,
            ),
            ("placard_queue_bytes", "Bytes that they hold, about", state.queued_bytes as f64),
            (
                "placard_unappended_entries",
                "Entries that are durable and that the stream is not known to have",
                state.unappended as f64,
            ),
            (
                "placard_unpublished_requests",
                "Write requests that are durable and wait to be visible",
                state.unpublished as f64,
            ),
            ("placard_ads", "Ads in memory, served or not", replica.reader().ads() as f64),
            (
                "placard_ready",
                "1 if the replica may be sent clients: /readyz says 200",
                f64::from(is_ready),
            ),
            (
                "placard_read_only",
                "1 if the replica has no connection to commit with, and cannot get one",
                f64::from(replica.commits() != Commits::Able),
            ),
            (
                "placard_journal_empty",
                "1 if the journal is empty although a replica has what it held",
                f64::from(state.emptied),
            ),
            (
                "placard_stale_seconds",
                "How old answers may be, if older than the lease; infinite if that is not known",
                verdict
                    .lag()
                    .map_or(0.0, |lag| lag.age.map_or(f64::INFINITY, |age| age.as_secs_f64())),
            ),
            (
                "placard_behind",
                "1 if the journal is heard of, and what it has is not published",
                f64::from(verdict.lag().is_some_and(|lag| lag.why == Why::Behind)),
            ),
            (
                "placard_clock_anchored",
                "1 if readers' clock is the journal's, 0 if it is still this machine's",
                f64::from(replica.clock().is_anchored()),
            ),
            (
                "placard_clock_ahead_seconds",
                "How far this replica's clock was ahead of the journal's",
                state.clock_ahead as f64 / 1e6,
            ),
        ] {
            self.gauge(name, text).set(value);
        }
        self.ads(replica);
        self.cluster(replica, state);
        let mut text = self.handle.render();
        spread(
            &mut text,
            "placard_commit_entries",
            "Entries of a committed transaction",
            (COMMIT_ENTRIES_BOUNDS, 1.0),
            &commit_entries,
        );
        spread(
            &mut text,
            "placard_commit_duration_seconds",
            "Time of a transaction until its outcome was definite, repetitions included",
            (COMMIT_MICROS_BOUNDS, 1e6),
            &commit_micros,
        );
        text
    }

    fn ads(&self, replica: &Handle) {
        let reader = replica.reader();
        let (live, pending) = reader.indexed();
        for (name, text, value) in [
            ("placard_ads_live", "Ads that have begun and were not seen to end", live),
            ("placard_ads_pending", "Ads that wait for their start", pending),
            (
                "placard_index_bytes",
                "Memory of the index, without the ads, some seconds ago",
                self.index_bytes.load(Ordering::Relaxed),
            ),
        ] {
            self.gauge(name, text).set(value as f64);
        }
    }

    /// Sets the metrics from the last head poll.
    fn cluster(&self, replica: &Handle, state: &replica::State) {
        let Some(cluster) = replica.cluster() else { return };
        let published = state.published.version;
        let behind_for = cluster
            .first_seen_after(published)
            .map_or(0, |seen| cluster.now.micros() - seen.micros());
        let live = cluster.members.iter().filter(|member| member.lease_until > cluster.now);
        let at_head = |member: &&Member| {
            member.standing.published.version == cluster.head.version
                && member.standing.published != cluster.head
        };
        let top = cluster.stream.top.map_or(0, |(version, _)| version);
        for (name, text, value) in [
            (
                "placard_lag_versions",
                "Versions that the journal is ahead of readers",
                state.head.saturating_sub(published) as f64,
            ),
            (
                "placard_lag_seconds",
                "For how long the journal has been ahead of readers",
                behind_for as f64 / 1e6,
            ),
            ("placard_stream_entries", "Entries in the stream", cluster.stream.entries as f64),
            (
                "placard_stream_top_version",
                "The newest version that the stream ever held",
                top as f64,
            ),
            ("placard_replicas", "Replicas whose lease lasts", live.clone().count() as f64),
            (
                "placard_replicas_disagreeing",
                "Replicas at the head that hold something else",
                live.filter(at_head).count() as f64,
            ),
        ] {
            self.gauge(name, text).set(value);
        }
    }

    fn expiry(&self, account: &Account) {
        for (name, text, count) in [
            ("placard_expired_total", "Ads deleted because they had ended", account.deleted),
            (
                "placard_expiry_looks_total",
                "Times that the journal was asked what has ended",
                account.looks,
            ),
            (
                "placard_expiry_failures_total",
                "Times that ended ads could not be deleted",
                account.failures,
            ),
            (
                "placard_expiry_tasks_pushed_total",
                "Tasks added to the queue of expiry",
                account.tasks_pushed,
            ),
            ("placard_expiry_tasks_done_total", "Tasks of expiry done", account.tasks_done),
            (
                "placard_scheduler_restarts_total",
                "Times that a part of the scheduler has ended unexpectedly and was started again",
                account.restarts,
            ),
        ] {
            self.counter(name, text).absolute(count);
        }
        for (name, text, value) in [
            (
                "placard_expiry_braked",
                "1 if nothing is deleted because the journal's clock has jumped",
                f64::from(account.braked.is_some()),
            ),
            (
                "placard_expiry_clock_off",
                "1 if nothing is deleted because this machine's clock is off",
                f64::from(account.clock_off),
            ),
            (
                "placard_expiry_seconds_pending",
                "Seconds to come for which a task is in the queue",
                account.seconds_pending as f64,
            ),
        ] {
            self.gauge(name, text).set(value);
        }
        for (chore, chored) in Chore::ALL.iter().zip(account.chores) {
            self.chore(chore.code(), chored.runs, chored.failures);
            self.labelled(
                ("placard_chore_rows_total", "Rows that a chore has deleted"),
                ("chore", chore.code()),
                chored.rows,
            );
        }
    }

    fn chore(&self, chore: &'static str, runs: u64, failures: u64) {
        let done = ("placard_chore_runs_total", "Times that a chore was done");
        self.labelled(done, ("chore", chore), runs);
        let failed = ("placard_chore_failures_total", "Times that a chore failed");
        self.labelled(failed, ("chore", chore), failures);
    }

    fn spans(&self, counts: SpanCounts) {
        let spans = ("placard_spans_total", "Spans of traced writes, by what became of them");
        let SpanCounts { sent, failed, dropped } = counts;
        for (outcome, count) in [("sent", sent), ("failed", failed), ("dropped", dropped)] {
            self.labelled(spans, ("outcome", outcome), count);
        }
    }

    /// A counter of several values of a label.
    fn labelled(
        &self,
        (name, text): (&'static str, &'static str),
        (label, value): (&'static str, &'static str),
        count: u64,
    ) {
        self.recorder.describe_counter(KeyName::from_const_str(name), None, text.into());
        let key = Key::from_parts(name, vec![Label::new(label, value)]);
        self.recorder.register_counter(&key, &METADATA).absolute(count);
    }

    fn counter(&self, name: &'static str, text: &'static str) -> Counter {
        self.recorder.describe_counter(KeyName::from_const_str(name), None, text.into());
        self.recorder.register_counter(&Key::from_static_name(name), &METADATA)
    }

    fn gauge(&self, name: &'static str, text: &'static str) -> Gauge {
        self.recorder.describe_gauge(KeyName::from_const_str(name), None, text.into());
        self.recorder.register_gauge(&Key::from_static_name(name), &METADATA)
    }
}

/// A histogram that the replica keeps itself, as Prometheus text; `scale` samples are one unit.
fn spread<const N: usize>(
    text: &mut String,
    name: &str,
    help: &str,
    (bounds, scale): ([u64; N], f64),
    samples: &histogram::Histogram<N>,
) {
    // Writing to a string cannot fail.
    let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} histogram");
    for (bound, count) in bounds.iter().zip(samples.cumulative()) {
        let _ = writeln!(text, "{name}_bucket{{le=\"{}\"}} {count}", *bound as f64 / scale);
    }
    let (count, sum) = (samples.count(), samples.sum() as f64 / scale);
    let _ = writeln!(
        text,
        "{name}_bucket{{le=\"+Inf\"}} {count}\n{name}_sum {sum}\n{name}_count {count}\n"
    );
}
