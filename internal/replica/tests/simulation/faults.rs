//! What goes wrong, apart from answers that are lost or late, which the ports see to.

use std::time::Duration;

use bytes::Bytes;
use placard_model::entry::{FORMAT_LEVEL, FORMAT_LEVEL_MIN, Record};
use placard_testkit::models::StreamState;
use rand::RngExt;

use crate::client::Work;
use crate::world::{Event, FAULTY, REPLICAS, World};

const HOUR: i64 = 3_600_000_000;
/// For so long a replica may be at what it has given its client up for.
const UNDER_WAY: Duration = Duration::from_secs(5);
const DAY_AND_MORE: Duration = Duration::from_secs(25 * 3_600);

/// A fault.
#[derive(Debug)]
pub(crate) enum Fault {
    /// A replica dies, and is started again.
    Crash(usize),
    /// The stream has forgotten everything.
    ForgetStream,
    /// The stream has lost its entries, and knows how far it was.
    TrimStream,
    /// An entry that no journal has is appended to the stream.
    Forge,
    /// The stream is restored to an older state, its top included.
    RollBackStream,
    /// A replica takes no step for a while, and its readers go on.
    Pause(usize),
    /// A replica is replaced by one of an older build, that does not know pools.
    Downgrade(usize),
    /// It is replaced by one of this build.
    Upgrade(usize),
    /// Nothing happens for longer than tombstones are kept.
    PassDay,
    /// The journal's clock is set to this many microseconds ahead of the world's, or behind it if negative.
    SetClock(i64),
    /// The journal's server is started again: its stream has another name.
    RestartServer,
    /// A copy of the journal is taken.
    BackUp,
    /// The journal is restored from the copy: what came later is lost.
    RestoreJournal,
}

/// Draws the faults of a run.
pub(crate) fn plan(world: &mut World) {
    for _ in 0..2 {
        let ahead = world.rng.random_range(-HOUR..HOUR);
        at_random(world, Fault::SetClock(ahead));
    }
    for _ in 0..8 {
        let replica = world.rng.random_range(0..REPLICAS);
        let fault = match world.rng.random_range(0..10) {
            9 => Fault::RestartServer,
            0 => Fault::ForgetStream,
            1 => Fault::TrimStream,
            2 => Fault::Forge,
            3 | 4 => Fault::RollBackStream,
            _ => Fault::Crash(replica),
        };
        at_random(world, fault);
    }
    for _ in 0..3 {
        let replica = world.rng.random_range(0..REPLICAS);
        at_random(world, Fault::Pause(replica));
    }
    if world.rng.random_bool(0.25) {
        let (replica, from) = (world.rng.random_range(0..REPLICAS), world.rng.random_range(0..3));
        let from = FAULTY * from / 3;
        world.after(from, Event::Fault(Fault::Downgrade(replica)));
        let until = world.rng.random_range(from..FAULTY);
        world.after(until, Event::Fault(Fault::Upgrade(replica)));
    }
    if world.rng.random_bool(0.25) {
        at_random(world, Fault::PassDay);
    }
    // Rarely, since of clients that were waiting then little can be said afterwards.
    let restores = if world.rng.random_bool(0.3) { 4 } else { 0 };
    for _ in 0..restores {
        let backup = world.rng.random_range(Duration::ZERO..FAULTY);
        let restore = world.rng.random_range(backup..FAULTY);
        world.after(backup, Event::Fault(Fault::BackUp));
        world.after(restore, Event::Fault(Fault::RestoreJournal));
    }
}

fn at_random(world: &mut World, fault: Fault) {
    let at = world.rng.random_range(Duration::ZERO..FAULTY);
    world.after(at, Event::Fault(fault));
}

