//! The world around the cores: simulated time, what happens when, and what clients and replicas learn.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use placard_model::entry::{Chain, Digest, Entry, Incarnation, Position};
use placard_model::{Encoded, Timestamp, Version};
use placard_replica::core::{
    Awaited, Core, Counts, Input, Moment, Now, Output, Settings, Ticket, Verdict,
};
use placard_replica::ports::Identity;
use placard_replica::{Plan, Reply};
use placard_testkit::contract::heartbeat;
use placard_testkit::models::{JournalState, StreamState};
use placard_testkit::scan::Scan;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use uuid::Uuid;

use crate::client::Client;
use crate::clock::Clock;
use crate::faults::{self, Fault};
use crate::invariants::{
    all_confirmed_is_shown, all_is_equal_in_the_end, equal_versions_are_equal_states,
    no_write_is_lost_doubled_or_misreported, reads_are_as_fresh_as_they_say,
};

pub(crate) const REPLICAS: usize = 3;
const CLIENTS: u128 = 10;
/// Those clients, the first ones, that use idempotency keys.
const KEYED: u128 = 5;
/// Simulated time under faults, and after them.
pub(crate) const FAULTY: Duration = Duration::from_secs(20);
const HEALED: Duration = Duration::from_secs(4);
const DEADLINE: Duration = Duration::from_millis(400);
const CHECKPOINT: Duration = Duration::from_secs(1);
const POLL: Duration = Duration::from_millis(250);
/// Of each replica, so short that answers are often older under faults.
pub(crate) const LEASE: Duration = Duration::from_millis(600);
const REFUSES_AFTER: Duration = Duration::from_millis(400);
/// Writes of a replica whose clients wait for all replicas; further ones do not wait.
const AWAITED_MAX: usize = 16;

/// An event at a moment.
pub(crate) enum Event {
    /// The port does what a replica's output asks for.
    Act(usize, u64, Output),
    /// A replica gets an input.
    Deliver(usize, u64, Input),
    /// A client does something, or repeats it.
    Ask(usize),
    /// A client has waited long enough for a replica that is gone.
    GiveUp(usize, Ticket),
    Start(usize),
    Fault(Fault),
}

pub(crate) struct Replica {
    pub(crate) core: Core,
    pub(crate) clock: Clock,
    wake_at: Option<Duration>,
    /// When the journal took the last poll.
    pub(crate) polled: Duration,
    /// The journal that its work is bound to.
    pub(crate) followed: Option<Incarnation>,
    /// The writes whose clients wait for all replicas, each with its chain.
    awaited: Vec<(Awaited, Chain)>,
}

/// A request that waits for its answer.
pub(crate) struct Asked {
    pub(crate) client: usize,
    request: Uuid,
    /// The replica's history when it was asked.
    history: u64,
}

/// An entry of any history.
pub(crate) struct Row {
    pub(crate) version: Version,
    pub(crate) digest: Digest,
    /// The chain of the entry before it.
    before: Chain,
}

pub(crate) struct World {
    pub(crate) rng: ChaCha8Rng,
    pub(crate) now: Duration,
    faults: bool,
    /// Whether replicas refuse reads that are too old.
    refuse: bool,
    events: BTreeMap<Reverse<(Duration, u64)>, Event>,
    scheduled: u64,
    pub(crate) journal: JournalState,
    pub(crate) backup: Option<JournalState>,
    /// Where the journal's clock has begun, and by how many microseconds it was set ahead since.
    began: Timestamp,
    pub(crate) ahead: i64,
    /// When the journal's head became which version, oldest first.
    pub(crate) heads: Vec<(Duration, Version)>,
    /// Every entry that was ever committed.
    pub(crate) rows: HashMap<Chain, Row>,
    /// The chain of the last entry of each request.
    chains: HashMap<Uuid, Chain>,
    /// The newest write of which a client knows that it is on all replicas.
    pub(crate) confirmed: Option<(Version, Chain)>,
    /// The stream of each incarnation of the journal.
    streams: BTreeMap<Incarnation, StreamState>,
    pub(crate) replicas: Vec<Option<Replica>>,
    /// What each replica has on its disk.
    pub(crate) checkpoints: Vec<Option<(Position, Vec<Encoded>)>>,
    /// Counts restarts, so that what was under way before one does not reach the next.
    pub(crate) runs: Vec<u64>,
    pub(crate) clients: Vec<Client>,
    pub(crate) tickets: HashMap<Ticket, Asked>,
    next_ticket: Ticket,
    /// Requests whose clients were answered that nothing was written.
    pub(crate) unwritten: BTreeSet<Uuid>,
    answered: u64,
    pub(crate) rollbacks: u64,
    /// When the journal was last restored to an older state.
    pub(crate) rolled_back: Duration,
    seen: Seen,
}

