//! Decides an append by the stream's top. Pure: the adapter brings what Redis says, this decides.

use placard_model::entry::{Chain, Record};
use placard_model::{Version, limits};

/// Most bytes of entries that one script is given, unless a single entry has more: Redis serves nobody else
/// while it runs.
const APPEND_BYTES_MAX: usize = 1 << 20;

/// Stands for every top that can be none of the journal's versions. The journal's databases count in `i64`, so
/// it can be asked for there, and is never found.
pub(super) const BEYOND: Version = i64::MAX as Version;

/// The chain shown for a top whose chain is unknown; no entry has it, since none precedes the first.
pub(super) const UNKNOWN: Chain = Chain::GENESIS;

/// The newest that the stream ever held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Top {
    /// Nothing: it takes any first entry.
    Empty,
    /// An entry with this chain.
    At(Version, Chain),
    /// Something that no append has left there: the mark is missing or belongs to another entry, or the id is not ours.
    Odd(Version),
}

/// What to do about an append.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum AppendStep {
    /// This many of the records are there already, and the others can follow.
    Append(usize),
    /// All of them are older than the top; what the stream still holds at the last one's version decides.
    Compare,
    /// Entries are missing after this version.
    Behind(Version),
    /// The stream holds another history.
    Fork,
}

/// Returns the id of an entry.
pub(super) fn id(version: Version) -> String {
    format!("0-{version}")
}

/// Returns the version in an id; `None` if the id is not ours.
pub(super) fn version(id: &[u8]) -> Option<Version> {
    std::str::from_utf8(id).ok()?.strip_prefix("0-")?.parse().ok()
}

/// Returns the chain in a field; `None` if the field does not have a chain's length.
pub(super) fn chain(field: &[u8]) -> Option<Chain> {
    field.try_into().ok().map(Chain)
}

impl Top {
    /// Reads the newest id and the mark.
    pub(super) fn read(id: &[u8], mark: Option<&[u8]>) -> Self {
        let known = version(id).filter(|version| *version < BEYOND);
        match known {
            Some(0) => Self::Empty,
            Some(version) => {
                let marked = mark.and_then(|mark| mark.strip_suffix(id)).and_then(chain);
                marked.map_or(Self::Odd(version), |chain| Self::At(version, chain))
            }
            None => Self::Odd(BEYOND),
        }
    }

    /// Returns the top as it is shown to replicas.
    pub(super) fn shown(self) -> Option<(Version, Chain)> {
        match self {
            Self::Empty => None,
            Self::At(version, chain) => Some((version, chain)),
            Self::Odd(version) => Some((version, UNKNOWN)),
        }
    }

    pub(super) fn id(self) -> String {
        id(self.shown().map_or(0, |(version, _)| version))
    }

    /// Returns what the sibling key holds: the chain, and the id that it belongs to.
    pub(super) fn mark(self) -> Vec<u8> {
        let chain = self.shown().map_or(UNKNOWN, |(_, chain)| chain);
        [&chain.0[..], self.id().as_bytes()].concat()
    }

    /// Returns what to do about an append of records that follow each other.
    pub(super) fn step(self, records: &[Record]) -> AppendStep {
        let (Some(first), Some(last)) = (records.first(), records.last()) else {
            return AppendStep::Append(0);
        };
        match self {
            Self::Empty => AppendStep::Append(0),
            Self::Odd(_) => AppendStep::Fork,
            Self::At(top, _) if first.version > top + 1 => AppendStep::Behind(top),
            Self::At(top, _) if last.version < top => AppendStep::Compare,
            Self::At(top, chain) => {
                // The number of records up to the top, which is one of them or the first's predecessor.
                let there = (top + 1 - first.version) as usize;
                let follows = match there.checked_sub(1) {
                    Some(at) => records[at].chain == chain,
                    None => chain.next(first.version, &first.bytes) == first.chain,
                };
                if follows { AppendStep::Append(there) } else { AppendStep::Fork }
            }
        }
    }
}

