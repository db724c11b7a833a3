//! The world around the cores: simulated time, what happens when, and what clients and replicas learn.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

use placard_model::capacity::{Books, Command};
use placard_model::entry::{Chain, Digest, Entry, FORMAT_LEVEL, Incarnation, Position};
use placard_model::{Encoded, Timestamp, Version};
use placard_replica::core::{Awaited, Core, Input, Now, Output, Settings, Ticket, Verdict};
use placard_replica::ports::Identity;
use placard_testkit::contract::heartbeat;
use placard_testkit::models::{JournalState, StreamState};
use placard_testkit::scan::Scan;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use uuid::Uuid;

use crate::client::Client;
use crate::clock::Clock;
use crate::expected::{Changes, Decided, Expected};
use crate::faults::{self, Fault};
use crate::invariants::{
    all_confirmed_is_shown, all_is_equal_in_the_end, equal_versions_are_equal_states,
    lapsed_units_are_available, no_write_is_lost_doubled_or_misreported,
    old_builds_hold_nothing_up, reads_are_as_fresh_as_they_say, records_are_in_the_digest,
    used_is_what_was_closed,
};
use crate::ledger::Ledger;
use crate::ports::Late;
use crate::requests::{self, Asked, SWEEP};
use crate::seen::Seen;

pub(crate) const REPLICAS: usize = 3;
/// Simulated time under faults, and after them.
pub(crate) const FAULTY: Duration = Duration::from_secs(20);
pub(crate) const HEALED: Duration = Duration::from_secs(4);
const CHECKPOINT: Duration = Duration::from_secs(1);
const POLL: Duration = Duration::from_millis(250);
/// Of each replica, so short that answers are often older under faults.
pub(crate) const LEASE: Duration = Duration::from_millis(600);
const REFUSES_AFTER: Duration = Duration::from_millis(400);
/// Between two looks at what is available.
const PROBE: Duration = Duration::from_millis(600);

/// Whether what is decided is compared with a model: without it, other invariants can show what they find.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Model {
    Compared,
    LeftOut,
}

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
    /// A command arrives that its client has sent before others.
    Overtaken(Command),
    /// The journal executes what its replica no longer waits for.
    Execute(Late),
    /// The scheduler looks for what has lapsed.
    Sweep,
    /// It is asked what is available.
    Probe,
    Start(usize),
    Fault(Fault),
}

pub(crate) struct Replica {
    pub(crate) core: Core,
    pub(crate) id: Uuid,
    /// What its readers see.
    pub(crate) published: Position,
    /// The format level that its build reads.
    pub(crate) level: u8,
    /// Until when it takes no step; its readers go on.
    pub(crate) paused: Duration,
    pub(crate) clock: Clock,
    wake_at: Option<Duration>,
    /// When the journal took the last poll.
    pub(crate) polled: Duration,
    /// The journal that its work is bound to.
    pub(crate) followed: Option<Incarnation>,
    /// The writes whose clients wait for all replicas, each with its chain.
    pub(crate) awaited: Vec<(Awaited, Chain)>,
}

impl Replica {
    /// Returns when it wants to be woken, which it is not before its pause is over.
    fn wake_at(&self) -> Option<Duration> {
        self.wake_at.map(|wake| wake.max(self.paused))
    }
}

/// An entry of any history.
pub(crate) struct Row {
    pub(crate) version: Version,
    pub(crate) digest: Digest,
    /// Pools and holds after it.
    pub(crate) books: Books,
    /// The chain of the entry before it.
    before: Chain,
}

