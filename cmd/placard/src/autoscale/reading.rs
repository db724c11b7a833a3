//! What all balancers together say: their counters become rates, and their loads add up. Time comes in with the pages.

use std::time::Duration;

use super::page::Page;

/// The load, and the replicas, between two looks.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Reading {
    /// Requests a second.
    pub(crate) requests: f64,
    /// Requests that are being answered, or are queued.
    pub(crate) sessions: f64,
    /// Those of them that are queued.
    pub(crate) queue: f64,
    /// The mean time to answer, in seconds; `None` if there were no requests.
    pub(crate) response: Option<f64>,
    /// Replicas that every balancer sends requests to.
    pub(crate) serving: u32,
    /// Replicas that are about to leave.
    pub(crate) draining: u32,
    /// All replicas that a balancer knows of, whatever their state.
    pub(crate) known: u32,
    /// False if the load may be greater and the replicas may be more, because a balancer has not answered, or has been
    /// started a short time ago.
    pub(crate) is_whole: bool,
}

/// The balancers, as far as they were read.
#[derive(Debug)]
pub(crate) struct Meters {
    /// The last page of each, and when it was read.
    last: Vec<Option<(Duration, Page)>>,
    /// For how long after its start a balancer may not have found every replica.
    settling: Duration,
    restarts: u64,
}

impl Meters {
    /// Begins without a page of any of these balancers.
    pub(crate) fn new(balancers: usize, settling: Duration) -> Self {
        Self { last: vec![None; balancers], settling, restarts: 0 }
    }

    /// Returns how often a balancer was found started again.
    pub(crate) fn restarts(&self) -> u64 {
        self.restarts
    }

    /// Takes over a page of each balancer that has answered, in the order of the balancers, and returns what they say
    /// together; `None` if no balancer has answered.
    pub(crate) fn read(&mut self, now: Duration, pages: &[Option<Page>]) -> Option<Reading> {
        let mut all: Option<Reading> = None;
        let mut time = 0.0;
        let mut is_whole = true;
        for (last, page) in self.last.iter_mut().zip(pages) {
            let Some(page) = page else {
                is_whole = false;
                continue;
            };
            let before = last.replace((now, *page));
            let again = before.is_some_and(|(_, before)| is_another(&before, page));
            self.restarts += u64::from(again);
            is_whole &= before.is_some() && !again && page.uptime >= self.settling;
            let requests = before.map_or(0.0, |(then, before)| {
                let elapsed = now.saturating_sub(then);
                // A counter may fall by a fault as well: then it counts since the balancer's start.
                let elapsed = if again { elapsed.max(page.uptime) } else { elapsed };
                let elapsed = elapsed.as_secs_f64();
                // The requests of one that was started again before that are not known.
                let counted = page.requests - if again { 0.0 } else { before.requests };
                if elapsed > 0.0 { counted / elapsed } else { 0.0 }
            });
            time += requests * page.response;
            let known = page.serving + page.draining + page.down;
            let sum = all.get_or_insert(Reading { serving: u32::MAX, ..Reading::default() });
            sum.requests += requests;
            sum.sessions += page.sessions;
            sum.queue += page.queue;
            sum.serving = sum.serving.min(page.serving);
            sum.draining = sum.draining.max(page.draining);
            sum.known = sum.known.max(known);
        }
        let all = all?;
        let response = (all.requests > 0.0).then(|| time / all.requests);
        Some(Reading { response, is_whole, ..all })
    }
}

/// Returns true if a page is of another run of the balancer than the one before.
fn is_another(before: &Page, page: &Page) -> bool {
    page.started != before.started || page.requests < before.requests
}

#[cfg(test)]
mod tests {
    use super::*;

    const SETTLING: Duration = Duration::from_secs(10);

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn page(requests: f64) -> Page {
        let uptime = seconds(100);
        Page { started: 1.0, uptime, requests, sessions: 2.0, serving: 3, ..Page::default() }
    }

    #[test]
    fn load_is_the_sum_of_all_balancers() {
        let mut meters = Meters::new(2, SETTLING);
        let first = meters.read(seconds(5), &[Some(page(100.0)), Some(page(0.0))]).unwrap();
        assert!(!first.is_whole, "no rate is known yet");
        assert_eq!((first.requests, first.response), (0.0, None));
        let slow = Page { response: 0.4, queue: 1.0, ..page(150.0) };
        let other = Page { response: 0.1, serving: 2, draining: 1, down: 1, ..page(100.0) };
        let sum = meters.read(seconds(10), &[Some(slow), Some(other)]).unwrap();
        let expected = Reading {
            requests: 30.0,
            sessions: 4.0,
            queue: 1.0,
            response: Some((10.0 * 0.4 + 20.0 * 0.1) / 30.0),
            serving: 2,
            draining: 1,
            known: 4,
            is_whole: true,
        };
        assert_eq!(sum, expected);
    }

    #[test]
    fn silent_balancer_leaves_the_reading_incomplete() {
        let mut meters = Meters::new(2, SETTLING);
        assert_eq!(meters.read(seconds(0), &[None, None]), None);
        meters.read(seconds(5), &[Some(page(0.0)), Some(page(0.0))]);
        let half = meters.read(seconds(10), &[Some(page(50.0)), None]).unwrap();
        assert_eq!((half.requests, half.is_whole), (10.0, false));
        // What it answered meanwhile is a rate over the whole time.
        let both = meters.read(seconds(15), &[Some(page(100.0)), Some(page(300.0))]).unwrap();
        assert_eq!((both.requests, both.is_whole), (10.0 + 30.0, true));
    }

    #[test]
    fn restarted_balancer_gives_a_lower_bound_and_no_more() {
        for again in [
            Page { requests: 40.0, uptime: seconds(4), ..page(0.0) },
            Page { requests: 2_000_000.0, started: 2.0, uptime: seconds(4), ..page(0.0) },
        ] {
            let mut meters = Meters::new(1, SETTLING);
            meters.read(seconds(5), &[Some(page(1_000_000.0))]);
            let reading = meters.read(seconds(10), &[Some(again)]).unwrap();
            assert_eq!((reading.requests, reading.is_whole), (again.requests / 5.0, false));
            assert_eq!(meters.restarts(), 1);
            let young = Page { uptime: seconds(9), requests: again.requests + 50.0, ..again };
            assert!(!meters.read(seconds(15), &[Some(young)]).unwrap().is_whole);
            let settled = Page { uptime: seconds(14), requests: young.requests + 50.0, ..again };
            let reading = meters.read(seconds(20), &[Some(settled)]).unwrap();
            assert_eq!((reading.requests, reading.is_whole), (10.0, true));
            assert_eq!(meters.restarts(), 1);
        }
    }

    #[test]
    fn counter_that_falls_a_little_is_no_load() {
        let mut meters = Meters::new(1, SETTLING);
        meters.read(seconds(5), &[Some(page(1_000_000.0))]);
        let reading = meters.read(seconds(6), &[Some(page(999_990.0))]).unwrap();
        assert_eq!(reading.requests, 9_999.9, "what it has answered in its 100 s");
    }

    #[test]
    fn two_pages_of_one_moment_make_no_rate() {
        let mut meters = Meters::new(1, SETTLING);
        meters.read(seconds(5), &[Some(page(0.0))]);
        let reading = meters.read(seconds(5), &[Some(page(10.0))]).unwrap();
        assert_eq!((reading.requests, reading.response), (0.0, None));
    }
}
