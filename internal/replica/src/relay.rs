//! What this replica still has to bring to the stream, and what it does about a stream that holds something
//! else. Pure. Records come from its own commits and from what it had to read from the journal because the
//! stream did not bring it; appending what is there already is harmless.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use placard_model::entry::{Chain, Record};
use placard_model::{Version, limits};

use crate::core::Moment;
use crate::ports::{Appended, StreamStatus};

/// How long another replica is given to append what it has committed, before it is relayed for it.
const OTHERS: Duration = Duration::from_millis(20);

#[derive(Debug, Default)]
pub(crate) struct Relay {
    pending: BTreeMap<Version, Record>,
    under_way: Option<Work>,
    state: State,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Work {
    /// Append these.
    Append(Arc<[Record]>),
    /// Read the journal after this version, so much at the most.
    Read(Version, usize),
    /// Ask the stream for its top.
    Inspect,
    /// Have the stream forget everything, if its top is still this.
    Reset(Version, Chain),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum State {
    /// Nothing stands against appending.
    #[default]
    Open,
    /// The stream lacks what follows this version; since then.
    Behind(Version, Option<Moment>),
    /// The stream holds something else: what is its top?
    Suspect,
    /// Does the journal have this top?
    Comparing(Version, Chain),
    /// It does not.
    Forked(Version, Chain),
    /// The stream could not be used; nothing is tried until the next head poll.
    Down,
}

impl Relay {
    /// Takes records that the stream may lack. Beyond the bound the oldest are dropped: the journal has them.
    pub(crate) fn push(&mut self, records: impl IntoIterator<Item = Record>) {
        self.pending.extend(records.into_iter().map(|record| (record.version, record)));
        while self.pending.len() > limits::UNAPPENDED_ENTRIES_MAX {
            self.pending.pop_first();
        }
    }

    /// What to do next, if nothing is under way. `applied` is how far this replica has read the stream, or
    /// the journal in its place.
    pub(crate) fn next(&mut self, now: Moment, applied: Version) -> Option<Work> {
        if self.under_way.is_some() {
            return None;
        }
        let first = self.pending.first_key_value().map(|(version, _)| *version);
        let work = match self.state {
            State::Down => return None,
            State::Suspect => Work::Inspect,
            State::Comparing(top, _) => Work::Read(top.saturating_sub(1), 1),
            State::Forked(top, chain) => Work::Reset(top, chain),
            State::Open => self.append(first?),
            State::Behind(top, since) => {
                let first = first?;
                let since = since.unwrap_or(now);
                self.state = State::Behind(top, Some(since));
                if top + 1 >= first || applied + 1 >= first {
                    self.append(first)
                } else if now >= since + OTHERS {
                    let missing = (first - 1 - top) as usize;
                    Work::Read(top, missing.min(limits::READ_ENTRIES_MAX))
                } else {
                    return None;
                }
            }
        };
        self.under_way = Some(work.clone());
        Some(work)
    }

    /// The first records that follow each other.
    fn append(&self, first: Version) -> Work {
        let run = (first..).zip(&self.pending).take_while(|(expected, (v, _))| expected == *v);
        let records = run.map(|(_, (_, record))| record.clone());
        Work::Append(records.take(limits::READ_ENTRIES_MAX).collect())
    }

    /// An append has come back; `None` if the stream could not be used.
    pub(crate) fn appended(&mut self, appended: Option<Appended>) {
        let Some(Work::Append(records)) = self.under_way.take() else { return };
        self.state = match appended {
            Some(Appended::Done) => {
                let last = records.last().map_or(0, |record| record.version);
                self.pending = self.pending.split_off(&(last + 1));
                State::Open
            }
            // Behind twice at the same top: others had their time, or their entries were forgotten again.
            Some(Appended::Behind { top }) => State::Behind(top, None),
            Some(Appended::Fork) => State::Suspect,
            None => State::Down,
        };
    }

    /// The stream's top has come back.
    pub(crate) fn inspected(&mut self, status: Option<&StreamStatus>) {
        if self.under_way != Some(Work::Inspect) {
            return;
        }
        self.under_way = None;
        self.state = match status.map(|status| status.top) {
            Some(Some((top, chain))) => State::Comparing(top, chain),
            Some(None) => State::Open,
            None => State::Down,
        };
    }

    /// The journal has been read; `None` if it could not be.
    pub(crate) fn read(&mut self, records: Option<Vec<Record>>) {
        if !matches!(self.under_way, Some(Work::Read(..))) {
            return;
        }
        self.under_way = None;
        let Some(records) = records else {
            self.state = State::Down;
            return;
        };
        if let State::Comparing(top, chain) = self.state {
            // The top was read first and the journal after it: what the journal lacks, no journal ever had.
            let known =
                records.first().is_some_and(|first| (first.version, first.chain) == (top, chain));
            if known {
                // Then it is the pending ones that are of another history.
                self.pending.clear();
            }
            self.state = if known { State::Open } else { State::Forked(top, chain) };
        } else if records.is_empty() {
            self.state = State::Down;
        } else {
            self.push(records);
            self.state = State::Open;
        }
    }

    /// The stream was reset, or was not; `None` if it could not be used.
    pub(crate) fn reset(&mut self, done: Option<()>) {
        if matches!(self.under_way, Some(Work::Reset(..))) {
            self.under_way = None;
            self.state = if done.is_some() { State::Open } else { State::Down };
        }
    }

    /// The stream has brought something that does not belong there.
    pub(crate) fn suspect(&mut self) {
        if matches!(self.state, State::Open | State::Behind(..)) {
            self.state = State::Suspect;
        }
    }

    /// The stream may be tried again.
    pub(crate) fn retry(&mut self) {
        if self.state == State::Down {
            self.state = State::Open;
        }
    }

    /// Whether the stream could not be used when it was last tried.
    pub(crate) fn is_down(&self) -> bool {
        self.state == State::Down
    }

    /// Whether all that was pushed has been appended.
    pub(crate) fn is_idle(&self) -> bool {
        self.pending.is_empty()
    }

    /// When it has something to do by itself.
    pub(crate) fn wake_at(&self) -> Option<Moment> {
        match self.state {
            State::Behind(_, Some(since)) if self.under_way.is_none() => Some(since + OTHERS),
            _ => None,
        }
    }
}
