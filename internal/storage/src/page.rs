//! Bounds the bytes of a page of the log or of the stream, for a path of any speed: a page that comes too late is asked
//! for again in half the size, since on a slow path no page of the usual size would ever come in time.

use std::sync::atomic::{AtomicUsize, Ordering};

use placard_model::limits;

/// No page is bounded to fewer bytes than these; one entry comes in any case.
const LEAST: usize = limits::READ_BYTES_MAX >> 8;

/// The bound of the next page. Several may be read at once.
#[derive(Debug)]
pub(crate) struct PageBytes(AtomicUsize);

impl Default for PageBytes {
    fn default() -> Self {
        Self(AtomicUsize::new(limits::READ_BYTES_MAX))
    }
}

impl PageBytes {
    /// Returns the bound of the page that is asked for next.
    pub(crate) fn bound(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }

    /// Notes that a page with this bound was late: the next has half of it.
    pub(crate) fn late(&self, bound: usize) {
        self.0.fetch_min((bound / 2).max(LEAST), Ordering::Relaxed);
    }

    /// Notes that a page with this bound has come with `bytes` bytes. If it was at least half full, the next may have a
    /// quarter more. A smaller page says nothing of the path's speed.
    pub(crate) fn came(&self, bound: usize, bytes: usize) {
        let more = (bound + bound / 4).min(limits::READ_BYTES_MAX);
        if bytes >= bound / 2 && more > bound {
            // Not if another page was late meanwhile.
            let _ = self.0.compare_exchange(bound, more, Ordering::Relaxed, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn late_pages_are_halved_and_restored_step_by_step() {
        let page = PageBytes::default();
        let path = 100_000;
        let mut late = 0;
        while page.bound() > path {
            page.late(page.bound());
            late += 1;
        }
        assert_eq!(late, 3, "half each time");
        // A small page says nothing.
        page.came(page.bound(), 100);
        assert_eq!(page.bound(), limits::READ_BYTES_MAX / 8);
        let mut steps = 0;
        while page.bound() < limits::READ_BYTES_MAX {
            let before = page.bound();
            page.came(before, before);
            assert!((before + 1..=before * 5 / 4).contains(&page.bound()));
            steps += 1;
        }
        assert!(steps > 3, "{steps}");
        (0..100).for_each(|_| page.late(page.bound()));
        assert_eq!(page.bound(), LEAST);
    }

    #[test]
    fn page_arriving_beside_a_late_one_restores_nothing() {
        let page = PageBytes::default();
        page.late(page.bound());
        let bound = page.bound();
        page.late(bound);
        page.came(bound, bound);
        assert_eq!(page.bound(), bound / 2);
    }
}
