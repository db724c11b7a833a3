//! The world around the cores: simulated time, what each output comes to and when, and the faults.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use placard_engine::Builder;
use placard_model::entry::{Entry, Incarnation, Position, Record};
use placard_model::{EncodedAd, Query, Timestamp, Version};
use placard_replica::core::{
    Core, Counts, Input, Moment, Now, Output, Phase, Settings, Ticket, Verdict,
};
use placard_replica::ports::{Appended, CommitError, Identity, Unavailable};
use placard_replica::{Batch, Reply};
use placard_testkit::contract::beat;
use placard_testkit::models::{JournalState, StreamState};
use placard_testkit::scan::Scan;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use uuid::Uuid;

use crate::client::Client;

const REPLICAS: usize = 3;
const CLIENTS: u128 = 10;
/// Those clients, the first ones, that use idempotency keys.
const KEYED: u128 = 5;
/// Simulated time under faults, and after them.
const FAULTY: Duration = Duration::from_secs(20);
const HEALED: Duration = Duration::from_secs(4);
const DEADLINE: Duration = Duration::from_millis(400);
const CHECKPOINT: Duration = Duration::from_secs(1);
const POLL: Duration = Duration::from_millis(250);
/// Of each replica, so short that answers are often older under faults.
const LEASE: Duration = Duration::from_millis(600);
const REFUSES_AFTER: Duration = Duration::from_millis(400);
const HOUR: i64 = 3_600_000_000;

/// An event at a moment.
enum Event {
    /// The port does what a replica's output asks for.
    Act(usize, u64, Output),
    /// A replica gets an input.
    Deliver(usize, u64, Input),
    /// A client does something, or repeats it.
    Ask(usize),
    /// A client has waited long enough for a replica that is gone.
    GiveUp(usize, Ticket),
    Crash(usize),
    Start(usize),
    ForgetStream,
    TrimStream,
    /// An entry that no journal has is appended to the stream.
    Forge,
    /// The stream is restored to an older state, its top included.
    RollBackStream,
    /// The journal's clock is set to this many microseconds ahead of the world's, or behind it if negative.
    SetClock(i64),
    /// The journal's server is started again: its stream has another name.
    RestartServer,
}

struct Replica {
    core: Core,
    started: Duration,
    wake_at: Option<Duration>,
    /// The journal's head when it sent its last poll.
    known: Version,
}

pub(crate) struct World {
    rng: ChaCha8Rng,
    now: Duration,
    faults: bool,
    /// Whether replicas refuse reads that are too old.
    refuse: bool,
    events: BTreeMap<Reverse<(Duration, u64)>, Event>,
    scheduled: u64,
    journal: JournalState,
    /// Where the journal's clock has begun, and how many microseconds it was set ahead since.
    clock: (Timestamp, i64),
    /// When the journal's head became which version, oldest first.
    heads: Vec<(Duration, Version)>,
    /// The newest version that a client could have been answered to be on all replicas.
    confirmed: Version,
    /// The stream of each incarnation of the journal.
    streams: BTreeMap<Incarnation, StreamState>,
    replicas: Vec<Option<Replica>>,
    /// What each replica has on its disk.
    checkpoints: Vec<Option<(Position, Vec<EncodedAd>)>>,
    /// Counts restarts, so that what was under way before one does not reach the next.
    runs: Vec<u64>,
    clients: Vec<Client>,
    /// The client that waits for a ticket, and the request's id.
    tickets: HashMap<Ticket, (usize, Uuid)>,
    next_ticket: Ticket,
    /// Requests whose clients were answered that nothing was written.
    unwritten: BTreeSet<Uuid>,
    answered: u64,
    /// How often each verdict on reads was found.
    verdicts: [u64; 4],
    counts: Counts,
}

fn unavailable() -> Unavailable {
    Unavailable("reach it", "simulated".into())
}

