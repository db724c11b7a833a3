//! Answers each read, at its own moment, whether it may be answered: the core publishes what it knows, and the rule is
//! the core's ([`core::read_gate`](crate::core)).

use std::sync::Arc;

use arc_swap::ArcSwap;

use super::uptime::Uptime;
use crate::core::{Core, Facts, Moment, Terms, Verdict};

/// The published facts about the age of the state, for all reads; cloning it is cheap.
#[derive(Debug, Clone)]
pub struct ReadPermits {
    /// When the replica's moments begin.
    origin: Uptime,
    terms: Terms,
    facts: Arc<ArcSwap<Facts>>,
}

/// Permission to show what is published from the moment when it was given.
#[derive(Debug, Clone, Copy)]
pub struct ReadPermit(Facts);

impl ReadPermits {
    pub(crate) fn new(origin: Uptime, core: &Core) -> Self {
        let facts = Arc::new(ArcSwap::from_pointee(core.read_facts()));
        Self { origin, terms: core.read_terms(), facts }
    }

    /// Publishes what the core knows now.
    pub(crate) fn publish(&self, facts: Facts) {
        if **self.facts.load() != facts {
            self.facts.store(Arc::new(facts));
        }
    }

    /// Returns what a read that begins now is to do.
    pub fn verdict(&self) -> Verdict {
        self.facts.load().verdict(self.terms, self.now())
    }

    /// Returns permission to show what is published from now on.
    ///
    /// # Errors
    /// Reads are to be refused.
    pub fn permit(&self) -> Result<ReadPermit, Verdict> {
        let facts = **self.facts.load();
        let verdict = facts.verdict(self.terms, self.now());
        if verdict.answers() { Ok(ReadPermit(facts)) } else { Err(verdict) }
    }

    /// Returns what is to be done with what was read since permission was given. A read asks this last, because the
    /// process may have been paused meanwhile.
    pub fn verdict_since(&self, permit: ReadPermit) -> Verdict {
        // The facts first: they are older than the moment then.
        let facts = **self.facts.load();
        facts.verdict_since(&permit.0, self.terms, self.now())
    }

    fn now(&self) -> Moment {
        Moment(self.origin.elapsed())
    }
}