pub(crate) struct World {
    pub(crate) rng: ChaCha8Rng,
    pub(crate) now: Duration,
    pub(crate) faults: bool,
    model: Model,
    /// Whether replicas refuse reads that are too old.
    refuse: bool,
    /// In boxes, since a map moves what it has.
    events: BTreeMap<Reverse<(Duration, u64)>, Box<Event>>,
    scheduled: u64,
    pub(crate) journal: JournalState,
    pub(crate) expected: Expected,
    pub(crate) backup: Option<(JournalState, Expected)>,
    pub(crate) ledger: Ledger,
    /// Where the journal's clock has begun, and by how many microseconds it was set ahead since.
    began: Timestamp,
    pub(crate) ahead: i64,
    /// How much time has passed in which nothing happened.
    pub(crate) skipped: Duration,
    /// When the journal's head became which version, oldest first.
    pub(crate) heads: Vec<(Duration, Version)>,
    /// Every entry that was ever committed.
    pub(crate) rows: HashMap<Chain, Row>,
    /// The chain of the last entry of each request.
    pub(crate) chains: HashMap<Uuid, Chain>,
    /// The newest write of which a client knows that it is on all replicas.
    pub(crate) confirmed: Option<(Version, Chain)>,
    /// The stream of each incarnation of the journal.
    streams: BTreeMap<Incarnation, StreamState>,
    pub(crate) replicas: Vec<Option<Replica>>,
    /// The format level that each replica's build reads.
    pub(crate) levels: Vec<u8>,
    /// What each replica has on its disk.
    pub(crate) checkpoints: Vec<Option<(Position, Vec<Encoded>)>>,
    /// Counts restarts, so that what was under way before one does not reach the next.
    pub(crate) runs: Vec<u64>,
    pub(crate) clients: Vec<Client>,
    pub(crate) tickets: HashMap<Ticket, Asked>,
    pub(crate) next_ticket: Ticket,
    /// Requests whose clients were answered that nothing was written.
    pub(crate) unwritten: BTreeSet<Uuid>,
    pub(crate) answered: u64,
    pub(crate) rollbacks: u64,
    /// When the journal was last restored to an older state.
    pub(crate) rolled_back: Duration,
    pub(crate) seen: Seen,
}

impl World {
    pub(crate) fn new(seed: u64, model: Model) -> Self {
        let began = Timestamp::parse("2026-01-01T00:00:00Z").expect("a constant");
        let mut world = Self {
            rng: ChaCha8Rng::seed_from_u64(seed),
            now: Duration::ZERO,
            faults: true,
            model,
            refuse: seed.is_multiple_of(2),
            events: BTreeMap::new(),
            scheduled: 0,
            journal: JournalState::new(began),
            expected: Expected::default(),
            backup: None,
            ledger: Ledger::default(),
            began,
            ahead: 0,
            skipped: Duration::ZERO,
            heads: Vec::new(),
            rows: HashMap::new(),
            chains: HashMap::new(),
            confirmed: None,
            streams: BTreeMap::new(),
            replicas: (0..REPLICAS).map(|_| None).collect(),
            levels: vec![FORMAT_LEVEL; REPLICAS],
            checkpoints: vec![None; REPLICAS],
            runs: vec![0; REPLICAS],
            clients: requests::clients(),
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
            world.begin(client);
            world.after(Duration::from_millis(10), Event::Ask(client));
        }
        world.after(SWEEP, Event::Sweep);
        world.after(PROBE, Event::Probe);
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
            if std::mem::replace(&mut self.levels[replica], FORMAT_LEVEL) < FORMAT_LEVEL {
                self.stop(replica);
            }
            if self.replicas[replica].is_none() {
                self.after(Duration::ZERO, Event::Start(replica));
            }
        }
        self.run_until(FAULTY + HEALED);
        no_write_is_lost_doubled_or_misreported::check(&self);
        used_is_what_was_closed::check(&self);
        let contents = self.journal.contents();
        records_are_in_the_digest::check(self.journal.head, &contents);
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
        self.events.insert(Reverse((self.now + pause, self.scheduled)), Box::new(event));
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

    /// Remembers what the journal has written, and compares it with what it must have.
    pub(crate) fn committed(&mut self, before: Position, decided: &Decided) {
        let (plan, truly) = (&decided.plan, self.truly());
        self.heads.push((self.now, plan.head.version));
        let (mut chain, mut changes) = (before.chain, Changes::new());
        for row in &plan.log {
            let entry = Entry::decode(&row.record.bytes).expect("our own entry");
            let (version, digest) = (row.record.version, entry.digest);
            let before = std::mem::replace(&mut chain, row.record.chain);
            self.expected.enter(&entry, version, truly);
            let books = self.expected.books.clone();
            self.rows.insert(chain, Row { version, digest, before, books });
            self.chains.insert(row.request, chain);
            changes.insert((row.request, row.item), (version, entry.change));
        }
        self.seen.note(decided, &changes);
        if self.model == Model::Compared {
            self.expected.compare(decided, &changes);
        }
    }

