//! The seconds to come for which this replica has ensured a task. They are in order, so that those that have passed are
//! taken off the front, and bounded, since the scheduler looks at most a minute ahead.

use placard_model::limits;
use skiplist::OrderedSkipList;

/// Most seconds that are remembered. One more is not, which costs no more than a second question whether there is
/// a task for it.
const SECONDS_MAX: usize = 4 * limits::EXPIRY_SECONDS_MAX;

/// The seconds, in order.
#[derive(Default)]
pub(crate) struct Agenda(OrderedSkipList<u64>);

impl Agenda {
    /// Returns true if the second is scheduled already.
    pub(crate) fn has(&self, second: u64) -> bool {
        self.0.contains(&second)
    }

    /// Notes that a task is in the queue for this second.
    pub(crate) fn add(&mut self, second: u64) {
        if self.0.len() < SECONDS_MAX && !self.has(second) {
            self.0.insert(second);
        }
    }

    /// Forgets the seconds before this one.
    pub(crate) fn pass(&mut self, now: u64) {
        while self.0.first().is_some_and(|second| *second < now) {
            self.0.pop_first();
        }
    }

    /// Returns the number of seconds.
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_are_kept_once_until_they_have_passed() {
        let mut agenda = Agenda::default();
        for second in [30, 10, 20, 10] {
            agenda.add(second);
        }
        assert_eq!(agenda.len(), 3);
        agenda.pass(20);
        assert!(!agenda.has(10) && agenda.has(20) && agenda.has(30));
    }

    #[test]
    fn agenda_does_not_grow_beyond_its_bound() {
        let mut agenda = Agenda::default();
        (0..10_000).for_each(|second| agenda.add(second));
        assert_eq!(agenda.len(), SECONDS_MAX);
        agenda.pass(10_000);
        assert_eq!(agenda.len(), 0);
    }
}
