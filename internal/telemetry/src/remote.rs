//! The caller's place in its trace, from the header fields of W3C's Trace Context. Read here rather than by
//! OpenTelemetry's propagator, which takes ids of any length and more.

use opentelemetry::Context;
use opentelemetry::trace::{SpanContext, SpanId, TraceContextExt, TraceFlags, TraceId, TraceState};
use placard_model::limits;

/// The length of a `traceparent` of version 00, and the least of a later version.
const TRACEPARENT_BYTES: usize = 55;

/// Returns the context of the sender of these fields; fields that cannot be read are ignored.
pub(crate) fn context(traceparent: Option<&str>, tracestate: Option<&str>) -> Context {
    let Some((trace, span, flags)) = traceparent.and_then(parent) else { return Context::new() };
    let state = tracestate.filter(|state| state.len() <= limits::TRACESTATE_BYTES_MAX);
    let state = state.and_then(|state| state.parse::<TraceState>().ok()).unwrap_or_default();
    Context::new().with_remote_span_context(SpanContext::new(trace, span, flags, true, state))
}

/// Parses a `traceparent` (section 3.2): `version-trace-parent-flags` in lower-case hex, ids that are not zero, and
/// nothing after that but what a version beyond 00 adds behind another hyphen. Of the flags only `sampled` is used.
fn parent(text: &str) -> Option<(TraceId, SpanId, TraceFlags)> {
    let (known, more) = text.split_at_checked(TRACEPARENT_BYTES)?;
    let mut fields = known.split('-');
    let mut field = |digits: usize| {
        let is_hex = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
        fields.next().filter(|field| field.len() == digits && field.bytes().all(is_hex))
    };
    let (version, trace, span, flags) = (field(2)?, field(32)?, field(16)?, field(2)?);
    let goes_on = version != "00" && more.starts_with('-');
    if version == "ff" || !(more.is_empty() || goes_on) {
        return None;
    }
    let (trace, span) = (TraceId::from_hex(trace).ok()?, SpanId::from_hex(span).ok()?);
    let flags = TraceFlags::new(u8::from_str_radix(flags, 16).ok()?) & TraceFlags::SAMPLED;
    (trace != TraceId::INVALID && span != SpanId::INVALID).then_some((trace, span, flags))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
    const SPAN: &str = "b7ad6b7169203331";

    #[test]
    fn a_traceparent_is_read_strictly() {
        for (text, sampled) in [
            (format!("00-{TRACE}-{SPAN}-00"), false),
            (format!("00-{TRACE}-{SPAN}-01"), true),
            (format!("00-{TRACE}-{SPAN}-fe"), false),
            (format!("00-{TRACE}-{SPAN}-ff"), true),
            // A later version, as far as it is known.
            (format!("01-{TRACE}-{SPAN}-01"), true),
            (format!("cc-{TRACE}-{SPAN}-01-what-the-future-brings"), true),
            (format!("fe-{TRACE}-{SPAN}-01-"), true),
        ] {
            let context = context(Some(&text), None);
            let span = context.span();
            let found = span.span_context();
            assert_eq!(found.trace_id().to_string(), TRACE, "{text}");
            assert_eq!(found.span_id().to_string(), SPAN, "{text}");
            assert_eq!(found.is_sampled(), sampled, "{text}");
            assert!(found.trace_flags().to_u8() <= 1, "{text}");
            assert!(found.is_remote(), "{text}");
        }
        for text in [
            String::new(),
            format!("ff-{TRACE}-{SPAN}-01"),
            format!("FE-{TRACE}-{SPAN}-01"),
            format!("0-{TRACE}-{SPAN}-01"),
            format!("000-{TRACE}-{SPAN}-1"),
            format!("+0-{TRACE}-{SPAN}-01"),
            format!("00-{}-{SPAN}-01", "0".repeat(32)),
            format!("00-{TRACE}-{}-01", "0".repeat(16)),
            format!("00-{}-{SPAN}-01", TRACE.to_uppercase()),
            format!("00-{TRACE}-{}-01", SPAN.to_uppercase()),
            format!("00-{TRACE}-{SPAN}-0A"),
            format!("00-{TRACE}-{SPAN}-+1"),
            format!("00-{TRACE}-{SPAN}-1"),
            format!("00-{TRACE}-{SPAN}-001"),
            format!("00-{TRACE}-{SPAN}"),
            format!("00-{TRACE}-{SPAN}-01-"),
            format!("00-{TRACE}-{SPAN}-01-more"),
            format!("00-{TRACE}-{SPAN}-01."),
            format!("01-{TRACE}-{SPAN}-01.more"),
            format!("01-{TRACE}-{SPAN}-01more"),
            format!("00-{}-{SPAN}0-01", &TRACE[1..]),
            format!("00-{}g-{SPAN}-01", &TRACE[1..]),
            format!("00_{TRACE}_{SPAN}_01"),
            format!(" 0-{TRACE}-{SPAN}-01"),
            "é".repeat(28),
        ] {
            let context = context(Some(&text), Some("a=b"));
            assert!(!context.span().span_context().is_valid(), "{text}");
        }
    }

    #[test]
    fn a_tracestate_that_cannot_be_read_leaves_its_parent() {
        let parent = format!("00-{TRACE}-{SPAN}-01");
        for (state, kept) in [("a=b,c=d", "a=b,c=d"), ("no list", ""), ("", "")] {
            let context = context(Some(&parent), Some(state));
            let span = context.span();
            assert!(span.span_context().is_valid(), "{state}");
            assert_eq!(span.span_context().trace_state().header(), kept, "{state}");
        }
    }

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
