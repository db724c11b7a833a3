//! A row of bits, one per ad of a chunk, in result order.

/// Most ads in a chunk. Larger chunks make deep offsets cheaper and every write dearer, because a write
/// copies its chunk: `docs/performance` has the figures of 256, 512 and 1,024.
pub(super) const CHUNK_ADS: usize = 512;

const WORDS: usize = CHUNK_ADS / 64;

/// One bit per position of a chunk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Row([u64; WORDS]);

impl Row {
    pub(super) const EMPTY: Self = Self([0; WORDS]);

    pub(super) fn set(&mut self, at: usize) {
        self.0[at / 64] |= 1 << (at % 64);
    }

    /// Makes room at `at`, with this bit in it; what was there and beyond moves up by one.
    pub(super) fn insert(&mut self, at: usize, bit: bool) {
        let (word, low) = (at / 64, (1 << (at % 64)) - 1);
        for at in (word + 1..WORDS).rev() {
            self.0[at] = self.0[at] << 1 | self.0[at - 1] >> 63;
        }
        let old = self.0[word];
        self.0[word] = old & low | (old & !low) << 1 | u64::from(bit) << (at % 64);
    }

    /// Drops the bit at `at`; what was beyond moves down by one.
    pub(super) fn remove(&mut self, at: usize) {
        let (word, low) = (at / 64, (1 << (at % 64)) - 1);
        let old = self.0[word];
        self.0[word] = old & low | old >> 1 & !low;
        for at in word..WORDS - 1 {
            self.0[at] |= self.0[at + 1] << 63;
            self.0[at + 1] >>= 1;
        }
    }

    /// Drops the bits below `at`.
    pub(super) fn keep_from(&mut self, at: usize) {
        for (index, word) in self.0.iter_mut().enumerate() {
            let below = at.saturating_sub(index * 64);
            *word &= if below >= 64 { 0 } else { u64::MAX << below };
        }
    }

    /// Flips the bits that are set in the other.
    pub(super) fn xor(&mut self, other: &Self) {
        for (word, more) in self.0.iter_mut().zip(other.0) {
            *word ^= more;
        }
    }

    pub(super) fn and(&mut self, other: &Self) {
        for (word, more) in self.0.iter_mut().zip(other.0) {
            *word &= more;
        }
    }

    pub(super) fn without(&self, other: &Self) -> Self {
        let mut row = *self;
        for (word, less) in row.0.iter_mut().zip(other.0) {
            *word &= !less;
        }
        row
    }

    pub(super) fn count(&self) -> u64 {
        self.0.iter().map(|word| u64::from(word.count_ones())).sum()
    }

    /// Calls `visit` with each position that is set, ascending, until it says that it has enough. Returns true if it
    /// did.
    pub(super) fn each(&self, mut visit: impl FnMut(usize) -> bool) -> bool {
        for (index, word) in self.0.iter().enumerate() {
            let mut left = *word;
            while left != 0 {
                if visit(index * 64 + left.trailing_zeros() as usize) {
                    return true;
                }
                left &= left - 1;
            }
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inserting_and_removing_shift_like_a_vector_of_bits() {
        let mut row = Row::EMPTY;
        let mut model: Vec<bool> = Vec::new();
        let mut state = 1_u64;
        for step in 0..4_000 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let random = (state >> 33) as usize;
            if model.len() == CHUNK_ADS || (step % 3 == 0 && !model.is_empty()) {
                let at = random % model.len();
                model.remove(at);
                row.remove(at);
            } else {
                let at = random % (model.len() + 1);
                model.insert(at, random % 7 < 3);
                row.insert(at, random % 7 < 3);
            }
            let mut seen = Vec::new();
            row.each(|at| {
                seen.push(at);
                false
            });
            assert!(seen.iter().copied().eq((0..model.len()).filter(|at| model[*at])));
            assert_eq!(row.count(), seen.len() as u64);
            let from = random % CHUNK_ADS;
            let mut kept = row;
            kept.keep_from(from);
            assert_eq!(kept.count(), seen.iter().filter(|at| **at >= from).count() as u64);
        }
    }
}
