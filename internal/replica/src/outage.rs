//! What does not work for a while, as two lines of the log: one when it begins, with the cause, and one when it ends, with
//! how long it was and how often it was tried. Counters have the rest.

use std::error::Error;
use std::time::{Duration, Instant};

use crate::reasons;

/// After so long without another failure, the next one is news again, although nothing has worked in between: what is tried
/// seldom may have been forgotten.
const FORGOTTEN: Duration = Duration::from_secs(60);
/// It is over if there was no failure for so long.
const SETTLED: Duration = Duration::from_secs(1);
/// Causes of one outage that are told: it may begin as a refused connection and end as a wrong password.
const CAUSES_MAX: usize = 4;

/// Whether something works, such as reads of the stream.
#[derive(Debug)]
pub struct Outage {
    what: &'static str,
    under_way: Option<UnderWay>,
}

#[derive(Debug)]
struct UnderWay {
    since: Instant,
    last: Instant,
    failures: u64,
    causes: Vec<String>,
}

impl Outage {
    /// Of what fails, in words that can stand before a colon: `the stream cannot be read`.
    pub const fn of(what: &'static str) -> Self {
        Self { what, under_way: None }
    }

    /// It has failed.
    pub fn failed(&mut self, error: &dyn Error) {
        let now = Instant::now();
        if let Some(cause) = self.tell(now, error) {
            tracing::warn!(%error, cause, "{}", self.what);
        }
    }

    /// The cause, if it is to be told.
    fn tell(&mut self, now: Instant, error: &dyn Error) -> Option<Option<String>> {
        let cause = reasons(error);
        let told = cause.clone().unwrap_or_else(|| error.to_string());
        self.under_way.take_if(|outage| now.duration_since(outage.last) >= FORGOTTEN);
        let begun = || UnderWay { since: now, last: now, failures: 0, causes: Vec::new() };
        let outage = self.under_way.get_or_insert_with(begun);
        outage.last = now;
        outage.failures += 1;
        let is_news = outage.causes.len() < CAUSES_MAX && !outage.causes.contains(&told);
        is_news.then(|| {
            outage.causes.push(told);
            cause
        })
    }

    /// It works. What fails now and then is not over each time that it does not.
    pub fn works(&mut self) {
        if let Some(UnderWay { since, last, failures, .. }) = self.over(Instant::now()) {
            let lasted_ms = last.duration_since(since).as_millis() as u64;
            tracing::info!(lasted_ms, failures, "over: {}", self.what);
        }
    }

    /// The outage that is over, if that is to be told.
    fn over(&mut self, now: Instant) -> Option<UnderWay> {
        let over = self.under_way.take_if(|outage| now.duration_since(outage.last) >= SETTLED)?;
        (now.duration_since(over.last) < FORGOTTEN).then_some(over)
    }

    /// It has worked or failed.
    pub fn is<T, E: Error>(&mut self, result: &Result<T, E>) {
        match result {
            Ok(_) => self.works(),
            Err(error) => self.failed(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Error as IoError;

    #[test]
    fn an_outage_is_told_when_it_begins_and_for_each_new_cause() {
        let mut outage = Outage::of("the stream cannot be read");
        let start = Instant::now();
        let mut tell = |seconds, cause: &str| {
            let error = IoError::other(cause.to_owned());
            outage.tell(start + Duration::from_secs(seconds), &error).is_some()
        };
        assert!(tell(0, "refused"));
        assert!((1..50).all(|second| !tell(second, "refused")));
        assert!(tell(50, "wrong password"));
        assert!(!tell(51, "refused"));
        // However many there are.
        let told = (0..100).filter(|nth| tell(52, &format!("port {nth}"))).count();
        assert_eq!(told, CAUSES_MAX - 2);
        assert!(tell(52 + FORGOTTEN.as_secs(), "refused"));
        let at = |seconds| start + Duration::from_secs(seconds);
        assert!(outage.over(at(112)).is_none(), "it has just failed");
        let over = outage.over(at(113)).expect("it works");
        assert_eq!(over.failures, 1);
        let error = IoError::other("refused");
        assert!(outage.tell(at(113), &error).is_some());
        // Of what is tried seldom, nobody knows how long it was.
        assert!(outage.over(at(113) + FORGOTTEN).is_none() && outage.under_way.is_none());
    }
}
