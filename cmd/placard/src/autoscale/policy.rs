//! How many replicas there should be: a pure state machine. Time and readings come in, and orders go out. It goes up at
//! once, and down by one replica after each quiet time in which fewer would have done.

use std::time::Duration;

use super::reading::Reading;

/// A smaller cluster must carry the load with this much to spare. So a load that only trembles moves nothing.
const SPARE: f64 = 1.1;
/// A longer response time at most doubles the replicas at once: they may not be what it depends on.
const SLOWER_MAX: f64 = 2.0;
/// Replicas that are still not there after this time are asked for again.
const AGAIN_AFTER: Duration = Duration::from_secs(60);
/// The pause after a command that failed, which doubles with each further failure up to the longest.
const BACK_OFF: Duration = Duration::from_secs(10);
const BACK_OFF_MAX: Duration = Duration::from_secs(300);

/// What the operator wants.
#[derive(Debug, Clone)]
pub(crate) struct Rules {
    /// The fewest replicas.
    pub(crate) min: u32,
    /// The most replicas.
    pub(crate) max: u32,
    /// The requests a second that one replica is to answer.
    pub(crate) requests: Option<f64>,
    /// The requests that one replica is to answer at the same time.
    pub(crate) sessions: Option<f64>,
    /// The mean time, in seconds, in which replicas are to answer.
    pub(crate) response: Option<f64>,
    /// For how long a smaller cluster must have sufficed before it becomes one replica smaller.
    pub(crate) quiet: Duration,
}

impl Rules {
    /// Returns how many replicas a load needs, within the bounds, if it were greater by a factor.
    fn wanted(&self, reading: &Reading, factor: f64) -> u32 {
        let slower = |target: f64| {
            let response = reading.response.unwrap_or_default();
            f64::from(reading.serving) * (response / target).min(SLOWER_MAX)
        };
        let shares = [
            self.requests.map(|target| reading.requests / target),
            self.sessions.map(|target| reading.sessions / target),
            self.response.map(slower),
        ];
        let most = shares.into_iter().flatten().fold(0.0, f64::max);
        ((most * factor).ceil() as u32).clamp(self.min, self.max)
    }
}

/// Why a command is to be run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Why {
    /// The load needs more replicas.
    Up,
    /// Replicas that were asked for have not come, or those that were there when it began do not serve.
    Again,
    /// The load has needed fewer replicas for the quiet time.
    Down,
}

impl Why {
    /// Returns the word for logs.
    pub(crate) fn code(self) -> &'static str {
        match self {
            Self::Up => "up",
            Self::Again => "again",
            Self::Down => "down",
        }
    }
}

/// A number of replicas that is to be asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Order {
    /// How many there are, or were asked for.
    pub(crate) from: u32,
    /// How many there should be.
    pub(crate) replicas: u32,
    pub(crate) why: Why,
}

/// Why nothing is to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Hold {
    /// No balancer answers, or none has shown for certain how many replicas there are.
    Blind,
    /// A command is running.
    Acting,
    /// The last command failed a short time ago.
    BackingOff,
    /// There are as many as the load needs, or are about to be.
    Enough,
    /// Fewer may do: the quiet time is not over.
    Quiet,
    /// Fewer would do, but a replica is about to leave already.
    Draining,
    /// Fewer would do, but replicas are missing.
    Missing,
}

impl Hold {
    /// Returns what the log says.
    pub(crate) fn text(self) -> &'static str {
        match self {
            Self::Blind => "it is not known how many replicas there are",
            Self::Acting => "the command is running",
            Self::BackingOff => "the command has failed a short time ago",
            Self::Enough => "there are enough replicas",
            Self::Quiet => "the quiet time is not over",
            Self::Draining => "fewer replicas would do, but one is about to leave already",
            Self::Missing => "fewer replicas would do, but some are missing",
        }
    }
}

/// What is decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Decision {
    /// Run the command. [`Policy::ended`] must be called when it has ended.
    Order(Order),
    Hold(Hold),
}

/// How many replicas there are and how many the load needs, as far as is known.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Outlook {
    /// The larger of what was asked for and what is seen; 0 if nothing was seen yet.
    pub(crate) there: u32,
    pub(crate) wanted: u32,
}

/// A time in which fewer replicas would have done.
#[derive(Debug, Clone, Copy)]
struct Quiet {
    since: Duration,
    /// The most that would have sufficed at any moment of it.
    suffices: u32,
}

/// The state machine. Times count from any moment, and never go back.
#[derive(Debug)]
pub(crate) struct Policy {
    rules: Rules,
    /// What was asked for last, if the command succeeded.
    asked: Option<u32>,
    /// When the last command ended.
    acted_at: Duration,
    /// What the running command asks for.
    running: Option<u32>,
    failures: u32,
    retry_at: Duration,
    /// The replicas that the last whole reading showed, and that readings since then have shown.
    seen: u32,
    /// Since when every reading was whole and let the cluster be smaller.
    quiet: Option<Quiet>,
    outlook: Outlook,
}