impl World {
    pub(crate) fn new(seed: u64) -> Self {
        let now = Timestamp::parse("2026-01-01T00:00:00Z").expect("a constant");
        let mut world = Self {
            rng: ChaCha8Rng::seed_from_u64(seed),
            now: Duration::ZERO,
            faults: true,
            refuse: seed.is_multiple_of(2),
            events: BTreeMap::new(),
            scheduled: 0,
            journal: JournalState::new(now),
            clock: (now, 0),
            heads: Vec::new(),
            confirmed: 0,
            streams: BTreeMap::new(),
            replicas: (0..REPLICAS).map(|_| None).collect(),
            checkpoints: vec![None; REPLICAS],
            runs: vec![0; REPLICAS],
            clients: (0..CLIENTS).map(|number| Client::new(number, number < KEYED)).collect(),
            tickets: HashMap::new(),
            next_ticket: 0,
            unwritten: BTreeSet::new(),
            answered: 0,
            verdicts: [0; 4],
            counts: Counts::default(),
        };
        for replica in 0..REPLICAS {
            world.after(Duration::ZERO, Event::Start(replica));
        }
        for client in 0..world.clients.len() {
            world.clients[client].begin(&mut world.rng);
            world.after(Duration::from_millis(10), Event::Ask(client));
        }
        for _ in 0..2 {
            let at = world.rng.random_range(Duration::ZERO..FAULTY);
            let ahead = world.rng.random_range(-HOUR..HOUR);
            world.after(at, Event::SetClock(ahead));
        }
        for _ in 0..8 {
            let at = world.rng.random_range(Duration::ZERO..FAULTY);
            let replica = world.rng.random_range(0..REPLICAS);
            let event = match world.rng.random_range(0..10) {
                9 => Event::RestartServer,
                0 => Event::ForgetStream,
                1 => Event::TrimStream,
                2 => Event::Forge,
                3 | 4 => Event::RollBackStream,
                _ => Event::Crash(replica),
            };
            world.after(at, event);
        }
        world
    }

    pub(crate) fn run_with_faults(&mut self) {
        self.run_until(FAULTY);
        assert!(self.answered > 50, "only {} requests were answered", self.answered);
    }

    /// Checks what must be true once all faults are over, and returns how often what happened.
    pub(crate) fn heal_and_check(mut self) -> (Counts, [u64; 4]) {
        self.faults = false;
        for replica in 0..REPLICAS {
            if self.replicas[replica].is_none() {
                self.after(Duration::ZERO, Event::Start(replica));
            }
        }
        self.run_until(FAULTY + HEALED);
        self.check_journal();
        let scan = self.scan();
        for replica in self.replicas.iter().flatten() {
            assert_eq!(replica.core.phase(), Phase::Ready);
            assert_eq!(self.verdict(replica), Verdict::Current);
            let reader = replica.core.reader();
            assert_eq!(reader.published(), self.journal.head);
            let query = Query { limit: 100, ..Query::default() };
            let page = reader.search(&query, self.journal.now);
            let ids: Vec<_> = page.ads.iter().map(|ad| ad.id).collect();
            assert_eq!((ids, page.total), scan.search(&query, self.journal.now));
        }
        for replica in 0..REPLICAS {
            self.count(replica);
        }
        (self.counts, self.verdicts)
    }

    /// Adds up what a replica has counted in this run of it.
    fn count(&mut self, replica: usize) {
        let Some(replica) = &self.replicas[replica] else { return };
        self.counts += replica.core.counts();
    }

    /// Checks that the clients' answers and the journal agree.
    fn check_journal(&self) {
        for (nth, row) in (1..).zip(&self.journal.log) {
            assert_eq!(row.record.version, nth, "versions are gapless");
            assert!(
                !self.unwritten.contains(&row.request),
                "{} was said to be unwritten",
                row.request
            );
        }
        let mut seen = BTreeSet::new();
        let doubled = self.journal.log.iter().find(|row| !seen.insert((row.request, row.item)));
        assert_eq!(doubled, None);
        let told = |id| self.clients.iter().any(|client| client.owns(id) && !client.lost);
        let titles: BTreeMap<_, _> = self
            .scan()
            .ads()
            .filter(|ad| told(ad.id))
            .map(|ad| (ad.id, ad.spec.title.clone()))
            .collect();
        // Clients still stop asking at the end of the faults, with every answer in.
        assert!(self.tickets.is_empty(), "{} clients wait for ever", self.tickets.len());
        let clients = self.clients.iter().filter(|client| !client.lost);
        let expected: BTreeMap<_, _> = clients.flat_map(|client| client.ads.clone()).collect();
        assert_eq!(titles, expected);
    }

    fn scan(&self) -> Scan {
        let mut scan = Scan::default();
        self.journal.ads.values().for_each(|ad| scan.put(ad.decode().expect("our own ad")));
        scan
    }

