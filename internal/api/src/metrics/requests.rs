//! Metrics of requests, by route and method. Readers count without waiting for each other or for a scrape.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use http::{Method, StatusCode};

use super::exposition::Exposition;

/// The status classes that are answered.
const CLASSES: [(u16, &str); 4] = [(2, "2xx"), (3, "3xx"), (4, "4xx"), (5, "5xx")];
/// Upper bounds of the histogram's buckets, in seconds: reads take microseconds, writes milliseconds.
const BOUNDS: [f64; 16] = [
    0.000_05, 0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5,
    1.0, 2.5, 5.0,
];

/// A route, and what is counted for each method that it accepts. Other methods are not counted.
#[derive(Debug)]
pub(crate) struct RouteMetrics {
    route: &'static str,
    methods: Box<[MethodMetrics]>,
}

#[derive(Debug)]
struct MethodMetrics {
    method: Method,
    answered: [AtomicU64; CLASSES.len()],
    /// How many took at most as long as each bound says, and longer than the bound before it says.
    up_to: [AtomicU64; BOUNDS.len()],
    beyond: AtomicU64,
    nanos: AtomicU64,
}

impl RouteMetrics {
    pub(super) fn new(route: &'static str, methods: &[Method]) -> Self {
        let method = |method: &Method| MethodMetrics {
            method: method.clone(),
            answered: Default::default(),
            up_to: Default::default(),
            beyond: AtomicU64::default(),
            nanos: AtomicU64::default(),
        };
        Self { route, methods: methods.iter().map(method).collect() }
    }

    pub(super) fn route(&self) -> &'static str {
        self.route
    }

    /// Returns the index of a method, if it is counted.
    pub(crate) fn of(&self, method: &Method) -> Option<usize> {
        // A HEAD is a GET whose body is not sent.
        let method = if method == Method::HEAD { &Method::GET } else { method };
        self.methods.iter().position(|counted| counted.method == method)
    }

    /// Counts an answer to a request of the method at this index.
    pub(crate) fn answered(&self, method: usize, status: StatusCode, took: Duration) {
        let counted = &self.methods[method];
        let seconds = took.as_secs_f64();
        let bucket = BOUNDS.iter().position(|bound| seconds <= *bound);
        increment(bucket.map_or(&counted.beyond, |at| &counted.up_to[at]));
        counted.nanos.fetch_add(took.as_nanos() as u64, Ordering::Relaxed);
        let class = status.as_u16() / 100;
        if let Some(at) = CLASSES.iter().position(|(known, _)| *known == class) {
            increment(&counted.answered[at]);
        }
    }
}

/// Writes the metrics of all routes.
pub(super) fn write(routes: &[impl AsRef<RouteMetrics>], text: &mut Exposition) {
    let methods = || {
        let routes = routes.iter().map(AsRef::as_ref);
        routes.flat_map(|route| route.methods.iter().map(|counted| (route.route, counted)))
    };
    let mut answered = text.counters(
        "placard_http_requests_total",
        "Requests answered, by `route`, `method` and `status` class",
    );
    for (route, counted) in methods() {
        for ((_, class), count) in CLASSES.iter().zip(&counted.answered) {
            let method = counted.method.as_str();
            let labels = [("route", route), ("method", method), ("status", class)];
            answered.sample("", &labels, count.load(Ordering::Relaxed));
        }
    }
    let mut durations = text.histogram(
        "placard_http_request_duration_seconds",
        "Time from a request's head to its answer, by `route` and `method`",
    );
    for (route, counted) in methods() {
        let mut count = 0;
        let cumulative: Vec<_> = BOUNDS
            .iter()
            .zip(&counted.up_to)
            .map(|(bound, up_to)| {
                count += up_to.load(Ordering::Relaxed);
                (*bound, count)
            })
            .collect();
        let all = count + counted.beyond.load(Ordering::Relaxed);
        let sum = Duration::from_nanos(counted.nanos.load(Ordering::Relaxed)).as_secs_f64();
        let labels = [("route", route), ("method", counted.method.as_str())];
        durations.spread(&labels, cumulative, (all, sum));
    }
}

/// Counts one more.
pub(super) fn increment(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_counted_by_route_method_class_and_time() {
        let route = std::sync::Arc::new(RouteMetrics::new("/x", &[Method::GET, Method::PUT]));
        assert_eq!(route.of(&Method::DELETE), None);
        let head = route.of(&Method::HEAD).expect("it counts as a GET");
        route.answered(head, StatusCode::NOT_MODIFIED, Duration::from_micros(50));
        route.answered(head, StatusCode::OK, Duration::from_secs(6));
        let mut text = Exposition::default();
        write(&[route], &mut text);
        let text = text.into_text();
        let value = |sample: &str| {
            text.lines().find_map(|line| line.strip_prefix(sample)?.strip_prefix(' '))
        };
        let requests = |method: &str, class: &str| {
            value(&format!(
                "placard_http_requests_total{{route=\"/x\",method=\"{method}\",status=\"{class}\"}}"
            ))
        };
        let classes = ["2xx", "3xx", "4xx", "5xx"];
        assert_eq!(classes.map(|class| requests("GET", class)), ["1", "1", "0", "0"].map(Some));
        assert_eq!(classes.map(|class| requests("PUT", class)), [Some("0"); 4]);
        let duration = |suffix: &str, labels: &str| {
            let name = "placard_http_request_duration_seconds";
            value(&format!("{name}{suffix}{{route=\"/x\",method=\"GET\"{labels}}}"))
        };
        let buckets =
            ["0.00005", "5", "+Inf"].map(|bound| duration("_bucket", &format!(",le=\"{bound}\"")));
        assert_eq!(buckets, ["1", "1", "2"].map(Some));
        assert_eq!((duration("_count", ""), duration("_sum", "")), (Some("2"), Some("6.00005")));
    }
}
