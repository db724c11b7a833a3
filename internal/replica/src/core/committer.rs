//! The committer's queue and its one transaction under way: what goes into the next batch, what is tried
//! again, and what is answered when time runs out. Pure; the shell runs the transactions.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use placard_model::command::{Answer, Outcome, Request};
use placard_model::{Version, limits};

use super::io::{Moment, Reply, Ticket};
use crate::decision::{Batch, Plan};
use crate::ports::CommitError;

/// The first pause after a failed transaction; each further one doubles it.
const RETRY_PAUSE_MIN: Duration = Duration::from_millis(10);

/// Longest wait for those who are about to write again.
const GATHER_MAX: Duration = Duration::from_millis(1);
/// While waits fail, one batch waits out of at most this many.
const HASTY_MAX: u32 = 32;

/// A request and who waits for it.
#[derive(Debug)]
pub(crate) struct Pending {
    pub(crate) ticket: Ticket,
    pub(crate) request: Arc<Request>,
    pub(crate) deadline: Moment,
    /// Whether its client was answered already, because its deadline has passed.
    pub(crate) answered: bool,
}

/// A request that needs no more work.
#[derive(Debug)]
pub(crate) struct Decided {
    pub(crate) pending: Pending,
    /// `None` if its outcome can never be known.
    pub(crate) answer: Option<Answer>,
}

#[derive(Debug, Default)]
pub(crate) struct Committer {
    queue: VecDeque<Pending>,
    queued_bytes: usize,
    /// Batches to be tried before the queue goes on, the next one last: an uncommitted one, or the parts of a
    /// refused one.
    again: Vec<RetryBatch>,
    flight: Option<InFlight>,
    /// After a failure: how long the last pause was, and until when it lasts.
    pause: Option<(Duration, Moment)>,
    gather: GatherWindow,
}

/// The requests that the next batch waits for. Clients that were answered together come back together; without a short
/// wait the first of them has a transaction to itself, and the rest wait for that.
#[derive(Debug, Default)]
struct GatherWindow {
    /// The number of requests that will be in the queue if all clients come back.
    expected: usize,
    /// The number of requests that the wait is for; with fewer the wait has failed.
    worth: usize,
    until: Option<Moment>,
    /// The number of batches that do not wait yet, the one under way included.
    skips: u32,
    /// The number of such batches after the last wait: a failed wait doubles it, any other halves it.
    penalty: u32,
}

/// A batch that comes from an earlier one.
#[derive(Debug)]
struct RetryBatch {
    pending: Vec<Pending>,
    repeated: bool,
}

/// A batch that was handed out and has no definite outcome yet.
#[derive(Debug)]
struct InFlight {
    pending: Vec<Pending>,
    repeated: bool,
    under_way: bool,
    since: Moment,
}

impl Committer {
    /// Queues a request.
    ///
    /// # Errors
    /// The queue is full; the ticket is given back.
    pub(crate) fn submit(&mut self, pending: Pending) -> Result<(), Ticket> {
        let bytes = pending.request.bytes();
        let full = self.queue.len() >= limits::QUEUE_REQUESTS_MAX
            || self.queued_bytes + bytes > limits::QUEUE_BYTES_MAX;
        if full {
            return Err(pending.ticket);
        }
        self.queued_bytes += bytes;
        self.queue.push_back(pending);
        Ok(())
    }

    /// Returns the number of requests that wait for a transaction.
    pub(crate) fn queued(&self) -> usize {
        self.queue.len() + self.again.iter().map(|again| again.pending.len()).sum::<usize>()
    }

    /// Returns the bytes that they hold, about.
    pub(crate) fn queued_bytes(&self) -> usize {
        let again = self.again.iter().flat_map(|again| &again.pending);
        self.queued_bytes + again.map(|one| one.request.bytes()).sum::<usize>()
    }

    /// Returns true if a transaction is under way.
    pub(crate) fn is_under_way(&self) -> bool {
        self.flight.as_ref().is_some_and(|flight| flight.under_way)
    }

    /// Returns how long ago the batch without a definite outcome was drained; `None` if there is no such batch.
    pub(crate) fn under_way_for(&self, now: Moment) -> Option<Duration> {
        self.flight.as_ref().map(|flight| now.0.saturating_sub(flight.since.0))
    }

    /// Returns true if there is nothing to do.
    pub(crate) fn is_idle(&self) -> bool {
        self.queued() == 0 && self.flight.is_none()
    }