/// How often what happened.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Seen {
    pub(crate) counts: Counts,
    /// Each verdict on reads.
    pub(crate) verdicts: [u64; 4],
    /// Writes that were found to be on all replicas.
    pub(crate) confirmed: u64,
    pub(crate) rollbacks: u64,
    /// Steps of replicas.
    pub(crate) steps: u64,
}

impl World {
    pub(crate) fn new(seed: u64) -> Self {
        let began = Timestamp::parse("2026-01-01T00:00:00Z").expect("a constant");
        let mut world = Self {
            rng: ChaCha8Rng::seed_from_u64(seed),
            now: Duration::ZERO,
            faults: true,
            refuse: seed.is_multiple_of(2),
            events: BTreeMap::new(),
            scheduled: 0,
            journal: JournalState::new(began),
            backup: None,
            began,
            ahead: 0,
            heads: Vec::new(),
            rows: HashMap::new(),
            chains: HashMap::new(),
            confirmed: None,
            streams: BTreeMap::new(),
            replicas: (0..REPLICAS).map(|_| None).collect(),
            checkpoints: vec![None; REPLICAS],
            runs: vec![0; REPLICAS],
            clients: (0..CLIENTS).map(|number| Client::new(number, number < KEYED)).collect(),
            tickets: HashMap::new(),
            next_ticket: 0,
            unwritten: BTreeSet::new(),
            answered: 0,
            rollbacks: 0,
            rolled_back: Duration::ZERO,
            seen: Seen::default(),
        };
        for replica in 0..REPLICAS {
            world.after(Duration::ZERO, Event::Start(replica));
        }
        for client in 0..world.clients.len() {
            world.clients[client].begin(&mut world.rng);
            world.after(Duration::from_millis(10), Event::Ask(client));
        }
        faults::plan(&mut world);
        world
    }

    pub(crate) fn run_with_faults(&mut self) {
        self.run_until(FAULTY);
        assert!(self.answered > 50, "only {} requests were answered", self.answered);
    }

    /// Checks what must be true once all faults are over, and returns how often what happened.
    pub(crate) fn heal_and_check(mut self) -> Seen {
        self.faults = false;
        for replica in 0..REPLICAS {
            if self.replicas[replica].is_none() {
                self.after(Duration::ZERO, Event::Start(replica));
            }
        }
        self.run_until(FAULTY + HEALED);
        no_write_is_lost_doubled_or_misreported::check(&self);
        all_is_equal_in_the_end::check(&self);
        for replica in 0..REPLICAS {
            self.count(replica);
        }
        Seen { rollbacks: self.rollbacks, ..self.seen }
    }

    /// Adds up what a replica has counted in this run of it.
    pub(crate) fn count(&mut self, replica: usize) {
        let Some(replica) = &self.replicas[replica] else { return };
        self.seen.counts += replica.core.counts();
    }

    pub(crate) fn scan(&self) -> Scan {
        let mut scan = Scan::default();
        self.journal.ads.values().for_each(|ad| scan.put(ad.decode().expect("our own ad")));
        scan
    }

    pub(crate) fn chance(&mut self, percent: f64) -> bool {
        self.faults && self.rng.random_bool(percent / 100.0)
    }

    pub(crate) fn after(&mut self, pause: Duration, event: Event) {
        self.scheduled += 1;
        self.events.insert(Reverse((self.now + pause, self.scheduled)), event);
    }

    /// A latency: mostly short, sometimes long.
    pub(crate) fn latency(&mut self) -> Duration {
        let most = if self.chance(3.0) { 900_000 } else { 3_000 };
        Duration::from_micros(self.rng.random_range(50..most))
    }

    /// The stream of the journal as it is now.
    pub(crate) fn current(&mut self) -> &mut StreamState {
        self.stream(self.journal.incarnation)
    }