    /// Returns the time by which nothing is late or early.
    pub(crate) fn truly(&self) -> Timestamp {
        let elapsed = (self.now + self.skipped).as_micros() as i64;
        self.began.saturating_add_micros(elapsed)
    }

    /// Returns what reads of a replica are to do now.
    pub(crate) fn verdict(&self, replica: &Replica) -> Verdict {
        let now = replica.clock.moment(self.now);
        replica.core.read_facts().verdict(replica.core.read_terms(), now)
    }

    fn run_until(&mut self, end: Duration) {
        loop {
            let event = self.events.last_key_value().map(|(Reverse((at, _)), _)| *at);
            let wake = self.replicas.iter().flatten().filter_map(Replica::wake_at).min();
            let Some(next) = event.into_iter().chain(wake).min().filter(|next| *next < end) else {
                break;
            };
            self.now = self.now.max(next);
            self.journal.now = self.truly().saturating_add_micros(self.ahead);
            if event == Some(next) {
                let (_, event) = self.events.pop_last().expect("it was just seen");
                self.happen(*event);
            } else {
                let due = |replica: &Option<Replica>| {
                    replica.as_ref().is_some_and(|replica| replica.wake_at() == Some(next))
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

    pub(crate) fn happen(&mut self, event: Event) {
        match event {
            Event::Fault(fault) => self.befall(fault),
            Event::Act(replica, run, output) => self.act(replica, run, output),
            Event::Deliver(replica, run, input) => {
                let paused = self.replicas[replica].as_ref().map(|replica| replica.paused);
                if self.runs[replica] != run {
                    return;
                }
                if let Some(until) = paused.filter(|until| *until > self.now) {
                    self.after(until - self.now, Event::Deliver(replica, run, input));
                } else {
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
            Event::GiveUp(client, ticket) => self.give_up(client, ticket),
            Event::Overtaken(command) => self.submit_alone(vec![command]),
            Event::Execute(late) => self.execute(late),
            Event::Sweep => self.sweep(),
            Event::Probe => {
                lapsed_units_are_available::check(self);
                self.after(PROBE, Event::Probe);
            }
            Event::Start(replica) => {
                if self.replicas[replica].is_none() {
                    self.start(replica);
                }
            }
        }
    }

    pub(crate) fn start(&mut self, replica: usize) {
        let name = (replica as u128) << 64 | u128::from(self.runs[replica]);
        let identity = heartbeat(name, Position::START).identity;
        let (refuses_after, level) = (self.refuse.then_some(REFUSES_AFTER), self.levels[replica]);
        let id = identity.replica;
        let core = Core::new(Settings {
            identity: Identity { refuses_after, format_level: level, ..identity },
            lease: LEASE,
            stream_entries_max: 40,
            checkpoint_every: Some(CHECKPOINT),
            // A failover may lose all there was.
            takes_new_journal: true,
        });
        let clock = Clock::started(self.now, &mut self.rng);
        let (wake_at, followed, awaited) = (None, None, Vec::new());
        let (polled, paused, published) = (Duration::ZERO, Duration::ZERO, Position::START);
        let running = Replica {
            core,
            id,
            published,
            level,
            paused,
            clock,
            wake_at,
            polled,
            followed,
            awaited,
        };
        self.replicas[replica] = Some(running);
        self.step(replica, Input::Tick);
    }

    pub(crate) fn step(&mut self, replica: usize, input: Input) {
        let Some(running) = &mut self.replicas[replica] else { return };
        self.seen.steps += 1;
        let (ticks, mut outputs) = (matches!(input, Input::Tick), Vec::new());
        let (moment, time) = (running.clock.moment(self.now), running.clock.time(self.journal.now));
        running.core.step(Now { moment, time, poll_after: POLL }, input, &mut outputs);
        running.published = running.core.reader().published();
        running.wake_at = running.core.wake_at().map(|moment| running.clock.when(moment));
        // What waited for a paused replica may be late when it arrives; then the next tick answers it.
        assert!(
            !ticks || running.wake_at.is_none_or(|wake| wake > self.now),
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
                    if let Output::Commit(batch) = &work {
                        let running = self.replicas[replica].as_ref().expect("it has just stepped");
                        old_builds_hold_nothing_up::check(running, batch);
                    }
                    let (run, latency) = (self.runs[replica], self.latency());
                    self.after(latency, Event::Act(replica, run, work));
                }
            }
        }
    }
}
