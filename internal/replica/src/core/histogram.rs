//! Histograms, counted where the numbers arise. They are here rather than in a metrics library, since the core does not
//! know one, and small enough to be copied with the rest of a replica's state.

use std::ops::AddAssign;

/// Upper bounds of the entries of one transaction.
pub const COMMIT_ENTRIES_BOUNDS: [u64; 10] = [1, 2, 4, 8, 16, 32, 64, 128, 256, 512];
/// Upper bounds of the time of one transaction, in microseconds.
pub const COMMIT_MICROS_BOUNDS: [u64; 14] = [
    250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000,
    2_500_000, 5_000_000,
];

/// Sample count per bucket; the last bucket is unbounded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Histogram<const N: usize> {
    up_to: [u64; N],
    beyond: u64,
    sum: u64,
}

impl<const N: usize> Default for Histogram<N> {
    fn default() -> Self {
        Self { up_to: [0; N], beyond: 0, sum: 0 }
    }
}

impl<const N: usize> AddAssign for Histogram<N> {
    fn add_assign(&mut self, other: Self) {
        for (count, more) in self.up_to.iter_mut().zip(other.up_to) {
            *count += more;
        }
        self.beyond += other.beyond;
        self.sum = self.sum.saturating_add(other.sum);
    }
}

impl<const N: usize> Histogram<N> {
    /// Counts a sample under the first of the ascending bounds that it does not exceed.
    pub(crate) fn record(&mut self, bounds: &[u64; N], sample: u64) {
        match bounds.iter().position(|bound| sample <= *bound) {
            Some(at) => self.up_to[at] += 1,
            None => self.beyond += 1,
        }
        self.sum = self.sum.saturating_add(sample);
    }

    /// Returns, for each bound, how many samples do not exceed it.
    pub fn cumulative(&self) -> [u64; N] {
        let mut sum = 0;
        self.up_to.map(|count| {
            sum += count;
            sum
        })
    }

    /// Returns the number of samples.
    pub fn count(&self) -> u64 {
        self.up_to.iter().sum::<u64>() + self.beyond
    }

    /// Returns the sum of the samples.
    pub fn sum(&self) -> u64 {
        self.sum
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_are_counted_up_to_their_bound() {
        let mut histogram = Histogram::default();
        for sample in [0, 1, 2, 3, 4, 5] {
            histogram.record(&[1, 4], sample);
        }
        assert_eq!(histogram.cumulative(), [2, 5]);
        assert_eq!((histogram.count(), histogram.sum()), (6, 15));
    }
}