    pub(crate) fn stream(&mut self, of: Incarnation) -> &mut StreamState {
        self.streams.entry(of).or_default()
    }

    /// Returns the journal's head as it was at a moment.
    pub(crate) fn head_at(&self, moment: Duration) -> Version {
        let later = self.heads.partition_point(|(at, _)| *at <= moment);
        later.checked_sub(1).map_or(0, |last| self.heads[last].1)
    }

    /// Returns true if the journal has this entry.
    pub(crate) fn journal_has(&self, (version, chain): (Version, Chain)) -> bool {
        let row = (version as usize).checked_sub(1).and_then(|nth| self.journal.log.get(nth));
        row.is_some_and(|row| row.record.chain == chain)
    }

    /// Returns true if the history up to a position has this entry.
    pub(crate) fn has(&self, position: Position, (version, chain): (Version, Chain)) -> bool {
        if position.version < version {
            return false;
        }
        if self.journal_has((position.version, position.chain)) {
            return self.journal_has((version, chain));
        }
        let mut at = position.chain;
        while let Some(row) = self.rows.get(&at).filter(|row| row.version > version) {
            at = row.before;
        }
        at == chain
    }

    /// Remembers what the journal has written.
    pub(crate) fn committed(&mut self, before: Position, plan: &Plan) {
        self.heads.push((self.now, plan.head.version));
        let mut chain = before.chain;
        for row in &plan.log {
            let entry = Entry::decode(&row.record.bytes).expect("our own entry");
            let (version, digest) = (row.record.version, entry.digest);
            let before = std::mem::replace(&mut chain, row.record.chain);
            self.rows.insert(chain, Row { version, digest, before });
            self.chains.insert(row.request, chain);
        }
    }

    /// Returns what reads of a replica are to do now.
    pub(crate) fn verdict(&self, replica: &Replica) -> Verdict {
        let now = replica.clock.moment(self.now);
        replica.core.read_facts().verdict(replica.core.read_terms(), now)
    }

    fn run_until(&mut self, end: Duration) {
        loop {
            let event = self.events.last_key_value().map(|(Reverse((at, _)), _)| *at);
            let wake = self.replicas.iter().flatten().filter_map(|replica| replica.wake_at).min();
            let Some(next) = event.into_iter().chain(wake).min().filter(|next| *next < end) else {
                break;
            };
            self.now = self.now.max(next);
            let since = self.now.as_micros() as i64;
            self.journal.now = self.began.saturating_add_micros(since + self.ahead);
            if event == Some(next) {
                let (_, event) = self.events.pop_last().expect("it was just seen");
                self.happen(event);
            } else {
                let due = |replica: &Option<Replica>| {
                    replica.as_ref().is_some_and(|replica| replica.wake_at == Some(next))
                };
                let replica = self.replicas.iter().position(due).expect("it was just seen");
                self.step(replica, Input::Tick);
            }
            self.check_reads();
        }
        self.now = end;
    }

