//! Clients whose write is durable and who wait until this replica has published it. Pure.

use std::collections::{BTreeMap, BTreeSet};

use placard_model::Version;
use placard_model::command::Answer;

use crate::Reply;
use crate::core::{Moment, Ticket};

#[derive(Debug, Default)]
pub(crate) struct Waiting {
    by_version: BTreeMap<(Version, Ticket), (Answer, Moment)>,
    by_deadline: BTreeSet<(Moment, Version, Ticket)>,
}

impl Waiting {
    pub(crate) fn insert(&mut self, ticket: Ticket, answer: Answer, deadline: Moment) {
        self.by_deadline.insert((deadline, answer.version, ticket));
        self.by_version.insert((answer.version, ticket), (answer, deadline));
    }

    pub(crate) fn len(&self) -> usize {
        self.by_version.len()
    }

    /// Answers those whose version is published.
    pub(crate) fn published(&mut self, version: Version, mut answer: impl FnMut(Ticket, Reply)) {
        while let Some(first) = self.by_version.first_entry()
            && first.key().0 <= version
        {
            let ((version, ticket), (reply, deadline)) = first.remove_entry();
            self.by_deadline.remove(&(deadline, version, ticket));
            answer(ticket, Reply::Applied(reply));
        }
    }

    /// Answers those whose deadline has passed: their write is durable, and will be visible.
    pub(crate) fn expire(&mut self, now: Moment, mut answer: impl FnMut(Ticket, Reply)) {
        while let Some(&(deadline, version, ticket)) = self.by_deadline.first()
            && deadline <= now
        {
            self.by_deadline.pop_first();
            if let Some((reply, _)) = self.by_version.remove(&(version, ticket)) {
                answer(ticket, Reply::Committed(reply));
            }
        }
    }

    pub(crate) fn wake_at(&self) -> Option<Moment> {
        self.by_deadline.first().map(|(deadline, ..)| *deadline)
    }
}
