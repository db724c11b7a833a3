//! What clients ask of replicas, and the answers; and what the scheduler proposes to replicas.

use std::sync::Arc;
use std::time::Duration;

use placard_model::capacity;
use placard_model::command::Request;
use placard_model::records::Kind;
use placard_replica::Reply;
use placard_replica::core::{Awaited, Input, Moment, Ticket};
use placard_testkit::requests::request;
use rand::RngExt;
use uuid::Uuid;

use crate::buying::Buying;
use crate::client::{Client, View, Work, clocked, unclocked};
use crate::reporting::Reporting;
use crate::world::{Event, FAULTY, HEALED, REPLICAS, World};

/// Clients of each kind, and those of them, the first ones, that use idempotency keys. One more reports for each replica.
const CLIENTS: u128 = 5;
const KEYED: u128 = 3;
const DEADLINE: Duration = Duration::from_millis(400);
/// Writes of a replica whose clients wait for all replicas; further ones do not wait.
const AWAITED_MAX: usize = 16;
/// What is proposed at once.
const LAPSES_MAX: usize = 5;
/// Between two looks of the scheduler.
pub(crate) const SWEEP: Duration = Duration::from_millis(400);
/// Between two reports of a replica.
const REPORT: Duration = Duration::from_millis(300);

pub(crate) fn clients() -> Vec<Client> {
    let kinds = (0..CLIENTS).flat_map(|nth| [(false, nth < KEYED), (true, nth < KEYED)]);
    let clients = (0..).zip(kinds).map(|(number, (buys, keyed))| {
        let work = if buys { Work::Buying(Buying::new(number)) } else { Work::Ads };
        Client::new(number, work, keyed)
    });
    let reporting = (CLIENTS * 2..).zip(0..REPLICAS).map(|(number, replica)| {
        Client::new(number, Work::Reporting(replica, Reporting::new(number)), false)
    });
    clients.chain(reporting).collect()
}

/// A request that waits for its answer.
pub(crate) struct Asked {
    pub(crate) client: usize,
    request: Uuid,
    /// The replica's history when it was asked.
    history: u64,
}

impl World {
    /// Tells clients of a replica that their writes are on all replicas, if its last poll says so.
    pub(crate) fn confirm(&mut self, replica: usize) {
        let Some(running) = &mut self.replicas[replica] else { return };
        let Some(cluster) = running.core.cluster() else { return };
        let history = running.core.history();
        let confirmed = running.awaited.extract_if(.., |(awaited, _)| {
            awaited.history != history || cluster.is_on_all(*awaited)
        });
        // A client of a lost history learns that.
        let confirmed = confirmed.filter(|(awaited, _)| awaited.history == history);
        let is_of_now = running.polled >= self.rolled_back;
        let confirmed: Vec<_> =
            confirmed.map(|(awaited, chain)| (awaited.version, chain)).collect();
        for confirmed in confirmed {
            self.seen.confirmed += 1;
            // It may be lost by now, with the journal that the poll was of.
            let is_there = self.journal_has(confirmed);
            assert!(is_there || !is_of_now, "{} is on all replicas, and lost", confirmed.0);
            if is_there {
                let newest = self.confirmed.filter(|newest| newest.0 > confirmed.0);
                self.confirmed = newest.or(Some(confirmed));
            }
        }
    }

    /// Has a client think of something new to do.
    pub(crate) fn begin(&mut self, client: usize) {
        let replica = self.clients[client].reports_for();
        let running = replica.and_then(|replica| self.replicas[replica].as_ref());
        let owner = running.map_or(Uuid::nil(), |running| running.id);
        let view = View { truly: self.truly(), books: &self.expected.books, owner };
        self.clients[client].begin(&mut self.rng, &view);
        if let Some(command) = self.clients[client].overtaken.take() {
            let pause = Duration::from_millis(self.rng.random_range(0..1_000));
            self.after(pause, Event::Overtaken(command));
        }
    }

    pub(crate) fn ask(&mut self, client: usize) {
        let reports_for = self.clients[client].reports_for();
        let replica = reports_for.unwrap_or_else(|| self.rng.random_range(0..REPLICAS));
        if self.replicas[replica].is_none() {
            return self.after(Duration::from_millis(20), Event::Ask(client));
        }
        if reports_for.is_some() {
            if !self.faults {
                return;
            }
            self.begin(client);
        }
        let Some(running) = &self.replicas[replica] else { return };
        let (history, own) = (running.core.history(), running.clock.own(self.truly()));
        self.next_ticket += 1;
        let ticket = self.next_ticket;
        let request = Arc::new(self.clients[client].request(u128::from(ticket), own));
        self.tickets.insert(ticket, Asked { client, request: request.id, history });
        self.submit(replica, ticket, request);
        // Longer than any deadline: only a crash leaves a client without an answer.
        self.after(DEADLINE * 3, Event::GiveUp(client, ticket));
    }

