//! A set of a dimension's values: what an ad targets, or which rows of a table were touched. Apart from the
//! model's own sets because every dimension, of whatever type, is folded into this one before it is indexed.

/// Most values that one dimension can have, the absent filter included.
pub(crate) const VALUES_MAX: usize = 256;

const WORDS: usize = VALUES_MAX / 64;

/// A set of numbers below [`VALUES_MAX`]. In an ad's targeting the empty set means "open to all".
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct ValueSet([u64; WORDS]);

impl ValueSet {
    /// The set of these bits.
    pub(crate) fn of(bits: [u64; WORDS]) -> Self {
        Self(bits)
    }

    /// The numbers from `start` to `end`, both included.
    pub(crate) fn from_range(start: usize, end: usize) -> Self {
        let mut set = Self::default();
        for (at, word) in set.0.iter_mut().enumerate() {
            let below = |value: usize| match value.saturating_sub(at * 64) {
                bits @ 0..64 => (1 << bits) - 1,
                _ => u64::MAX,
            };
            *word = below(end + 1) & !below(start);
        }
        set
    }

    /// Each number one higher, and 0.
    pub(crate) fn behind_zero(&self) -> Self {
        let (mut set, mut carried) = (Self::default(), 1);
        for (word, from) in set.0.iter_mut().zip(self.0) {
            *word = from << 1 | carried;
            carried = from >> 63;
        }
        set
    }

    /// Adds one.
    pub(crate) fn insert(&mut self, value: usize) {
        self.0[value / 64] |= 1 << (value % 64);
    }

    /// Returns true if the value is in the set.
    pub(crate) fn contains(&self, value: usize) -> bool {
        self.0[value / 64] >> (value % 64) & 1 == 1
    }

    /// Returns true if the set is empty.
    pub(crate) fn is_empty(&self) -> bool {
        self.0 == [0; WORDS]
    }

    /// Iterates over the values in the set, ascending.
    pub(crate) fn iter(&self) -> impl Iterator<Item = usize> + use<> {
        let words = self.0;
        (0..WORDS).flat_map(move |at| {
            let mut word = words[at];
            std::iter::from_fn(move || {
                let bit = (word != 0).then(|| word.trailing_zeros() as usize)?;
                word &= word - 1;
                Some(at * 64 + bit)
            })
        })
    }

    /// Iterates over the values in the set as runs `(first, past the last)`, ascending: an age range is a single one.
    pub(crate) fn runs(&self) -> impl Iterator<Item = (usize, usize)> + use<> {
        let set = *self;
        let mut from = 0;
        std::iter::from_fn(move || {
            let first = set.next(from, true)?;
            let past = set.next(first, false).unwrap_or(VALUES_MAX);
            from = past;
            Some((first, past))
        })
    }

    /// The first number from `from` on that is in the set, or that is not.
    fn next(&self, from: usize, inside: bool) -> Option<usize> {
        let flip = if inside { 0 } else { u64::MAX };
        let mut mask = u64::MAX << (from % 64);
        for at in from / 64..WORDS {
            let word = (self.0[at] ^ flip) & mask;
            if word != 0 {
                return Some(at * 64 + word.trailing_zeros() as usize);
            }
            mask = u64::MAX;
        }
        None
    }
}

impl FromIterator<usize> for ValueSet {
    fn from_iter<I: IntoIterator<Item = usize>>(values: I) -> Self {
        let mut set = Self::default();
        values.into_iter().for_each(|value| set.insert(value));
        set
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn range_holds_its_numbers_and_shifts_behind_zero() {
        for start in 0..VALUES_MAX {
            for end in start.saturating_sub(1)..VALUES_MAX - 1 {
                let range = ValueSet::from_range(start, end);
                assert!(range.iter().eq(start..=end), "{start}..={end}");
                let moved = range.behind_zero();
                assert!(moved.iter().eq(std::iter::once(0).chain(start + 1..=end + 1)));
            }
        }
    }

    #[test]
    fn runs_cover_exactly_the_set() {
        for values in [vec![], vec![0], vec![255], vec![0, 1, 2, 63, 64, 65, 130, 254, 255]] {
            let set: ValueSet = values.iter().copied().collect();
            let covered: Vec<_> = set.runs().flat_map(|(first, past)| first..past).collect();
            assert_eq!(covered, values);
            assert!(set.iter().eq(values.iter().copied()));
        }
        let all = ValueSet::from_range(0, 255);
        assert_eq!(all.runs().collect::<Vec<_>>(), [(0, 256)]);
    }
}
