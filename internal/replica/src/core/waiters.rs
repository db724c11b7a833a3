//! Clients whose write is durable and who wait until this replica has published it. What is published as a version may
//! be of another history than what was written as it: the journal may have failed over meanwhile, or have been
//! restored. So the chain at the version is compared, not the number. Pure.

use std::collections::{BTreeMap, BTreeSet};

use placard_model::Version;
use placard_model::command::Answer;
use placard_model::entry::{Chain, Record};

use super::io::{Moment, Reply, Ticket};

/// The version that a client waits for, and the log's chain at it.
pub(crate) type Awaited = (Version, Chain);

#[derive(Debug)]
struct Waiter {
    answer: Answer,
    chain: Chain,
    deadline: Moment,
}

#[derive(Debug, Default)]
pub(crate) struct Waiters {
    by_version: BTreeMap<(Version, Ticket), Waiter>,
    by_deadline: BTreeSet<(Moment, Version, Ticket)>,
    /// Those whose history is lost, to be told with the next [`Waiters::expire`].
    lost: Vec<Ticket>,
}

impl Waiters {
    pub(crate) fn insert(
        &mut self,
        ticket: Ticket,
        answer: Answer,
        (version, chain): Awaited,
        deadline: Moment,
    ) {
        self.by_deadline.insert((deadline, version, ticket));
        self.by_version.insert((version, ticket), Waiter { answer, chain, deadline });
    }

    pub(crate) fn len(&self) -> usize {
        self.by_version.len()
    }

    /// The first version that is waited for.
    pub(crate) fn first(&self) -> Option<Version> {
        self.by_version.first_key_value().map(|((version, _), _)| *version)
    }

    /// Answers those who wait for one of these records, which follow each other and are published: with what they were
    /// to be told if theirs is among them, and otherwise that it is not known what became of it.
    pub(crate) fn published<'r>(
        &mut self,
        records: impl IntoIterator<Item = &'r Record>,
        mut answer: impl FnMut(Ticket, Reply),
    ) {
        if self.by_version.is_empty() {
            return;
        }
        for record in records {
            self.reached((record.version, record.chain), &mut answer);
        }
    }

    /// As [`Waiters::published`], of one version.
    fn reached(&mut self, (version, chain): Awaited, mut answer: impl FnMut(Ticket, Reply)) {
        for (ticket, waiter) in self.take(version) {
            let same = waiter.chain == chain;
            answer(ticket, if same { Reply::Applied(waiter.answer) } else { Reply::Unknown });
        }
    }

    /// Answers those who wait for a version that the log does not hold any more.
    pub(crate) fn missing(&mut self, version: Version, mut answer: impl FnMut(Ticket, Reply)) {
        self.take(version).into_iter().for_each(|(ticket, _)| answer(ticket, Reply::Unknown));
    }

    fn take(&mut self, version: Version) -> Vec<(Ticket, Waiter)> {
        let mut taken = Vec::new();
        let of_version = (version, Ticket::MIN)..=(version, Ticket::MAX);
        while let Some((&(_, ticket), _)) = self.by_version.range(of_version.clone()).next()
            && let Some(waiter) = self.by_version.remove(&(version, ticket))
        {
            self.by_deadline.remove(&(waiter.deadline, version, ticket));
            taken.push((ticket, waiter));
        }
        taken
    }

    /// The journal tells another history than the one that this replica has followed: what any of them waits for may
    /// be lost with it.
    pub(crate) fn lose(&mut self) {
        self.by_deadline.clear();
        self.lost
            .extend(std::mem::take(&mut self.by_version).into_keys().map(|(_, ticket)| ticket));
    }

    /// Answers those whose history is lost, and those whose deadline has passed: their write is durable, and will be
    /// visible, unless the journal's `head` is before it, so that it was lost.
    pub(crate) fn expire(
        &mut self,
        now: Moment,
        head: Version,
        mut answer: impl FnMut(Ticket, Reply),
    ) {
        self.lost.drain(..).for_each(|ticket| answer(ticket, Reply::Unknown));
        while let Some(&(deadline, version, ticket)) = self.by_deadline.first()
            && deadline <= now
        {
            self.by_deadline.pop_first();
            if let Some(waiter) = self.by_version.remove(&(version, ticket)) {
                let is_there = version <= head;
                let reply = if is_there { Reply::Committed(waiter.answer) } else { Reply::Unknown };
                answer(ticket, reply);
            }
        }
    }

    pub(crate) fn wake_at(&self) -> Option<Moment> {
        self.by_deadline.first().map(|(deadline, ..)| *deadline)
    }
}