    fn check_reads(&mut self) {
        for replica in self.replicas.iter().flatten() {
            let verdict = self.verdict(replica);
            reads_are_as_fresh_as_they_say::check(self, replica, verdict);
            all_confirmed_is_shown::check(self, replica, verdict);
            self.seen.verdicts[match verdict {
                Verdict::Current => 0,
                Verdict::Old(_) => 1,
                Verdict::Refused(_) => 2,
                Verdict::NoState => 3,
            }] += 1;
        }
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Fault(fault) => self.befall(fault),
            Event::Act(replica, run, output) => self.act(replica, run, output),
            Event::Deliver(replica, run, input) => {
                if self.runs[replica] == run {
                    let polled = matches!(input, Input::Polled(Ok(_)));
                    if let (true, Some(running)) = (polled, &mut self.replicas[replica]) {
                        running.clock.corrected(&mut self.rng);
                    }
                    self.step(replica, input);
                    if polled {
                        self.confirm(replica);
                    }
                }
            }
            Event::Ask(client) => self.ask(client),
            Event::GiveUp(client, ticket) => {
                if self.tickets.remove(&ticket).is_some() && self.clients[client].left_in_doubt() {
                    self.after(Duration::ZERO, Event::Ask(client));
                }
            }
            Event::Start(replica) => {
                if self.replicas[replica].is_none() {
                    self.start(replica);
                }
            }
        }
    }

    fn start(&mut self, replica: usize) {
        let name = (replica as u128) << 64 | u128::from(self.runs[replica]);
        let identity = heartbeat(name, Position::START).identity;
        let refuses_after = self.refuse.then_some(REFUSES_AFTER);
        let core = Core::new(Settings {
            identity: Identity { refuses_after, ..identity },
            lease: LEASE,
            stream_entries_max: 40,
            checkpoint_every: Some(CHECKPOINT),
            // A failover may lose all there was.
            takes_new_journal: true,
        });
        let clock = Clock::started(self.now, &mut self.rng);
        let (wake_at, followed, awaited) = (None, None, Vec::new());
        let polled = Duration::ZERO;
        self.replicas[replica] = Some(Replica { core, clock, wake_at, polled, followed, awaited });
        self.step(replica, Input::Tick);
    }

    /// Tells clients of a replica that their writes are on all replicas, if its last poll says so.
    fn confirm(&mut self, replica: usize) {
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

    fn ask(&mut self, client: usize) {
        let replica = self.rng.random_range(0..REPLICAS);
        let Some(running) = &self.replicas[replica] else {
            return self.after(Duration::from_millis(20), Event::Ask(client));
        };
        self.next_ticket += 1;
        let ticket = self.next_ticket;
        let request = Arc::new(self.clients[client].request(u128::from(ticket)));
        let history = running.core.history();
        self.tickets.insert(ticket, Asked { client, request: request.id, history });
        let Moment(now) = running.clock.moment(self.now);
        self.step(replica, Input::Submit(vec![(ticket, request)], Moment(now + DEADLINE)));
        // Longer than any deadline: only a crash leaves a client without an answer.
        self.after(DEADLINE * 3, Event::GiveUp(client, ticket));
    }

    fn step(&mut self, replica: usize, input: Input) {
        let Some(running) = &mut self.replicas[replica] else { return };
        self.seen.steps += 1;
        let mut outputs = Vec::new();
        let (moment, time) = (running.clock.moment(self.now), running.clock.time(self.journal.now));
        running.core.step(Now { moment, time, poll_after: POLL }, input, &mut outputs);
        running.wake_at = running.core.wake_at().map(|moment| running.clock.when(moment));
        assert!(
            running.wake_at.is_none_or(|wake| wake > self.now),
            "the replica wants to be woken at once, for ever"
        );
        for output in outputs {
            match output {
                Output::Answer(ticket, reply) => self.reply(replica, ticket, &reply),
                Output::Published(position) => {
                    let running = self.replicas[replica].as_ref().expect("it has just stepped");
                    equal_versions_are_equal_states::check(self, running, position);
                }
                Output::Follow(journal) => {
                    let running = self.replicas[replica].as_mut().expect("it has just stepped");
                    running.followed = Some(journal);
                }
                Output::Free(_) => {}
                work => {
                    let (run, latency) = (self.runs[replica], self.latency());
                    self.after(latency, Event::Act(replica, run, work));
                }
            }
        }
    }

    fn reply(&mut self, replica: usize, ticket: Ticket, reply: &Reply) {
        let Some(Asked { client, request, history }) = self.tickets.remove(&ticket) else { return };
        match reply {
            Reply::Applied(answer) | Reply::Committed(answer) => {
                let running = self.replicas[replica].as_mut().expect("it has just stepped");
                let wrote = answer.outcomes.iter().any(|outcome| outcome.entry().is_some());
                // A write that its own replica does not show yet is confirmed by none.
                if matches!(reply, Reply::Applied(_)) && wrote && !answer.replayed {
                    assert!(running.core.reader().published().version >= answer.version);
                    let (version, polls) = (answer.version, running.core.polls());
                    let chain = self.chains[&request];
                    if running.awaited.len() < AWAITED_MAX {
                        running.awaited.push((Awaited { version, history, polls }, chain));
                    }
                }
                self.answered += 1;
                self.clients[client].answered(answer);
                if !self.faults {
                    return;
                }
                self.clients[client].begin(&mut self.rng);
            }
            Reply::Unavailable | Reply::Overloaded => {
                self.unwritten.insert(request);
            }
            Reply::Unknown => {
                if !self.clients[client].left_in_doubt() {
                    return;
                }
            }
        }
        let pause = Duration::from_millis(self.rng.random_range(0..20));
        self.after(pause, Event::Ask(client));
    }
}
