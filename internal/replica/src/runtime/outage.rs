//! Logs what does not work for a while as two lines: one when it begins, with the cause, and one when it ends, with its
//! duration and the number of failures. Counters have the rest.

#![expect(clippy::disallowed_methods, reason = "it says how long an outage lasted")]

use std::error::Error;
use std::time::{Duration, Instant};

use crate::reasons::reasons;

/// After this long without another failure, the next one is news again, although nothing has worked in between: the
/// last one may have been forgotten.
const FORGOTTEN: Duration = Duration::from_secs(60);
/// The same in attempts, for what is tried rarely.
const FORGOTTEN_TRIES: u32 = 3;
/// An outage is over when the work has succeeded for this long. For what is tried less often, one success is enough.
const SETTLED: Duration = Duration::from_secs(1);
/// Most causes of one outage that are logged: it may begin as a refused connection and end as a wrong password.
const CAUSES_MAX: usize = 4;

/// Tracks whether something works, such as reads of the stream.
#[derive(Debug)]
pub struct Outage {
    what: &'static str,
    /// The longest pause between two attempts.
    every: Duration,
    under_way: Option<UnderWay>,
}

#[derive(Debug)]
struct UnderWay {
    since: Instant,
    last: Instant,
    /// Since when there was no failure, if it has worked since the last one.
    worked: Option<Instant>,
    failures: u64,
    causes: Vec<String>,
    /// The cause of the last failure.
    cause: String,
}

impl Outage {
    /// Creates the tracker of what these words name. They say what fails, as in `the stream cannot be read`, and can be
    /// followed by a colon.
    pub const fn of(what: &'static str) -> Self {
        Self { what, every: Duration::ZERO, under_way: None }
    }

    /// Sets the longest pause between two attempts, for what is tried on a timer or rarely. `Duration::MAX` means that it is
    /// unknown.
    #[must_use]
    pub fn tried_every(mut self, every: Duration) -> Self {
        self.every = every;
        self
    }

    /// Notes a failure, and logs it if its cause is new.
    pub fn failed(&mut self, error: &dyn Error) {
        let now = Instant::now();
        if let Some(cause) = self.tell(now, error) {
            tracing::warn!(%error, cause, "{}", self.what);
        }
    }

    /// Notes a failure. Returns its cause if it is to be logged.
    fn tell(&mut self, now: Instant, error: &dyn Error) -> Option<Option<String>> {
        let cause = reasons(error);
        let told = cause.clone().unwrap_or_else(|| error.to_string());
        let forgotten = self.forgotten();
        self.under_way.take_if(|outage| now.duration_since(outage.last) >= forgotten);
        let begun = || {
            let (causes, cause) = Default::default();
            UnderWay { since: now, last: now, worked: None, failures: 0, causes, cause }
        };
        let outage = self.under_way.get_or_insert_with(begun);
        (outage.last, outage.worked) = (now, None);
        outage.cause.clone_from(&told);
        outage.failures += 1;
        let is_news = outage.causes.len() < CAUSES_MAX && !outage.causes.contains(&told);
        is_news.then(|| {
            outage.causes.push(told);
            cause
        })
    }

    /// Notes a success, and logs the end of the outage. What fails occasionally is not over at each success.
    pub fn works(&mut self) {
        if let Some((lasted, failures)) = self.over(Instant::now()) {
            let lasted_ms = lasted.as_millis() as u64;
            tracing::info!(lasted_ms, failures, "over: {}", self.what);
        }
    }

    /// Logs that the outage is over, if it has worked for long enough. The owner calls this on a timer where the next
    /// attempt may come much later.
    pub fn settle(&mut self) {
        if self.under_way.as_ref().is_some_and(|outage| outage.worked.is_some()) {
            self.works();
        }
    }

    fn forgotten(&self) -> Duration {
        FORGOTTEN.max(self.every.saturating_mul(FORGOTTEN_TRIES))
    }

    /// Returns why the last attempt failed, if it did.
    pub fn cause(&self) -> Option<&str> {
        let failing = self.under_way.as_ref().filter(|outage| outage.worked.is_none());
        failing.map(|outage| outage.cause.as_str())
    }

    /// Notes a success. Returns how long the outage was and its failures, if it is over and that is to be logged.
    fn over(&mut self, now: Instant) -> Option<(Duration, u64)> {
        let forgotten = self.forgotten();
        let settled = if self.every < SETTLED { SETTLED } else { Duration::ZERO };
        let outage = self.under_way.as_mut()?;
        let worked = *outage.worked.get_or_insert(now);
        let over = self.under_way.take_if(|_| now.duration_since(worked) >= settled)?;
        let is_known = worked.duration_since(over.last) < forgotten;
        is_known.then(|| (worked.duration_since(over.since), over.failures))
    }

    /// Notes a success or a failure.
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
    fn outage_is_logged_at_start_and_per_new_cause() {
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
        // The number of causes is bounded.
        let told = (0..100).filter(|nth| tell(52, &format!("port {nth}"))).count();
        assert_eq!(told, CAUSES_MAX - 2);
        assert!(tell(52 + FORGOTTEN.as_secs(), "refused"));
        let at = |seconds| start + Duration::from_secs(seconds);
        assert_eq!(outage.cause(), Some("refused"));
        assert_eq!(outage.over(at(117)), None, "it may fail again");
        assert_eq!(outage.cause(), None);
        assert_eq!(outage.over(at(118)), Some((Duration::from_secs(5), 1)));
        let error = IoError::other("refused");
        assert!(outage.tell(at(118), &error).is_some());
        // There was no attempt for a long time: how long the outage lasted is unknown.
        assert_eq!(outage.over(at(118) + FORGOTTEN), None);
        assert_eq!(outage.over(at(120) + FORGOTTEN), None);
        assert!(outage.under_way.is_none());
    }

    #[test]
    fn an_outage_of_what_is_tried_rarely_is_logged_once() {
        const EVERY: Duration = Duration::from_secs(600);
        let mut outage = Outage::of("the chore fails").tried_every(EVERY);
        let start = Instant::now();
        let error = IoError::other("refused");
        assert!(outage.tell(start, &error).is_some());
        assert!((1..10).all(|nth| outage.tell(start + EVERY * nth, &error).is_none()));
        assert_eq!(outage.over(start + EVERY * 10), Some((EVERY * 10, 10)));
        assert!(outage.tell(start + EVERY * 11, &error).is_some());
        assert!(outage.tell(start + EVERY * 14, &error).is_some(), "it was not tried for long");
        // With an unknown pause between two attempts an outage lasts until it works.
        let mut outage = Outage::of("the file cannot be used").tried_every(Duration::MAX);
        assert!(outage.tell(start, &error).is_some());
        assert!(outage.tell(start + EVERY * 100, &error).is_none());
        assert_eq!(outage.over(start + EVERY * 200), Some((EVERY * 200, 2)));
    }
}
