//! The caller's place in its trace, from the header fields of W3C's Trace Context.

use opentelemetry::Context;
use opentelemetry::propagation::{Extractor, TextMapPropagator};
use opentelemetry_sdk::propagation::TraceContextPropagator;
use placard_model::limits;

struct Fields<'a> {
    traceparent: &'a str,
    tracestate: Option<&'a str>,
}

impl Extractor for Fields<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        match key {
            "traceparent" => Some(self.traceparent),
            "tracestate" => self.tracestate,
            _ => None,
        }
    }

    fn keys(&self) -> Vec<&str> {
        vec!["traceparent", "tracestate"]
    }
}

/// The context of whoever sent these fields; what cannot be read is as good as none.
pub(crate) fn context(traceparent: Option<&str>, tracestate: Option<&str>) -> Context {
    let Some(traceparent) = traceparent else { return Context::new() };
    let tracestate = tracestate.filter(|state| state.len() <= limits::TRACESTATE_BYTES_MAX);
    let fields = Fields { traceparent, tracestate };
    TraceContextPropagator::new().extract_with_context(&Context::new(), &fields)
}

#[cfg(test)]
mod tests {
    use opentelemetry::trace::TraceContextExt;

    use super::*;

    #[test]
    fn a_long_tracestate_is_ignored_and_its_parent_is_not() {
        let longest = limits::TRACESTATE_BYTES_MAX;
        let parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        // One member's value has 256 characters at the most; two make the longest list.
        let state = |bytes: usize| {
            let member = format!("a={}", "x".repeat(253));
            format!("{member},b={}", "x".repeat(bytes - member.len() - 3))
        };
        let kept = |state: &str| {
            let context = context(Some(parent), Some(state));
            let span = context.span();
            assert!(span.span_context().is_valid());
            span.span_context().trace_state().header().len()
        };
        assert_eq!(kept(&state(longest)), longest);
        assert_eq!(kept(&state(longest + 1)), 0);
    }
}