    /// Returns the next transaction to run, if one may be run now, for readers of `format_level`. `refuses_empty` says
    /// whether it [refuses](Batch::refuses_empty) an empty journal.
    pub(crate) fn next(
        &mut self,
        now: Moment,
        format_level: u8,
        refuses_empty: bool,
    ) -> Option<Arc<Batch>> {
        if self.pause.is_some_and(|(_, until)| now < until) {
            return None;
        }
        if self.flight.is_none() {
            if self.again.is_empty() && self.gathers(now) {
                return None;
            }
            let RetryBatch { pending, repeated } = self.again.pop().or_else(|| self.drain())?;
            self.gather.until = None;
            self.flight = Some(InFlight { pending, repeated, under_way: false, since: now });
        }
        let flight = self.flight.as_mut().filter(|flight| !flight.under_way)?;
        flight.under_way = true;
        let requests = flight.pending.iter().map(|one| Arc::clone(&one.request)).collect();
        let repeated = flight.repeated;
        Some(Arc::new(Batch { requests, repeated, format_level, refuses_empty }))
    }

    /// Returns true if the queue's next batch still waits for more.
    fn gathers(&mut self, now: Moment) -> bool {
        let Some(until) = self.gather.until.filter(|_| !self.queue.is_empty()) else {
            return false;
        };
        if self.queue.len() < self.gather.expected && now < until {
            return true;
        }
        // Back off: a writer may miss the window once, and those that repeatedly miss it are rarely waited for.
        let in_vain = self.queue.len() < self.gather.worth;
        let penalty = self.gather.penalty;
        self.gather.penalty = if in_vain { (penalty * 2).clamp(1, HASTY_MAX) } else { penalty / 2 };
        if in_vain {
            self.gather.skips = self.gather.penalty;
        }
        false
    }

    /// Decides how long the next batch waits, and for how many requests, after a batch of `answered` requests took
    /// `took` and was answered.
    fn gather_after(&mut self, now: Moment, answered: usize, took: Duration) {
        self.gather.expected = (answered + self.queue.len()).min(limits::COMMIT_ENTRIES_MAX);
        self.gather.worth = (self.queue.len() + answered.div_ceil(2)).min(self.gather.expected);
        self.gather.skips = self.gather.skips.saturating_sub(1);
        let alone = self.gather.expected <= 1;
        self.gather.until =
            (!alone && self.gather.skips == 0).then(|| now + (took * 2).min(GATHER_MAX));
    }

    /// Takes off the queue what fits one transaction; a single request always does.
    fn drain(&mut self) -> Option<RetryBatch> {
        let (mut entries, mut bytes) = (0, 0);
        let fitting = self
            .queue
            .iter()
            .take_while(|one| {
                entries += one.request.commands.len();
                bytes += one.request.bytes();
                entries <= limits::COMMIT_ENTRIES_MAX && bytes <= limits::COMMIT_BYTES_MAX
            })
            .count();
        let pending: Vec<_> = self.queue.drain(..fitting.max(1).min(self.queue.len())).collect();
        self.queued_bytes -= pending.iter().map(|one| one.request.bytes()).sum::<usize>();
        (!pending.is_empty()).then_some(RetryBatch { pending, repeated: false })
    }

    /// The transaction under way has come back. Returns what it decided; of a failure only what is given up.
    pub(crate) fn returned(
        &mut self,
        now: Moment,
        result: &Result<Plan, CommitError>,
    ) -> Vec<Decided> {
        let Some(mut flight) = self.flight.take() else { return Vec::new() };
        flight.under_way = false;
        match result {
            Ok(plan) => {
                self.pause = None;
                let took = now.0.saturating_sub(flight.since.0);
                self.gather_after(now, flight.pending.len(), took);
                let answers = plan.answers.iter().cloned();
                let decided = flight.pending.into_iter().zip(answers);
                decided.map(|(pending, answer)| Decided { pending, answer: Some(answer) }).collect()
            }
            Err(CommitError::NotCommitted(_)) => {
                self.pause(now);
                // A repeated batch may have been committed by an earlier try: only a definite answer frees it.
                if flight.repeated {
                    self.flight = Some(flight);
                } else {
                    self.again.push(RetryBatch { pending: flight.pending, repeated: false });
                }
                Vec::new()
            }
            Err(CommitError::Unknown(_)) => {
                self.pause(now);
                flight.repeated = true;
                self.flight = Some(flight);
                Vec::new()
            }
            Err(CommitError::Refused(_)) => self.refused(flight),
        }
    }

