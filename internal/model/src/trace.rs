//! The trace context of a write, as its request and its entries carry it: enough for each replica that works on them to
//! add spans to the same trace. It decides nothing, and nothing else depends on it.

/// The ids of a trace and of the parent span of what follows, as in W3C's Trace Context. Only a recorded write has one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct TraceContext {
    /// The trace.
    pub trace_id: u128,
    /// The span.
    pub span_id: u64,
}

impl TraceContext {
    /// Returns 16 bytes of the trace and 8 of the span, both big-endian.
    pub(crate) fn to_bytes(self) -> [u8; 24] {
        let mut bytes = [0; 24];
        bytes[..16].copy_from_slice(&self.trace_id.to_be_bytes());
        bytes[16..].copy_from_slice(&self.span_id.to_be_bytes());
        bytes
    }

    /// Reads what [`TraceContext::to_bytes`] wrote. Any other bytes name no trace, which is no reason to refuse an
    /// entry.
    pub(crate) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (trace_id, span_id) = bytes.split_first_chunk::<16>()?;
        let (trace_id, span_id) =
            (u128::from_be_bytes(*trace_id), u64::from_be_bytes(span_id.try_into().ok()?));
        (trace_id != 0 && span_id != 0).then_some(Self { trace_id, span_id })
    }
}
