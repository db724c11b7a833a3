//! Reports the steps of the shell that concern traced writes as spans. Called only if spans go somewhere.

#![expect(clippy::disallowed_methods, reason = "a span has the machine's time")]

use std::time::{Duration, SystemTime};

use placard_model::entry::{Entry, Record};
use placard_model::{TraceContext, Version};

use crate::core::{Input, Purpose};
use crate::decision::{Batch, Plan};
use crate::ports::{Appended, CommitError, Unavailable};
use crate::spans::{Source, Spans, Stage, Step};

/// Entries of one request that follow each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Traced {
    parent: TraceContext,
    first: Version,
    last: Version,
}

/// Traced entries that are about to be applied.
#[derive(Debug)]
pub(crate) struct Applying {
    entries: Vec<Traced>,
    from: Source,
    begun: SystemTime,
}

/// Returns the traced entries among these records. Entries of a request follow each other.
fn traced<'a>(records: impl IntoIterator<Item = &'a Record>) -> Vec<Traced> {
    let mut found: Vec<Traced> = Vec::new();
    for record in records {
        let Ok(Entry { trace: Some(parent), .. }) = Entry::decode(&record.bytes) else { continue };
        match found.last_mut() {
            Some(before) if before.parent == parent => before.last = record.version,
            _ => found.push(Traced { parent, first: record.version, last: record.version }),
        }
    }
    found
}

/// Reports a transaction that has come back after `took`.
pub(crate) fn committed(
    spans: &dyn Spans,
    batch: &Batch,
    took: Duration,
    result: &Result<Plan, CommitError>,
) {
    let ended = SystemTime::now();
    let log = result.as_ref().map_or(&[][..], |plan| &plan.log);
    let versions = log.first().zip(log.last());
    let versions = versions.map(|(first, last)| (first.record.version, last.record.version));
    for parent in batch.requests.iter().filter_map(|request| request.trace) {
        spans.done(&Step {
            parent,
            stage: Stage::Commit { requests: batch.requests.len() },
            versions,
            begun: ended - took,
            ended,
            failed: result.is_err(),
        });
    }
}

/// Reports an append that has come back after `took`.
pub(crate) fn appended(
    spans: &dyn Spans,
    records: &[Record],
    took: Duration,
    result: &Result<Appended, Unavailable>,
) {
    if matches!(result, Ok(Appended::Behind { .. } | Appended::Fork)) {
        // Nothing was appended, and nothing has failed: it is tried again when others have appended theirs.
        return;
    }
    let ended = SystemTime::now();
    for Traced { parent, first, last } in traced(records) {
        spans.done(&Step {
            parent,
            stage: Stage::Publish { entries: records.len() },
            versions: Some((first, last)),
            begun: ended - took,
            ended,
            failed: result.is_err(),
        });
    }
}

impl Applying {
    /// Returns the traced entries that an input brings beyond the applied version; `None` if there are no such entries.
    pub(crate) fn of(input: &Input, applied: Version) -> Option<Self> {
        let (entries, from) = match input {
            Input::Committed(Ok(plan)) => {
                let own = plan.log.iter().map(|row| &row.record);
                (traced(own.filter(|record| record.version > applied)), Source::Commit)
            }
            Input::StreamRead(Ok(records)) => {
                (traced(records.iter().filter(|record| record.version > applied)), Source::Stream)
            }
            Input::LogRead(Purpose::Heal, Ok(records)) => {
                (traced(records.iter().filter(|record| record.version > applied)), Source::Journal)
            }
            _ => return None,
        };
        let begun = SystemTime::now();
        (!entries.is_empty()).then_some(Self { entries, from, begun })
    }

    /// Reports the entries that readers see after the input was handled, up to the published version. Later ones are
    /// applied when they come again.
    pub(crate) fn done(self, spans: &dyn Spans, published: Version) {
        let ended = SystemTime::now();
        for Traced { parent, first, last } in self.entries {
            if first > published {
                return;
            }
            spans.done(&Step {
                parent,
                stage: Stage::Apply { from: self.from },
                versions: Some((first, last.min(published))),
                begun: self.begun,
                ended,
                failed: false,
            });
        }
    }
}
