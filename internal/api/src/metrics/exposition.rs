//! Metrics as text that Prometheus reads, in version 0.0.4 of its format.

use std::fmt::{Display, Write};

use placard_replica::counters::Counter;

/// A label and its value. Values are words of this program, with nothing in them that would have to be escaped.
pub(super) type Label<'a> = (&'static str, &'a str);

/// Metrics that are being written, one family after the other.
#[derive(Debug, Default)]
pub struct Exposition(String);

impl Exposition {
    /// Begins the family of a histogram.
    pub(super) fn histogram(&mut self, name: &'static str, help: &'static str) -> Family<'_> {
        self.family(name, help, "histogram")
    }

    /// Writes a counter of each value of a label.
    pub(super) fn labelled<'v>(
        &mut self,
        name: &'static str,
        help: &'static str,
        label: &'static str,
        counts: impl IntoIterator<Item = (&'v str, u64)>,
    ) {
        let mut family = self.counters(name, help);
        for (value, count) in counts {
            family.sample("", &[(label, value)], count);
        }
    }

    /// Begins a family of counters.
    pub(super) fn counters(&mut self, name: &'static str, help: &'static str) -> Family<'_> {
        self.family(name, help, "counter")
    }

    /// Writes a counter without labels.
    pub fn counter(&mut self, name: &'static str, help: &'static str, count: u64) {
        self.counters(name, help).sample("", &[], count);
    }

    /// Writes counters as they are declared.
    pub fn counted<Set>(&mut self, counters: &'static [Counter<Set>], counts: &Set) {
        for counter in counters {
            self.counter(counter.name, counter.help, (counter.count)(counts));
        }
    }

    /// Begins a family of gauges.
    pub(super) fn gauges(&mut self, name: &'static str, help: &'static str) -> Family<'_> {
        self.family(name, help, "gauge")
    }

    /// Writes a gauge without labels.
    pub fn gauge(&mut self, name: &'static str, help: &'static str, value: impl Into<f64>) {
        self.gauges(name, help).sample("", &[], Number(value.into()));
    }

    /// Returns the text.
    pub(super) fn into_text(self) -> String {
        self.0
    }

    fn family(&mut self, name: &'static str, help: &str, kind: &str) -> Family<'_> {
        // The documentation of a field is the help of its counter.
        let help = help.trim().trim_end_matches('.');
        // Writing to a string cannot fail.
        let _ = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}");
        Family { text: &mut self.0, name }
    }
}

/// The samples of one name.
#[derive(Debug)]
pub(super) struct Family<'t> {
    text: &'t mut String,
    name: &'static str,
}

impl Family<'_> {
    /// Writes a sample. A histogram has samples of several suffixes.
    pub(super) fn sample(&mut self, suffix: &str, labels: &[Label<'_>], value: impl Display) {
        let Self { text, name } = self;
        let _ = write!(text, "{name}{suffix}");
        for (nth, (label, value)) in labels.iter().enumerate() {
            let before = if nth == 0 { '{' } else { ',' };
            let _ = write!(text, "{before}{label}=\"{value}\"");
        }
        let after = if labels.is_empty() { "" } else { "}" };
        let _ = writeln!(text, "{after} {value}");
    }

    /// Writes the samples of a histogram: for each upper bound, how many did not exceed it; how many there were; and
    /// their sum.
    pub(super) fn spread(
        &mut self,
        labels: &[Label<'_>],
        cumulative: impl IntoIterator<Item = (f64, u64)>,
        (count, sum): (u64, f64),
    ) {
        let bounded = cumulative.into_iter().chain([(f64::INFINITY, count)]);
        for (bound, count) in bounded {
            let bound = Number(bound).to_string();
            self.sample("_bucket", &[labels, &[("le", &bound)]].concat(), count);
        }
        self.sample("_sum", labels, Number(sum));
        self.sample("_count", labels, count);
    }
}

/// A number as the format writes it.
struct Number(f64);

impl Display for Number {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            f64::INFINITY => f.write_str("+Inf"),
            number => number.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn families_are_written_under_their_help() {
        let mut text = Exposition::default();
        text.counter("a_total", " What is counted.", 3);
        text.gauge("b", "What is measured", f64::INFINITY);
        text.labelled("c_total", "By `cause`", "cause", [("x", 1), ("y", 0)]);
        let mut spread = text.histogram("d_seconds", "How long");
        spread.spread(&[("route", "/")], [(0.000_05, 1), (1.0, 2)], (3, 2.5));
        let written = "# HELP a_total What is counted\n# TYPE a_total counter\na_total 3\n\
            # HELP b What is measured\n# TYPE b gauge\nb +Inf\n\
            # HELP c_total By `cause`\n# TYPE c_total counter\nc_total{cause=\"x\"} 1\nc_total{cause=\"y\"} 0\n\
            # HELP d_seconds How long\n# TYPE d_seconds histogram\n\
            d_seconds_bucket{route=\"/\",le=\"0.00005\"} 1\n\
            d_seconds_bucket{route=\"/\",le=\"1\"} 2\n\
            d_seconds_bucket{route=\"/\",le=\"+Inf\"} 3\n\
            d_seconds_sum{route=\"/\"} 2.5\nd_seconds_count{route=\"/\"} 3\n";
        assert_eq!(text.into_text(), written);
    }
}