impl World {
    pub(crate) fn befall(&mut self, fault: Fault) {
        match fault {
            Fault::Crash(replica) => {
                self.stop(replica);
                let pause = Duration::from_millis(self.rng.random_range(1..2_000));
                self.after(pause, Event::Start(replica));
            }
            Fault::ForgetStream => *self.current() = StreamState::default(),
            Fault::TrimStream => self.current().records.clear(),
            Fault::RollBackStream => {
                let stream = self.current();
                stream.records.truncate(stream.records.len() / 2);
                let last = stream.records.last();
                stream.top = last.map(|record| (record.version, record.chain));
            }
            Fault::Forge => {
                let stream = self.current();
                let Some((top, chain)) = stream.top else { return };
                let bytes = Bytes::from_static(b"forged");
                let (version, chain) = (top + 1, chain.next(top + 1, &bytes));
                stream.records.push(Record { version, chain, bytes });
                stream.top = Some((version, chain));
            }
            Fault::Pause(replica) => {
                let pause = Duration::from_millis(self.rng.random_range(10..700));
                let running = self.replicas[replica].as_mut();
                // What waits for it keeps its order.
                if let Some(running) = running.filter(|running| running.paused < self.now) {
                    running.paused = self.now + pause;
                }
            }
            Fault::Downgrade(replica) => {
                self.seen.old_builds += u64::from(self.journal.level > FORMAT_LEVEL_MIN);
                self.replace(replica, FORMAT_LEVEL_MIN);
            }
            Fault::Upgrade(replica) => self.replace(replica, FORMAT_LEVEL),
            Fault::PassDay => {
                self.skipped += DAY_AND_MORE;
                for client in &mut self.clients {
                    if let Work::Buying(buying) = &mut client.work {
                        buying.forget_overtaken();
                    }
                }
            }
            Fault::SetClock(ahead) => self.ahead = ahead,
            Fault::RestartServer => self.restart_server(),
            Fault::BackUp => self.backup = Some((self.journal.clone(), self.expected.clone())),
            Fault::RestoreJournal => {
                let Some((backup, expected)) = self.backup.take() else { return };
                let (incarnation, now) = (self.journal.incarnation, self.journal.now);
                (self.journal, self.expected) = (backup, expected);
                (self.journal.incarnation, self.journal.now) = (incarnation, now);
                self.restart_server();
                self.rolled_back();
            }
        }
    }

    /// A replica dies.
    pub(crate) fn stop(&mut self, replica: usize) {
        self.count(replica);
        self.runs[replica] += 1;
        self.replicas[replica] = None;
    }

    /// A replica leaves the register, and one of another build takes its place.
    fn replace(&mut self, replica: usize, level: u8) {
        if let Some(running) = &self.replicas[replica] {
            self.journal.members.remove(&running.id);
            self.journal.left.insert(running.id);
        }
        self.stop(replica);
        self.levels[replica] = level;
        self.start(replica);
    }

    fn restart_server(&mut self) {
        let started = &mut self.journal.incarnation.started;
        *started = started.saturating_add_micros(1);
    }

    /// What clients know of the lost history is as lost as that. Those that wait for an answer may get one of either
    /// history.
    fn rolled_back(&mut self) {
        let restored = self.journal.head.version;
        self.heads.iter_mut().for_each(|(_, head)| *head = restored.min(*head));
        self.confirmed = self.confirmed.filter(|confirmed| self.journal_has(*confirmed));
        let titles: Vec<_> = self.scan().ads().map(|ad| (ad.id, ad.spec.title.clone())).collect();
        self.ledger.rolled_back(restored);
        for (nth, client) in self.clients.iter_mut().enumerate() {
            let is_waiting = self.tickets.values().any(|ticket| ticket.client == nth);
            // Its replica may still be at it, and not find the answer that another has kept.
            let is_waiting =
                is_waiting || client.doubted.is_some_and(|doubted| self.now - doubted < UNDER_WAY);
            client.rolled_back(is_waiting, &titles, &self.expected.books, &mut self.ledger);
        }
        self.rollbacks += 1;
        self.rolled_back = self.now;
    }
}