    /// Halves a refused batch until the request to blame stands alone; that one has failed.
    fn refused(&mut self, flight: InFlight) -> Vec<Decided> {
        let InFlight { mut pending, repeated, .. } = flight;
        if pending.len() > 1 {
            let second = pending.split_off(pending.len() / 2);
            self.again.push(RetryBatch { pending: second, repeated });
            self.again.push(RetryBatch { pending, repeated });
            return Vec::new();
        }
        let failed = |pending: Pending| {
            let outcomes = pending.request.commands.iter().map(|_| Outcome::Failed).collect();
            let answer = Answer { version: Version::MIN, outcomes, replayed: false };
            // An earlier try may have been committed, whatever refuses this one.
            Decided { pending, answer: (!repeated).then_some(answer) }
        };
        pending.into_iter().map(failed).collect()
    }

    fn pause(&mut self, now: Moment) {
        let longer = |(last, _): (Duration, Moment)| (last * 2).min(limits::RETRY_PAUSE_MAX);
        let pause = self.pause.map_or(RETRY_PAUSE_MIN, longer);
        self.pause = Some((pause, now + pause));
    }

    /// Answers those whose deadline has passed: what no transaction has tried is removed and unavailable,
    /// what one has tried goes on and is unknown.
    pub(crate) fn expire(&mut self, now: Moment, mut answer: impl FnMut(Ticket, Reply)) {
        let late = |one: &Pending| one.deadline <= now;
        // All wait equally long, so that deadlines pass in the queue's order.
        while let Some(one) = self.queue.pop_front_if(|one| late(one)) {
            self.queued_bytes -= one.request.bytes();
            answer(one.ticket, Reply::Unavailable);
        }
        for again in &mut self.again {
            let unresolved = again.repeated;
            again.pending.retain_mut(|one| {
                if late(one) && !one.answered {
                    one.answered = true;
                    answer(
                        one.ticket,
                        if unresolved { Reply::Unknown } else { Reply::Unavailable },
                    );
                }
                unresolved || !late(one)
            });
        }
        self.again.retain(|again| !again.pending.is_empty());
        for one in self.flight.iter_mut().flat_map(|flight| &mut flight.pending) {
            if late(one) && !one.answered {
                one.answered = true;
                answer(one.ticket, Reply::Unknown);
            }
        }
    }