    /// Hands a request to a replica; one that is paused finds it afterwards.
    fn submit(&mut self, replica: usize, ticket: Ticket, request: Arc<Request>) {
        let Some(running) = &self.replicas[replica] else { return };
        let Moment(now) = running.clock.moment(self.now);
        let input = Input::Submit(vec![(ticket, request)], Moment(now + DEADLINE));
        self.happen(Event::Deliver(replica, self.runs[replica], input));
    }

    /// Sends commands of which nobody awaits the outcome to a replica, if it runs.
    pub(crate) fn submit_alone(&mut self, commands: Vec<capacity::Command>) {
        let replica = self.rng.random_range(0..REPLICAS);
        let Some(running) = &self.replicas[replica] else { return };
        let own = running.clock.own(self.truly());
        let commands = commands.into_iter().map(|one| clocked(unclocked(one), own)).collect();
        self.next_ticket += 1;
        let request = Arc::new(request(u128::from(self.next_ticket), commands));
        self.submit(replica, self.next_ticket, request);
    }

    /// Proposes what has lapsed by the journal's clock, as the scheduler does, and sometimes what has not.
    pub(crate) fn sweep(&mut self) {
        let now = self.journal.now;
        let early = self.rng.random_ratio(1, 4);
        let rows = self.journal.records.values().filter(|row| row.key.kind != Kind::Pool);
        let due = rows.filter(|row| early || row.due.is_some_and(|due| due <= now));
        let ids: Vec<_> = due.map(|row| row.key.id).take(LAPSES_MAX).collect();
        let books = &self.expected.books;
        let lapses = ids.iter().filter_map(|id| {
            let version = books.hold(*id).map(|hold| hold.version);
            let version = version.or(books.tombstone(*id).map(|tombstone| tombstone.version))?;
            Some(capacity::Command::Lapse { id: *id, version })
        });
        let is_owned = |id: &&Uuid| books.hold(**id).is_some_and(|hold| hold.owner.is_some());
        let forfeits = ids.iter().filter(is_owned);
        let forfeits = forfeits.map(|id| capacity::Command::Forfeit { hold: *id });
        let commands: Vec<_> = lapses.chain(forfeits).collect();
        if !commands.is_empty() {
            self.submit_alone(commands);
        }
        // Later entries might not be everywhere in the end.
        if self.now < FAULTY + HEALED / 2 {
            self.after(SWEEP, Event::Sweep);
        }
    }

    /// A client has waited for long enough.
    pub(crate) fn give_up(&mut self, client: usize, ticket: Ticket) {
        if self.tickets.remove(&ticket).is_some()
            && self.clients[client].left_in_doubt(self.now, &mut self.ledger)
        {
            self.after(Duration::ZERO, Event::Ask(client));
        }
    }

    pub(crate) fn reply(&mut self, replica: usize, ticket: Ticket, reply: &Reply) {
        let Some(Asked { client, request, history }) = self.tickets.remove(&ticket) else { return };
        match reply {
            Reply::Applied(answer) | Reply::Committed(answer) => {
                let running = self.replicas[replica].as_mut().expect("it has just stepped");
                // A write that its own replica does not show yet is confirmed by none. What was there before was not written now.
                let written = self.chains.get(&request).copied().filter(|_| !answer.replayed);
                if let (Reply::Applied(_), Some(chain)) = (reply, written) {
                    assert!(running.core.reader().published().version >= answer.version);
                    let (version, polls) = (answer.version, running.core.polls());
                    if running.awaited.len() < AWAITED_MAX {
                        running.awaited.push((Awaited { version, history, polls }, chain));
                    }
                }
                self.answered += 1;
                let asks_again = self.clients[client].answered(answer, &mut self.ledger);
                if !self.faults {
                    return;
                }
                if !asks_again {
                    self.begin(client);
                }
            }
            Reply::Unavailable | Reply::Overloaded => {
                self.unwritten.insert(request);
            }
            Reply::Unknown => {
                if !self.clients[client].left_in_doubt(self.now, &mut self.ledger) {
                    return;
                }
            }
        }
        let reports = self.clients[client].reports_for().map(|_| REPORT);
        let pause = Duration::from_millis(self.rng.random_range(0..20));
        self.after(reports.unwrap_or(pause), Event::Ask(client));
    }
}
