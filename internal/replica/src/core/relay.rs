//! Keeps what this replica still has to bring to the stream, and decides what to do about a stream that holds something
//! else. Pure. Records come from its own commits and from what it had to read from the journal because the stream did
//! not bring it; appending what is there already is harmless.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use placard_model::entry::{Chain, Record};
use placard_model::{Version, limits};

use super::io::Moment;
use crate::ports::{Appended, StreamStatus};

/// How long another replica is given to append what it has committed, before it is relayed for it.
const OTHERS: Duration = Duration::from_millis(20);

#[derive(Debug, Default)]
pub(crate) struct Relay {
    pending: BTreeMap<Version, Record>,
    under_way: Option<Work>,
    /// Whether the work under way concerns a stream that was left since.
    stale_work: bool,
    state: StreamState,
    /// Where the stream ended when it was behind; `None` since the last append that succeeded.
    behind_at: Option<Version>,
    /// The stream was found to fork although the journal has its top; likewise.
    forked_at_known: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Work {
    /// Append these.
    Append(Arc<[Record]>),
    /// Read the journal after this version, at most this many records.
    Read(Version, usize),
    /// Ask the stream for its top.
    Inspect,
    /// Have the stream forget everything, if its top is still this.
    Reset(Version, Chain),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum StreamState {
    /// Records can be appended.
    #[default]
    Open,
    /// The stream lacks what follows this version, which others may be about to append; since then.
    Behind(Version, Option<Moment>),
    /// The stream lacks what follows this version, and no replica appends it.
    Missing(Version),
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
    /// Takes records that the stream may lack. Beyond the bound some are dropped, since the journal has them: not
    /// the oldest, which the stream needs first, and not the newest, which tells that it lacks those before.
    pub(crate) fn push(&mut self, records: impl IntoIterator<Item = Record>) {
        for record in records {
            self.pending.insert(record.version, record);
            if self.pending.len() > limits::UNAPPENDED_ENTRIES_MAX {
                let newest = self.pending.pop_last();
                self.pending.pop_last();
                self.pending.extend(newest);
            }
        }
    }

    /// Goes over to another stream, of which nothing is known. The pending records may be of another history than that
    /// stream's journal; the journal has those that are not.
    pub(crate) fn leave(&mut self) {
        let under_way = self.under_way.take();
        *self = Self { stale_work: under_way.is_some(), under_way, ..Self::default() };
    }

    /// Work that has come back; `None` if it was not under way, or concerned a stream that was left since.
    fn returned(&mut self, is_it: impl FnOnce(&Work) -> bool) -> Option<Work> {
        let work = self.under_way.take_if(|work| is_it(work))?;
        (!std::mem::take(&mut self.stale_work)).then_some(work)
    }

    /// Returns what to do next, if nothing is under way. `applied` is how far this replica has read the stream, or the
    /// journal in its place.
    pub(crate) fn next(&mut self, now: Moment, applied: Version) -> Option<Work> {
        if self.under_way.is_some() {
            return None;
        }
        let first = self.pending.first_key_value().map(|(version, _)| *version);
        let work = match self.state {
            StreamState::Down => return None,
            StreamState::Suspect => Work::Inspect,
            StreamState::Comparing(top, _) => Work::Read(top.saturating_sub(1), 1),
            StreamState::Forked(top, chain) => Work::Reset(top, chain),
            StreamState::Open => self.append(first?),
            // What was missing may have been read in the meantime, because this replica missed it too.
            StreamState::Missing(top) if first? <= top + 1 => self.append(first?),
            StreamState::Missing(top) => Work::Read(top, missing(top, first?)),
            StreamState::Behind(top, since) => {
                let first = first?;
                let since = since.unwrap_or(now);
                self.state = StreamState::Behind(top, Some(since));
                if top + 1 >= first || applied + 1 >= first {
                    self.append(first)
                } else if now >= since + OTHERS {
                    Work::Read(top, missing(top, first))
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
        let work = self.returned(|work| matches!(work, Work::Append(_)));
        let Some(Work::Append(records)) = work else { return };
        self.state = match appended {
            Some(Appended::Done) => {
                let last = records.last().map_or(0, |record| record.version);
                self.pending = self.pending.split_off(&(last + 1));
                self.behind_at = None;
                self.forked_at_known = false;
                StreamState::Open
            }
            // Behind at the same top again: others have had their time, or have nothing to append.
            Some(Appended::Behind { top }) if self.behind_at.replace(top) == Some(top) => {
                StreamState::Missing(top)
            }
            Some(Appended::Behind { top }) => StreamState::Behind(top, None),
            Some(Appended::Fork) => StreamState::Suspect,
            None => StreamState::Down,
        };
    }

    /// The stream's top has come back.
    pub(crate) fn inspected(&mut self, status: Option<&StreamStatus>) {
        if self.returned(|work| *work == Work::Inspect).is_none() {
            return;
        }
        self.state = match status.map(|status| status.top) {
            Some(Some((top, chain))) => StreamState::Comparing(top, chain),
            // It takes anything: also what is pending of a history that the journal has lost.
            Some(None) => {
                self.pending.clear();
                StreamState::Open
            }
            None => StreamState::Down,
        };
    }

    /// The journal has been read; `None` if it could not be. Returns how many records the stream is to have of it.
    pub(crate) fn read(&mut self, records: Option<Vec<Record>>) -> usize {
        if self.returned(|work| matches!(work, Work::Read(..))).is_none() {
            return 0;
        }
        let Some(records) = records else {
            self.state = StreamState::Down;
            return 0;
        };
        if let StreamState::Comparing(top, chain) = self.state {
            // The top was read first and the journal after it: what the journal lacks, no journal ever had.
            let known =
                records.first().is_some_and(|first| (first.version, first.chain) == (top, chain));
            if known {
                // The records up to the top are there. If those that follow do not fit, they are of another history.
                let rest = self.pending.split_off(&(top + 1));
                self.pending = if self.forked_at_known { BTreeMap::new() } else { rest };
                self.forked_at_known = true;
            }
            self.state = if known { StreamState::Open } else { StreamState::Forked(top, chain) };
        } else if records.is_empty() {
            self.state = StreamState::Down;
        } else if let StreamState::Behind(top, _) | StreamState::Missing(top) = self.state
            && records.first().is_some_and(|first| first.version > top + 1)
        {
            // The log was trimmed past the stream's end: the stream must be cleared and filled again.
            self.state = StreamState::Suspect;
        } else {
            let relayed = records.len();
            self.push(records);
            self.state = StreamState::Open;
            return relayed;
        }
        0
    }

    /// The stream was reset, or was not; `None` if it could not be used.
    pub(crate) fn reset(&mut self, done: Option<()>) {
        if self.returned(|work| matches!(work, Work::Reset(..))).is_some() {
            // Pending records may be of the forgotten history too. The journal has those that are not.
            self.pending.clear();
            self.state = if done.is_some() { StreamState::Open } else { StreamState::Down };
        }
    }

    /// The stream has brought something that does not belong there.
    pub(crate) fn suspect(&mut self) {
        if matches!(
            self.state,
            StreamState::Open | StreamState::Behind(..) | StreamState::Missing(_)
        ) {
            self.state = StreamState::Suspect;
        }
    }

    /// The stream may be tried again.
    pub(crate) fn retry(&mut self) {
        if self.state == StreamState::Down {
            self.state = StreamState::Open;
        }
    }

    /// Returns true if the stream could not be used when it was last tried.
    pub(crate) fn is_down(&self) -> bool {
        self.state == StreamState::Down
    }

    /// Returns how many of the pushed records the stream is not known to have.
    pub(crate) fn len(&self) -> usize {
        self.pending.len()
    }

    /// Returns true if all that was pushed has been appended.
    pub(crate) fn is_idle(&self) -> bool {
        self.pending.is_empty()
    }

    /// When it has something to do by itself.
    pub(crate) fn wake_at(&self) -> Option<Moment> {
        match self.state {
            StreamState::Behind(_, Some(since)) if self.under_way.is_none() => Some(since + OTHERS),
            _ => None,
        }
    }
}

/// Returns how many records to read so that `first` follows the stream's top.
fn missing(top: Version, first: Version) -> usize {
    let missing = usize::try_from(first - 1 - top).unwrap_or(usize::MAX);
    missing.min(limits::READ_ENTRIES_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;

    fn record(version: Version) -> Record {
        Record { version, chain: Chain([version as u8; 32]), bytes: Bytes::new() }
    }

    fn moment(ms: u64) -> Moment {
        Moment(Duration::from_millis(ms))
    }

    /// A relay with record 101 to append, whose stream has been found to end at 5.
    fn behind_at_5(applied: Version) -> Relay {
        let mut relay = Relay::default();
        relay.push([record(101)]);
        assert!(matches!(relay.next(moment(0), applied), Some(Work::Append(_))));
        relay.appended(Some(Appended::Behind { top: 5 }));
        relay
    }

    #[test]
    fn others_are_given_time_to_append() {
        let mut relay = behind_at_5(90);
        assert_eq!(relay.next(moment(1), 90), None);
        assert_eq!(relay.wake_at(), Some(moment(21)));
        assert!(matches!(relay.next(moment(2), 100), Some(Work::Append(_))));
        let mut relay = behind_at_5(90);
        assert_eq!(relay.next(moment(1), 90), None);
        assert_eq!(relay.next(moment(21), 90), Some(Work::Read(5, 95)));
    }

    /// Appends were tried for ever, without a pause, when this replica had applied all that was missing.
    #[test]
    fn rolled_back_stream_is_filled_from_the_journal() {
        let mut relay = behind_at_5(100);
        assert!(matches!(relay.next(moment(1), 100), Some(Work::Append(_))));
        relay.appended(Some(Appended::Behind { top: 5 }));
        assert_eq!(relay.next(moment(2), 100), Some(Work::Read(5, 95)));
        relay.read(Some((6..=100).map(record).collect()));
        let Some(Work::Append(records)) = relay.next(moment(3), 100) else { panic!("no append") };
        assert_eq!((records.len(), records[0].version), (96, 6));
        relay.appended(Some(Appended::Done));
        assert!(relay.is_idle());
    }

    /// It asked for less than nothing when this replica had missed, and read, the same records in the meantime.
    #[test]
    fn missing_records_now_pending_are_appended() {
        let mut relay = behind_at_5(100);
        assert!(matches!(relay.next(moment(1), 100), Some(Work::Append(_))));
        relay.push((3..=100).map(record));
        relay.appended(Some(Appended::Behind { top: 5 }));
        let Some(Work::Append(records)) = relay.next(moment(2), 100) else { panic!("no append") };
        assert_eq!(records[0].version, 3);
    }

    /// Records that were read for the stream were dropped, as the oldest, before they could be appended, again each
    /// time.
    #[test]
    fn stream_that_lacks_more_than_is_held_is_filled() {
        let held = limits::UNAPPENDED_ENTRIES_MAX as Version;
        let (mut relay, mut top, last) = (Relay::default(), 5_000, 10_000 + 2 * held);
        relay.push((10_001..=last).map(record));
        for ms in 0.. {
            match relay.next(moment(ms), last + ms) {
                Some(Work::Append(records)) if records[0].version > top + 1 => {
                    relay.appended(Some(Appended::Behind { top }));
                }
                Some(Work::Append(records)) => {
                    top = top.max(records[records.len() - 1].version);
                    relay.appended(Some(Appended::Done));
                }
                Some(Work::Read(after, max)) => {
                    relay.read(Some((after + 1..=after + max as Version).map(record).collect()));
                }
                None if relay.is_idle() => break,
                None => {}
                Some(other) => panic!("{other:?} was not to be done"),
            }
            // Its own commits go on meanwhile, up to a point.
            if ms < 1_000 {
                relay.push([record(last + 1 + ms)]);
            }
            assert!(ms < 5_000, "the stream ends at {top}");
        }
        assert_eq!(top, last + 1_000);
    }

    #[test]
    fn stream_that_ends_before_the_log_is_reset() {
        let mut relay = behind_at_5(90);
        relay.next(moment(1), 90);
        assert_eq!(relay.next(moment(30), 90), Some(Work::Read(5, 95)));
        relay.read(Some((50..=100).map(record).collect()));
        assert_eq!(relay.next(moment(31), 90), Some(Work::Inspect));
        relay.inspected(Some(&StreamStatus { top: Some((5, Chain([5; 32]))), entries: 1 }));
        assert_eq!(relay.next(moment(32), 90), Some(Work::Read(4, 1)));
        relay.read(Some(vec![record(50)]));
        assert_eq!(relay.next(moment(33), 90), Some(Work::Reset(5, Chain([5; 32]))));
        relay.reset(Some(()));
        relay.push([record(102)]);
        assert!(matches!(relay.next(moment(34), 90), Some(Work::Append(_))));
    }

    /// Another replica that has found the fork may have had the stream reset first.
    #[test]
    fn a_lost_history_is_not_appended_to_an_empty_stream() {
        let mut relay = Relay::default();
        relay.push([record(5)]);
        relay.suspect();
        assert_eq!(relay.next(moment(0), 6), Some(Work::Inspect));
        relay.inspected(Some(&StreamStatus::default()));
        assert_eq!(relay.next(moment(0), 6), None);
        relay.push([record(4)]);
        let Some(Work::Append(records)) = relay.next(moment(0), 4) else { panic!("no append") };
        assert_eq!(records[0].version, 4);
    }

    /// Records of two histories, pending together, were appended, refused and reset for ever.
    #[test]
    fn a_reset_forgets_what_is_pending() {
        let mut relay = Relay::default();
        relay.push([record(5), record(6)]);
        relay.next(moment(0), 6);
        relay.appended(Some(Appended::Fork));
        assert_eq!(relay.next(moment(0), 6), Some(Work::Inspect));
        relay.inspected(Some(&StreamStatus { top: Some((5, Chain([9; 32]))), entries: 1 }));
        relay.next(moment(0), 6);
        relay.read(Some(vec![record(5)]));
        assert!(matches!(relay.next(moment(0), 6), Some(Work::Reset(..))));
        relay.reset(Some(()));
        assert_eq!(relay.next(moment(0), 6), None);
    }
}
