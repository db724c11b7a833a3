//! What one HAProxy says of itself and of a backend, in its page for Prometheus.

use std::time::Duration;

use anyhow::{Context, ensure};

/// The most that a number may be: up to it, a counter of this kind counts every request (2^53).
const NUMBER_MAX: f64 = 9_007_199_254_740_992.0;

/// The numbers of a page that are used here.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Page {
    /// When the balancer was started, in seconds of its own clock.
    pub(crate) started: f64,
    /// How long ago that was.
    pub(crate) uptime: Duration,
    /// Requests since then.
    pub(crate) requests: f64,
    /// Requests that are being answered, or are queued.
    pub(crate) sessions: f64,
    /// Those of them that are queued, because no replica takes them.
    pub(crate) queue: f64,
    /// The mean time to answer of its last 1,024 requests, in seconds.
    pub(crate) response: f64,
    /// Replicas that get requests.
    pub(crate) serving: u32,
    /// Replicas that get no new requests, because they are about to leave.
    pub(crate) draining: u32,
    /// Replicas that do not answer.
    pub(crate) down: u32,
}

impl Page {
    /// Reads the page's text.
    ///
    /// # Errors
    /// It does not have all the numbers of the backend, or one of them cannot be.
    pub(crate) fn parse(text: &str, backend: &str) -> anyhow::Result<Self> {
        let samples: Vec<_> = text.lines().filter_map(Sample::parse).collect();
        let number = |name: String, whose: &str| {
            let found = samples.iter().find(|sample| sample.name == name && sample.is_of(backend));
            let value = found.with_context(|| format!("the page has no {name}{whose}"))?.value;
            ensure!(
                (0.0..=NUMBER_MAX).contains(&value),
                "the page's {name}{whose} is {value:e}, which is not a number from 0 to {NUMBER_MAX:e}"
            );
            Ok(value)
        };
        let whose = format!(" of '{backend}'");
        let of_backend = |name: &str| number(format!("haproxy_backend_{name}"), &whose);
        let of_process = |name: &str| number(format!("haproxy_process_{name}"), "");
        let mut page = Self {
            started: of_process("start_time_seconds")?,
            uptime: Duration::try_from_secs_f64(of_process("uptime_seconds")?)?,
            requests: of_backend("http_requests_total")?,
            sessions: of_backend("current_sessions")?,
            queue: of_backend("current_queue")?,
            response: of_backend("response_time_average_seconds")?,
            ..Self::default()
        };
        let statuses = samples.iter().filter(|sample| {
            sample.name == "haproxy_server_status" && sample.is_of(backend) && sample.value == 1.0
        });
        for status in statuses {
            match status.label("state") {
                Some("UP") => page.serving += 1,
                Some("DRAIN" | "NOLB") => page.draining += 1,
                Some("DOWN") => page.down += 1,
                // A place for a replica, without one.
                _ => {}
            }
        }
        Ok(page)
    }
}

/// A line of the page. The names in HAProxy's labels have no character that would have to be escaped.
struct Sample<'a> {
    name: &'a str,
    labels: &'a str,
    value: f64,
}

impl<'a> Sample<'a> {
    fn parse(line: &'a str) -> Option<Self> {
        let (series, value) = line.rsplit_once(' ')?;
        let (name, labels) = match series.split_once('{') {
            Some((name, labels)) => (name, labels.strip_suffix('}')?),
            None => (series, ""),
        };
        Some(Self { name, labels, value: value.parse().ok()? })
    }

    fn label(&self, name: &str) -> Option<&'a str> {
        let mut labels = self.labels.split(',').filter_map(|label| label.split_once('='));
        labels.find(|(label, _)| *label == name).map(|(_, value)| value.trim_matches('"'))
    }

    /// Returns true if it is about the backend, or about the whole process.
    fn is_of(&self, backend: &str) -> bool {
        self.labels.is_empty() || self.label("proxy") == Some(backend)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As HAProxy 2.6 writes it, shortened.
    const TEXT: &str = r#"# HELP haproxy_process_uptime_seconds How long ago this worker process was started (seconds)
# TYPE haproxy_process_uptime_seconds gauge
haproxy_process_uptime_seconds 61
haproxy_process_current_zlib_memory NaN
haproxy_process_start_time_seconds 1795908432
haproxy_backend_current_queue{proxy="replicas"} 2
haproxy_backend_current_queue{proxy="other"} 40
haproxy_backend_current_sessions{proxy="replicas"} 7
haproxy_backend_http_requests_total{proxy="other"} 900
haproxy_backend_http_requests_total{proxy="replicas"} 1234
haproxy_backend_response_time_average_seconds{proxy="replicas"} 0.003000
haproxy_server_status{proxy="other",server="replica9",state="UP"} 1
haproxy_server_status{proxy="replicas",server="replica1",state="DOWN"} 0
haproxy_server_status{proxy="replicas",server="replica1",state="UP"} 1
haproxy_server_status{proxy="replicas",server="replica2",state="NOLB"} 1
haproxy_server_status{proxy="replicas",server="replica3",state="DRAIN"} 1
haproxy_server_status{proxy="replicas",server="replica4",state="DOWN"} 1
haproxy_server_status{proxy="replicas",server="replica5",state="MAINT"} 1
"#;

    #[test]
    fn page_is_read_for_one_backend() {
        let page = Page::parse(TEXT, "replicas").unwrap();
        let expected = Page {
            started: 1_795_908_432.0,
            uptime: Duration::from_secs(61),
            requests: 1234.0,
            sessions: 7.0,
            queue: 2.0,
            response: 0.003,
            serving: 1,
            draining: 2,
            down: 1,
        };
        assert_eq!(page, expected);
    }

    #[test]
    fn page_that_lacks_a_number_is_refused_by_its_name() {
        for (series, value, name) in [
            ("haproxy_process_uptime_seconds", "61", "haproxy_process_uptime_seconds"),
            (
                "haproxy_backend_current_sessions{proxy=\"replicas\"}",
                "7",
                "haproxy_backend_current_sessions of 'replicas'",
            ),
        ] {
            let line = format!("{series} {value}\n");
            let refused = |text: &str| {
                let page = Page::parse(&TEXT.replace(&line, text), "replicas");
                page.unwrap_err().to_string()
            };
            assert_eq!(refused(""), format!("the page has no {name}"));
            for (value, shown) in
                [("NaN", "NaN"), ("-1", "-1e0"), ("1e308", "1e308"), ("+Inf", "inf")]
            {
                let says = format!("the page's {name} is {shown}, which is not a number from 0 to");
                let error = refused(&format!("{series} {value}\n"));
                assert!(error.starts_with(&says), "{error}");
            }
        }
        for text in ["", "404 page not found", "{", "a{b 1", "haproxy_process_uptime_seconds"] {
            assert!(Page::parse(text, "replicas").is_err(), "{text}");
        }
    }
}