    fn chance(&mut self, percent: f64) -> bool {
        self.faults && self.rng.random_bool(percent / 100.0)
    }

    fn after(&mut self, pause: Duration, event: Event) {
        self.scheduled += 1;
        self.events.insert(Reverse((self.now + pause, self.scheduled)), event);
    }

    /// A latency: mostly short, sometimes long.
    fn latency(&mut self) -> Duration {
        let most = if self.chance(3.0) { 900_000 } else { 3_000 };
        Duration::from_micros(self.rng.random_range(50..most))
    }

    fn run_until(&mut self, end: Duration) {
        loop {
            let event = self.events.last_key_value().map(|(Reverse((at, _)), _)| *at);
            let wake = self.replicas.iter().flatten().filter_map(|replica| replica.wake_at).min();
            let Some(next) = event.into_iter().chain(wake).min().filter(|next| *next < end) else {
                break;
            };
            self.now = self.now.max(next);
            let (start, ahead) = self.clock;
            self.journal.now = start.saturating_add_micros(self.now.as_micros() as i64 + ahead);
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

    /// Returns what reads of a replica are to do now.
    fn verdict(&self, replica: &Replica) -> Verdict {
        let now = Moment(self.now - replica.started);
        replica.core.read_facts().verdict(replica.core.read_terms(), now)
    }

    /// Returns the journal's head as it was at a moment.
    fn head_at(&self, moment: Duration) -> Version {
        let later = self.heads.partition_point(|(at, _)| *at <= moment);
        later.checked_sub(1).map_or(0, |last| self.heads[last].1)
    }

    /// Checks that no replica answers reads from a state that is older than the answer says, or older than a version
    /// that a client may know to be on all replicas.
    fn check_reads(&mut self) {
        for nth in 0..REPLICAS {
            let Some(replica) = &self.replicas[nth] else { continue };
            let verdict = self.verdict(replica);
            let published = replica.core.reader().published().version;
            let (kind, age) = match verdict {
                Verdict::Current => (0, Some(LEASE)),
                Verdict::Old(lag) => (1, lag.age),
                Verdict::Refused(_) => (2, None),
                Verdict::NoState => (3, None),
            };
            if let Some(age) = age {
                let head = self.head_at(self.now.saturating_sub(age));
                assert!(published >= head, "{published} is older than {age:?}, when it was {head}");
            }
            if verdict.answers() {
                assert!(
                    published >= self.confirmed,
                    "{published}, and all show {}",
                    self.confirmed
                );
            }
            self.verdicts[kind] += 1;
        }
    }

    /// Notes the versions that a replica could confirm to clients whose write it knew before its last poll was sent.
    fn confirm(&mut self, replica: usize, known: Version) {
        let Some(running) = &self.replicas[replica] else { return };
        let Some(cluster) = running.core.cluster() else { return };
        let all = |version| cluster.members.iter().all(|member| cluster.confirms(member, version));
        let published = cluster.members.iter().map(|member| member.standing.published.version);
        let told = published.chain([known]).filter(|version| *version <= known && all(*version));
        self.confirmed = self.confirmed.max(told.max().unwrap_or(0));
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::SetClock(ahead) => self.clock.1 = ahead,
            Event::Act(replica, run, output) => self.act(replica, run, output),
            Event::Deliver(replica, run, input) => {
                if self.runs[replica] == run {
                    let polled = matches!(input, Input::Polled(Ok(_)));
                    let known = self.replicas[replica].as_ref().map_or(0, |one| one.known);
                    self.step(replica, input);
                    if polled {
                        self.confirm(replica, known);
                    }
                }
            }
            Event::Ask(client) => self.ask(client),
            Event::GiveUp(client, ticket) => {
                if self.tickets.remove(&ticket).is_some() && self.clients[client].left_in_doubt() {
                    self.after(Duration::ZERO, Event::Ask(client));
                }
            }
            Event::Crash(replica) => {
                self.count(replica);
                self.runs[replica] += 1;
                self.replicas[replica] = None;
                let pause = Duration::from_millis(self.rng.random_range(1..2_000));
                self.after(pause, Event::Start(replica));
            }
            Event::Start(replica) => {
                if self.replicas[replica].is_none() {
                    let replica_id = (replica as u128) << 64 | u128::from(self.runs[replica]);
                    let identity = beat(replica_id, Position::START).identity;
                    let refuses_after = self.refuse.then_some(REFUSES_AFTER);
                    let settings = Settings {
                        identity: Identity { refuses_after, ..identity },
                        lease: LEASE,
                        stream_entries_max: 40,
                        checkpoint_every: Some(CHECKPOINT),
                        // A failover may lose all there was.
                        takes_new_journal: true,
                    };
                    let (core, started) = (Core::new(settings), self.now);
                    self.replicas[replica] =
                        Some(Replica { core, started, wake_at: None, known: 0 });
                    self.step(replica, Input::Tick);
                }
            }
            Event::ForgetStream => *self.current() = StreamState::default(),
            Event::TrimStream => self.current().records.clear(),
            Event::RollBackStream => {
                let stream = self.current();
                stream.records.truncate(stream.records.len() / 2);
                let last = stream.records.last();
                stream.top = last.map(|record| (record.version, record.chain));
            }
            Event::RestartServer => {
                let started = &mut self.journal.incarnation.started;
                *started = started.saturating_add_micros(1);
            }
            Event::Forge => {
                let stream = self.current();
                let Some((top, chain)) = stream.top else { return };
                let bytes = Bytes::from_static(b"forged");
                let (version, chain) = (top + 1, chain.next(top + 1, &bytes));
                stream.records.push(Record { version, chain, bytes });
                stream.top = Some((version, chain));
            }
        }
    }

    /// The stream of the journal as it is now.
    fn current(&mut self) -> &mut StreamState {
        self.streams.entry(self.journal.incarnation).or_default()
    }

    fn stream(&mut self, of: Incarnation) -> &mut StreamState {
        self.streams.entry(of).or_default()
    }

    fn ask(&mut self, client: usize) {
        let replica = self.rng.random_range(0..REPLICAS);
        let Some(running) = &self.replicas[replica] else {
            return self.after(Duration::from_millis(20), Event::Ask(client));
        };
        self.next_ticket += 1;
        let ticket = self.next_ticket;
        let request = Arc::new(self.clients[client].request(u128::from(ticket)));
        self.tickets.insert(ticket, (client, request.id));
        let deadline = Moment(self.now - running.started + DEADLINE);
        self.step(replica, Input::Submit(vec![(ticket, request)], deadline));
        // Longer than any deadline: only a crash leaves a client without an answer.
        self.after(DEADLINE * 3, Event::GiveUp(client, ticket));
    }

    /// Does what a port does with a replica's output, now; the result travels back for a while.
    fn act(&mut self, replica: usize, run: u64, output: Output) {
        let input = match output {
            Output::Commit(batch) => Input::Committed(self.commit(&batch)),
            Output::Append(of, records) => {
                let lost = self.chance(4.0);
                let appended = if lost { Appended::Done } else { self.stream(of).append(&records) };
                let failed = lost || self.chance(4.0);
                Input::Appended(if failed { Err(unavailable()) } else { Ok(appended) })
            }
            Output::ReadStream(of, after) => {
                let records = self.stream(of).read(after, 16);
                if self.chance(2.0) {
                    Input::StreamRead(Err(unavailable()))
                } else if records.is_empty() && self.runs[replica] == run && !self.chance(0.2) {
                    let again = Event::Act(replica, run, Output::ReadStream(of, after));
                    return self.after(Duration::from_millis(2), again);
                } else {
                    Input::StreamRead(Ok(records))
                }
            }
            Output::ReadLog(purpose, after, max) => {
                let failed = self.chance(5.0);
                let records = self.journal.log(after, max);
                Input::LogRead(purpose, if failed { Err(unavailable()) } else { Ok(records) })
            }
            Output::Poll(beat, at) => {
                let failed = self.chance(5.0);
                let head = self.journal.poll(beat, at);
                Input::Polled(if failed { Err(unavailable()) } else { Ok(head) })
            }
            Output::InspectStream(of) => {
                let failed = self.chance(5.0);
                let status = self.stream(of).status();
                Input::StreamInspected(if failed { Err(unavailable()) } else { Ok(status) })
            }
            Output::ResetStream(of, top, chain) => {
                self.stream(of).reset(top, chain);
                let failed = self.chance(5.0);
                Input::StreamReset(if failed { Err(unavailable()) } else { Ok(()) })
            }
            Output::LoadCheckpoint => {
                let engine = self.checkpoints[replica].clone().map(|(position, ads)| {
                    let mut builder = Builder::default();
                    builder.extend(ads).expect("our own ads");
                    Box::new(builder.finish(position, self.journal.now).expect("our own digest"))
                });
                Input::CheckpointLoaded(engine)
            }
            // Collected when its replica may have gone on, or have crashed.
            Output::SaveCheckpoint(snapshot) => {
                let failed = self.chance(10.0);
                if !failed {
                    self.checkpoints[replica] = Some((snapshot.position(), snapshot.collect()));
                }
                Input::CheckpointSaved(if failed { Err(unavailable()) } else { Ok(()) })
            }
            Output::TrimStream(of, keep, max, _) => {
                self.stream(of).trim(keep, max);
                Input::StreamTrimmed(Ok(()))
            }
            Output::Restore => {
                let mut builder = Builder::default();
                let ads = self.journal.ads.values().cloned().collect();
                builder.extend(ads).expect("our own ads");
                let engine =
                    builder.finish(self.journal.head, self.journal.now).expect("our own digest");
                Input::Restored((!self.chance(20.0)).then(|| Box::new(engine)))
            }
            Output::Answer(..) | Output::Published(_) | Output::Follow(_) | Output::Free(_) => {
                unreachable!("not a port's: {output:?}")
            }
        };
        let latency = self.latency();
        self.after(latency, Event::Deliver(replica, run, input));
    }

    fn commit(&mut self, batch: &Batch) -> Result<placard_replica::Plan, CommitError> {
        if self.chance(5.0) {
            return Err(CommitError::NotCommitted("simulated".into()));
        }
        // A batch of one is never to blame here, so that every refused one is decided in the end.
        if batch.requests.len() > 1 && self.chance(5.0) {
            return Err(CommitError::Refused("simulated".into()));
        }
        if self.chance(4.0) {
            return Err(CommitError::Unknown("simulated, before".into()));
        }
        let plan = self.journal.commit(batch)?;
        self.heads.push((self.now, plan.head.version));
        if self.chance(6.0) {
            return Err(CommitError::Unknown("simulated, after".into()));
        }
        Ok(plan)
    }

    fn step(&mut self, replica: usize, input: Input) {
        let Some(running) = &mut self.replicas[replica] else { return };
        let mut outputs = Vec::new();
        let now = Moment(self.now - running.started);
        let now = Now { moment: now, time: self.journal.now, poll_after: POLL };
        running.core.step(now, input, &mut outputs);
        running.wake_at = running.core.wake_at().map(|Moment(at)| running.started + at);
        assert!(
            running.wake_at.is_none_or(|wake| wake > self.now),
            "the replica wants to be woken at once, for ever"
        );
        for output in outputs {
            match output {
                Output::Answer(ticket, reply) => self.reply(replica, ticket, &reply),
                Output::Published(position) => self.check_published(replica, position),
                Output::Follow(_) | Output::Free(_) => {}
                work => {
                    if let (Output::Poll(..), Some(running)) = (&work, &mut self.replicas[replica])
                    {
                        running.known = self.journal.head.version;
                    }
                    let (run, latency) = (self.runs[replica], self.latency());
                    self.after(latency, Event::Act(replica, run, work));
                }
            }
        }
    }

    /// Checks that a replica shows what the log says at that version.
    fn check_published(&self, replica: usize, position: Position) {
        let running = self.replicas[replica].as_ref().expect("it has just stepped");
        assert!(running.core.reader().published().version >= position.version);
        if let Some(at) = (position.version as usize).checked_sub(1) {
            let record = &self.journal.log[at].record;
            assert_eq!(record.chain, position.chain);
            let entry = Entry::decode(&record.bytes).expect("our own entry");
            assert_eq!(entry.digest, position.digest);
        }
    }

    fn reply(&mut self, replica: usize, ticket: Ticket, reply: &Reply) {
        let Some((client, request)) = self.tickets.remove(&ticket) else { return };
        match reply {
            Reply::Applied(answer) | Reply::Committed(answer) => {
                let running = self.replicas[replica].as_ref().expect("it has just stepped");
                let wrote = answer.outcomes.iter().any(|outcome| outcome.entry().is_some());
                if matches!(reply, Reply::Applied(_)) && wrote && !answer.replayed {
                    assert!(running.core.reader().published().version >= answer.version);
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
