//! What goes wrong, apart from answers that are lost or late, which the ports see to.

use std::time::Duration;

use bytes::Bytes;
use placard_model::entry::Record;
use placard_testkit::models::StreamState;
use rand::RngExt;

use crate::world::{Event, FAULTY, REPLICAS, World};

const HOUR: i64 = 3_600_000_000;

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
                self.count(replica);
                self.runs[replica] += 1;
                self.replicas[replica] = None;
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
            Fault::SetClock(ahead) => self.ahead = ahead,
            Fault::RestartServer => self.restart_server(),
            Fault::BackUp => self.backup = Some(self.journal.clone()),
            Fault::RestoreJournal => {
                let Some(backup) = self.backup.take() else { return };
                let (incarnation, now) = (self.journal.incarnation, self.journal.now);
                self.journal = backup;
                (self.journal.incarnation, self.journal.now) = (incarnation, now);
                self.restart_server();
                self.rolled_back();
            }
        }
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
        for (nth, client) in self.clients.iter_mut().enumerate() {
            client.lost |= self.tickets.values().any(|ticket| ticket.client == nth);
            let own = titles.iter().filter(|(id, _)| client.owns(*id)).cloned();
            client.ads = own.collect();
        }
        self.rollbacks += 1;
        self.rolled_back = self.now;
    }
}
