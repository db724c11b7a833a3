//! What this replica still has to bring to the stream. Pure. Records arrive from its own commits; what the
//! stream lacks before them (another replica's, or forgotten ones) is read from the journal first.

use std::collections::VecDeque;
use std::sync::Arc;

use placard_model::entry::Record;
use placard_model::{Version, limits};

use crate::ports::Appended;

#[derive(Debug, Default)]
pub(crate) struct Relay {
    /// Consecutive records to append, oldest first.
    pending: VecDeque<Record>,
    under_way: Option<Work>,
    /// Set when the stream lacks what follows this version.
    behind: Option<Version>,
    /// The stream could not be used; nothing is tried until the next head poll.
    down: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Work {
    /// Append these.
    Append(Arc<[Record]>),
    /// Read the journal after this version, so much at the most.
    Read(Version, usize),
}

impl Relay {
    /// Takes what was just committed. Beyond the bound the oldest are dropped: the journal has them.
    pub(crate) fn push(&mut self, records: impl IntoIterator<Item = Record>) {
        self.pending.extend(records);
        let surplus = self.pending.len().saturating_sub(limits::UNAPPENDED_ENTRIES_MAX);
        self.pending.drain(..surplus);
    }

    /// What to do next, if nothing is under way.
    pub(crate) fn next(&mut self) -> Option<Work> {
        if self.under_way.is_some() || self.down {
            return None;
        }
        let first = self.pending.front()?.version;
        let work = match self.behind {
            Some(top) if top + 1 < first => {
                let missing = (first - 1 - top) as usize;
                Work::Read(top, missing.min(limits::READ_ENTRIES_MAX))
            }
            _ => {
                let records = self.pending.iter().take(limits::READ_ENTRIES_MAX).cloned();
                Work::Append(records.collect())
            }
        };
        self.under_way = Some(work.clone());
        Some(work)
    }

    /// An append has come back; `None` if the stream could not be used.
    pub(crate) fn appended(&mut self, appended: Option<Appended>) {
        let Some(Work::Append(records)) = self.under_way.take() else { return };
        match appended {
            Some(Appended::Done) => {
                self.behind = None;
                self.forget_up_to(records.last().map_or(0, |record| record.version));
            }
            Some(Appended::Behind { top }) => self.behind = Some(top),
            // The stream will be rebuilt from the journal by whoever heals it; until then readers read there.
            Some(Appended::Fork) | None => self.down = true,
        }
    }

    /// The journal has been read for what the stream lacks; empty if it could not be.
    pub(crate) fn read(&mut self, records: Vec<Record>) {
        if !matches!(self.under_way.take(), Some(Work::Read(..))) {
            return;
        }
        if records.is_empty() {
            self.down = true;
        }
        for record in records.into_iter().rev() {
            self.pending.push_front(record);
        }
        self.behind = None;
    }

    /// The stream may be tried again.
    pub(crate) fn retry(&mut self) {
        self.down = false;
    }

    /// Whether the stream could not be used when it was last tried.
    pub(crate) fn is_down(&self) -> bool {
        self.down
    }

    /// Whether all that was committed here has been appended.
    pub(crate) fn is_idle(&self) -> bool {
        self.pending.is_empty()
    }

    fn forget_up_to(&mut self, version: Version) {
        let known = self.pending.partition_point(|record| record.version <= version);
        self.pending.drain(..known);
    }
}