/// Returns how many of the records, from the first, follow each other.
pub(super) fn consecutive(records: &[Record]) -> usize {
    let follows = |pair: &[Record]| {
        let (before, next) = (&pair[0], &pair[1]);
        before.version.checked_add(1) == Some(next.version)
            && before.chain.next(next.version, &next.bytes) == next.chain
    };
    let followers = records.windows(2).take_while(|pair| follows(pair)).count();
    records.len().min(followers + 1)
}

/// Returns how many of the records, from the first, one script may append: at least one, if there are any.
pub(super) fn portion(records: &[Record]) -> usize {
    let mut bytes = 0;
    let fits = |record: &&Record| {
        bytes += record.bytes.len();
        bytes <= APPEND_BYTES_MAX
    };
    let fitting = records.iter().take(limits::READ_ENTRIES_MAX).take_while(fits).count();
    fitting.max(1).min(records.len())
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn records(versions: std::ops::RangeInclusive<Version>) -> Vec<Record> {
        let mut chain = Chain([7; 32]);
        let record = |version| {
            let bytes = Bytes::from_static(b"an entry");
            chain = chain.next(version, &bytes);
            Record { version, chain, bytes }
        };
        versions.map(record).collect()
    }

    #[test]
    fn a_top_is_believed_only_with_its_own_mark() {
        let top = Top::At(12, Chain([3; 32]));
        assert_eq!(Top::read(b"0-12", Some(&top.mark())), top);
        assert_eq!(Top::read(b"0-0", Some(&top.mark())), Top::Empty);
        assert_eq!(Top::read(b"0-0", None), Top::Empty);
        assert_eq!(Top::read(b"0-12", None), Top::Odd(12));
        assert_eq!(Top::read(b"0-13", Some(&top.mark())), Top::Odd(13));
        assert_eq!(Top::read(b"0-2", Some(&top.mark())), Top::Odd(2));
        assert_eq!(Top::read(b"0-12", Some(b"0-12")), Top::Odd(12));
        for id in [&b"1-12"[..], b"0-18446744073709551615", b"0-9223372036854775807", b"", b"0--1"]
        {
            assert_eq!(Top::read(id, None), Top::Odd(BEYOND), "{id:?}");
        }
    }

    #[test]
    fn append_is_decided_by_the_streams_top() {
        let all = records(5..=9);
        let at = |index: usize| Top::At(all[index].version, all[index].chain);
        assert_eq!(Top::Empty.step(&all), AppendStep::Append(0));
        assert_eq!(at(0).step(&all[1..]), AppendStep::Append(0));
        assert_eq!(at(1).step(&all[1..]), AppendStep::Append(1));
        assert_eq!(at(4).step(&all[1..]), AppendStep::Append(4));
        assert_eq!(at(4).step(&all[1..4]), AppendStep::Compare);
        assert_eq!(at(0).step(&all[2..]), AppendStep::Behind(5));
        assert_eq!(Top::At(5, Chain([9; 32])).step(&all[1..]), AppendStep::Fork);
        assert_eq!(Top::At(6, Chain([9; 32])).step(&all[1..]), AppendStep::Fork);
        assert_eq!(Top::Odd(5).step(&all[1..]), AppendStep::Fork);
        assert_eq!(Top::Odd(BEYOND).step(&all), AppendStep::Fork);
    }

    #[test]
    fn only_consecutive_records_form_one_run() {
        let mut all = records(1..=4);
        assert_eq!(consecutive(&all), 4);
        assert_eq!(consecutive(&all[..0]), 0);
        all[2].chain = Chain([1; 32]);
        assert_eq!(consecutive(&all), 2);
        all.remove(1);
        assert_eq!(consecutive(&all), 1);
    }

    #[test]
    fn a_script_is_given_a_bounded_portion() {
        assert_eq!(portion(&[]), 0);
        assert_eq!(portion(&records(1..=3)), 3);
        assert_eq!(portion(&records(1..=2_000)), limits::READ_ENTRIES_MAX);
        let mut large = records(1..=3);
        large[1].bytes = vec![0; APPEND_BYTES_MAX].into();
        assert_eq!(portion(&large), 1);
        assert_eq!(portion(&large[1..]), 1);
        assert_eq!(portion(&large[2..]), 1);
    }
}