impl Policy {
    /// Begins without any knowledge of the cluster.
    pub(crate) fn new(rules: Rules) -> Self {
        Self {
            rules,
            asked: None,
            acted_at: Duration::ZERO,
            running: None,
            failures: 0,
            retry_at: Duration::ZERO,
            seen: 0,
            quiet: None,
            outlook: Outlook::default(),
        }
    }

    /// Returns what the last step knew.
    pub(crate) fn outlook(&self) -> Outlook {
        self.outlook
    }

    /// Returns what was asked for last.
    pub(crate) fn asked(&self) -> Option<u32> {
        self.asked
    }

    /// Returns true for as long as no command is run because the last one failed.
    pub(crate) fn is_backing_off(&self, now: Duration) -> bool {
        now < self.retry_at
    }

    /// Decides what to do after a reading, or without one if no balancer has answered.
    pub(crate) fn step(&mut self, now: Duration, reading: Option<&Reading>) -> Decision {
        let Some(reading) = reading else {
            self.quiet = None;
            return Decision::Hold(Hold::Blind);
        };
        if reading.is_whole && reading.known > 0 {
            self.seen = reading.known;
        } else if self.seen > 0 {
            // What is not known cannot make the cluster smaller.
            self.seen = self.seen.max(reading.known);
        }
        let there = self.seen.max(self.asked.unwrap_or_default());
        let wanted = self.rules.wanted(reading, 1.0);
        let suffices = self.rules.wanted(reading, SPARE);
        self.outlook = Outlook { there, wanted };
        let now_quiet = Quiet { since: now, suffices };
        let begun = self.quiet.filter(|quiet| quiet.suffices < there).unwrap_or(now_quiet);
        let quiet = Quiet { suffices: begun.suffices.max(suffices), ..begun };
        self.quiet = Some(quiet).filter(|quiet| reading.is_whole && quiet.suffices < there);
        let decision = self.decide(now, reading, (wanted, suffices));
        if let Decision::Order(order) = decision {
            self.running = Some(order.replicas);
        }
        decision
    }

    fn decide(&self, now: Duration, reading: &Reading, (wanted, suffices): (u32, u32)) -> Decision {
        let from = self.outlook.there;
        // A cluster that was made larger by hand may have more than the bound; what only seems to be there does not count.
        let most = self.rules.max.max(reading.serving);
        let order =
            |replicas: u32, why| Decision::Order(Order { from, replicas: replicas.min(most), why });
        if self.seen == 0 {
            return Decision::Hold(Hold::Blind);
        }
        if self.running.is_some() {
            return Decision::Hold(Hold::Acting);
        }
        if self.is_backing_off(now) {
            return Decision::Hold(Hold::BackingOff);
        }
        if wanted > from {
            return order(wanted, Why::Up);
        }
        // What is there beyond what was asked for does not serve: it is about to leave, or has left.
        if let Some(asked) = self.asked
            && wanted > asked
            && reading.serving <= asked
        {
            return Decision::Order(Order { from: asked, replicas: wanted, why: Why::Up });
        }
        let is_due = now.saturating_sub(self.acted_at) >= AGAIN_AFTER;
        // An order of fewer than are seen would take some away.
        let is_less = self.asked.is_some_and(|asked| asked != from);
        if reading.is_whole && wanted > reading.serving && !is_less && is_due {
            return order(from, Why::Again);
        }
        let Some(Quiet { since, .. }) = self.quiet else { return Decision::Hold(Hold::Enough) };
        if now.saturating_sub(since) < self.rules.quiet {
            Decision::Hold(Hold::Quiet)
        } else if reading.draining > 0 {
            Decision::Hold(Hold::Draining)
        } else if reading.serving <= suffices {
            // The one that leaves may be one that serves.
            Decision::Hold(Hold::Missing)
        } else {
            order(from - 1, Why::Down)
        }
    }

    /// Takes over how the command has ended. Returns the pause before the next one, if it failed.
    pub(crate) fn ended(&mut self, now: Duration, succeeded: bool) -> Option<Duration> {
        let ordered = self.running.take();
        // One that failed may have had its effect too.
        (self.acted_at, self.quiet) = (now, None);
        if succeeded {
            (self.asked, self.failures) = (ordered, 0);
            return None;
        }
        let pause = BACK_OFF.saturating_mul(2_u32.saturating_pow(self.failures)).min(BACK_OFF_MAX);
        self.failures = self.failures.saturating_add(1);
        self.retry_at = now + pause;
        Some(pause)
    }
}

#[cfg(test)]
mod tests;