    /// When [`Committer::expire`] has something to do by itself, or [`Committer::next`], which is not asked while it is held.
    pub(crate) fn wake_at(&self, is_held: bool) -> Option<Moment> {
        let again = self.again.iter().flat_map(|again| &again.pending);
        let flying = self.flight.iter().flat_map(|flight| &flight.pending);
        let waiting = again.chain(flying).filter(|one| !one.answered).chain(self.queue.front());
        let under_way = self.flight.as_ref().is_some_and(|flight| flight.under_way);
        let retry = self.pause.map(|(_, until)| until).filter(|_| !self.is_idle() && !under_way);
        let gathered =
            self.gather.until.filter(|_| self.flight.is_none() && !self.queue.is_empty());
        let next = retry.into_iter().chain(gathered).filter(|_| !is_held);
        waiting.map(|one| one.deadline).chain(next).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use placard_model::Timestamp;
    use placard_model::command::{Command, Conditions};
    use placard_model::entry::{FORMAT_LEVEL, Position};
    use uuid::Uuid;

    fn at(micros: u64) -> Moment {
        Moment(Duration::from_micros(micros))
    }

    fn submit(committer: &mut Committer, tickets: std::ops::Range<u64>) {
        for ticket in tickets {
            let command = Command::Delete { id: Uuid::nil(), only_if: Conditions::default() };
            let request = Request {
                id: Uuid::from_u128(ticket.into()),
                principal: String::new(),
                idempotency: None,
                trace: None,
                commands: vec![command],
            };
            let deadline = at(u64::MAX / 2);
            let pending = Pending { ticket, request: Arc::new(request), deadline, answered: false };
            committer.submit(pending).expect("there is room");
        }
    }

    fn next(committer: &mut Committer, micros: u64) -> Option<usize> {
        committer.next(at(micros), FORMAT_LEVEL, false).map(|batch| batch.requests.len())
    }

    fn returned(committer: &mut Committer, micros: u64, requests: usize) {
        let answer = Answer { version: 0, outcomes: Vec::new(), replayed: false };
        let plan = Plan {
            head: Position::START,
            log: Vec::new(),
            ads: Vec::new(),
            names_pools: false,
            records: Vec::new(),
            kept: Vec::new(),
            now: Timestamp::EPOCH,
            answers: vec![answer; requests],
        };
        assert_eq!(committer.returned(at(micros), &Ok(plan)).len(), requests);
    }

    #[test]
    fn gather_waits_briefly_for_clients_of_last_batch() {
        let mut committer = Committer::default();
        submit(&mut committer, 0..1);
        assert_eq!(next(&mut committer, 0), Some(1));
        submit(&mut committer, 1..4);
        returned(&mut committer, 400, 1);
        // The fourth has just been answered, and comes back.
        assert_eq!(next(&mut committer, 410), None);
        submit(&mut committer, 4..5);
        assert_eq!(next(&mut committer, 420), Some(4));
        returned(&mut committer, 800, 4);
        // Three of four clients come back before the time is up.
        submit(&mut committer, 5..8);
        assert_eq!(next(&mut committer, 900), None);
        assert_eq!(committer.wake_at(false), Some(at(1_560)));
        assert_eq!(next(&mut committer, 1_560), Some(3));
        // No client comes back.
        returned(&mut committer, 2_000, 3);
        assert_eq!((next(&mut committer, 2_000), committer.wake_at(false)), (None, None));
        submit(&mut committer, 8..9);
        assert_eq!(next(&mut committer, 9_000), Some(1));
    }

    /// Two clients: each batch has the one that came while the last was under way, and waits for the other.
    #[derive(Default)]
    struct Pair {
        committer: Committer,
        micros: u64,
        tickets: u64,
    }

    impl Pair {
        fn submit(&mut self) {
            submit(&mut self.committer, self.tickets..self.tickets + 1);
            self.tickets += 1;
        }

        /// Has one more batch committed, and returns whether it waited. If it does, the other comes in time or not.
        fn waits(&mut self, in_time: bool) -> bool {
            if self.committer.queued() == 0 {
                self.submit();
            }
            let mut size = next(&mut self.committer, self.micros);
            let waits = size.is_none();
            if waits {
                if in_time {
                    self.submit();
                } else {
                    let until = self.committer.wake_at(false).expect("it waits until then");
                    self.micros = until.0.as_micros() as u64;
                }
                size = next(&mut self.committer, self.micros);
            }
            let size = size.expect("it waits no longer");
            if size == 1 {
                self.submit();
            }
            self.micros += 400;
            returned(&mut self.committer, self.micros, size);
            waits
        }
    }

    #[test]
    fn gather_backs_off_for_late_writers() {
        let (mut pair, yes, no) = (Pair::default(), true, false);
        // The first batch has no client to wait for; one failed wait changes nothing yet.
        let late = [(); 8].map(|()| pair.waits(false));
        assert_eq!(late, [no, yes, yes, no, yes, no, no, no]);
        // A client in time halves the penalty.
        let after = [true, false, false, false, false].map(|in_time| pair.waits(in_time));
        assert_eq!(after, [yes, yes, yes, no, yes]);
        // In the end one batch of 32 waits.
        let mut waits_of = |batches| (0..batches).filter(|_| pair.waits(false)).count();
        waits_of(200);
        assert_eq!(waits_of(320), 10);
    }

    #[test]
    fn queued_bytes_leave_on_try_and_return_on_refusal() {
        let mut committer = Committer::default();
        submit(&mut committer, 0..3);
        let three = committer.queued_bytes();
        assert!(three > 0 && three.is_multiple_of(3), "{three}");
        assert_eq!(next(&mut committer, 0), Some(3));
        assert_eq!(committer.queued_bytes(), 0);
        let refused = Err(CommitError::Refused("no".into()));
        assert!(committer.returned(at(1), &refused).is_empty());
        assert_eq!((committer.queued(), committer.queued_bytes()), (3, three));
    }

    #[test]
    fn lone_writer_commits_without_waiting() {
        let mut committer = Committer::default();
        for round in 0..100 {
            submit(&mut committer, round..round + 1);
            assert_eq!(next(&mut committer, round * 1_000), Some(1));
            returned(&mut committer, round * 1_000 + 400, 1);
        }
    }
}
