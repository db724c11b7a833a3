//! Why a state is built from the journal's ads: each cause is counted by itself, since one is an ordinary start and
//! another a bug.

use std::ops::AddAssign;

use placard_engine::Refusal;

/// The cause of a restore.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RestoreCause {
    /// It was started, and had no checkpoint that could be used.
    Start,
    /// The journal tells another history than the one that the state came from.
    Fork,
    /// Its digest was not the one that an entry carries.
    Digest,
    /// The log no longer has the next entry: it was trimmed while the replica was away.
    Gap,
    /// The next entry was written for builds that are newer than this one.
    Format,
}

impl RestoreCause {
    /// All causes.
    pub const ALL: [Self; 5] = [Self::Start, Self::Fork, Self::Digest, Self::Gap, Self::Format];

    /// Returns the cause in one word.
    pub fn code(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Fork => "fork",
            Self::Digest => "digest",
            Self::Gap => "gap",
            Self::Format => "format",
        }
    }

    /// Returns the cause for a state that is given up because of this refusal.
    pub(crate) fn of(refusal: &Refusal) -> Self {
        match refusal {
            Refusal::Fork(_) => Self::Fork,
            Refusal::Diverged(_) => Self::Digest,
            Refusal::Poison(..) => Self::Format,
            // Old entries are passed over rather than refused.
            Refusal::Gap { .. } | Refusal::Old { .. } => Self::Gap,
        }
    }
}

/// How often each cause has led to a restore.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RestoreCounts([u64; RestoreCause::ALL.len()]);

impl RestoreCounts {
    /// Counts a restore.
    pub(crate) fn count(&mut self, cause: RestoreCause) {
        self.0[cause as usize] += 1;
    }

    /// Returns how often this cause has led to a restore.
    pub fn of(&self, cause: RestoreCause) -> u64 {
        self.0[cause as usize]
    }

    /// Returns the number of all restores.
    pub fn all(&self) -> u64 {
        self.0.iter().sum()
    }
}

impl AddAssign for RestoreCounts {
    fn add_assign(&mut self, other: Self) {
        for (count, more) in self.0.iter_mut().zip(other.0) {
            *count += more;
        }
    }
}

#[cfg(test)]
mod tests {
    use placard_model::entry::{Chain, Digest, FORMAT_LEVEL, Record};

    use super::*;
    use crate::core::Phase;
    use crate::core::test_support::{Running, deletion};

    #[test]
    fn each_cause_is_counted_by_itself() {
        let mut running = Running::new();
        let counted = |running: &Running| {
            RestoreCause::ALL.map(|cause| running.core.counts().restores.of(cause))
        };
        assert_eq!(counted(&running), [1, 0, 0, 0, 0]);

        running.polled(Chain([7; 32]));
        running.restore();
        assert_eq!(counted(&running), [1, 1, 0, 0, 0]);
        let fork = Record { chain: Chain([7; 32]), ..deletion(1, FORMAT_LEVEL, Digest(0)) };
        running.refuses(fork, Phase::Restoring);
        assert_eq!(counted(&running), [1, 2, 0, 0, 0]);
        running.refuses(deletion(1, FORMAT_LEVEL, Digest(1)), Phase::Quarantined);
        assert_eq!(counted(&running), [1, 2, 1, 0, 0]);
        running.refuses(deletion(2, FORMAT_LEVEL, Digest(0)), Phase::Restoring);
        assert_eq!(counted(&running), [1, 2, 1, 1, 0]);
        running.refuses(deletion(1, FORMAT_LEVEL + 1, Digest(0)), Phase::Restoring);
        assert_eq!(counted(&running), [1, 2, 1, 1, 1]);
        assert_eq!(running.core.counts().restores.all(), 6);
    }
}
