//! The connections of a server: how many there are, and which of them go when there is no room for one more. First go
//! those from which no whole request has come, then those that are idle; in each group the one that has been so for
//! longest goes first. A few connections beyond the maximum are taken in, so that a health check is answered when no
//! connection can go.
//!
//! A connection does not report each request here. That it is busy again is found when its turn comes, and then it waits
//! for its next turn. So a search for one that can go costs no more than the requests, or the time, since the last search.

#![expect(clippy::disallowed_methods, reason = "it keeps the time of all connections")]

use std::collections::{BTreeSet, HashMap};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use placard_model::limits;
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::http::connection_state::{ConnectionState, Phase, Queue};
use crate::http::pulse::Pulse;
use crate::metrics::connections::ConnectionMetrics;

/// How often to look again for a connection that can go, while no connection could.
const LOOK_AGAIN: Duration = Duration::from_millis(25);
/// One in this number of the maximum connections goes at once beyond the ones that have to go. Otherwise each new
/// connection would find every slot taken, and then every answer is its connection's last.
const SPARE_PART: usize = 128;

const SILENCE_MIN_MS: u64 = limits::SILENCE_MIN.as_millis() as u64;

/// All connections of a server.
#[derive(Debug)]
pub(crate) struct Occupancy {
    began: Instant,
    pulse: Pulse,
    max: usize,
    reserved: usize,
    idle_timeout: Duration,
    is_draining: AtomicBool,
    count: AtomicUsize,
    next: AtomicU64,
    metrics: ConnectionMetrics,
    list: Mutex<ConnectionList>,
    left: Notify,
}

/// All open connections, and the order in which they go.
#[derive(Debug, Default)]
struct ConnectionList {
    states: HashMap<u64, Listed>,
    /// By the millisecond since which a connection was silent, as far as is known: it may have moved since.
    silent: BTreeSet<(u64, u64)>,
    /// The same of those that have had a request.
    served: BTreeSet<(u64, u64)>,
    /// The number of connections that have the order to go, and have not gone.
    going: usize,
    /// The number of turns that were looked at.
    #[cfg(test)]
    looks: usize,
}

#[derive(Debug)]
struct Listed {
    state: Arc<ConnectionState>,
    /// Where it waits for its turn, unless it has the order to go.
    turn: Option<(Queue, u64)>,
}

impl ConnectionList {
    fn queue(&mut self, queue: Queue) -> &mut BTreeSet<(u64, u64)> {
        match queue {
            Queue::Silent => &mut self.silent,
            Queue::Served => &mut self.served,
        }
    }

    fn add(&mut self, id: u64, state: Arc<ConnectionState>) {
        let (phase, since) = state.phase();
        let queue = phase.queue();
        self.states.insert(id, Listed { state, turn: Some((queue, since)) });
        self.queue(queue).insert((since, id));
    }

    fn remove(&mut self, id: u64) {
        if let Some(listed) = self.states.remove(&id) {
            self.leave(id, listed.turn);
        }
    }

    fn leave(&mut self, id: u64, turn: Option<(Queue, u64)>) {
        match turn {
            Some((queue, since)) => {
                self.queue(queue).remove(&(since, id));
            }
            None => self.going -= 1,
        }
    }

    /// Puts a connection into the queue of its phase. One that has the order to go finds that out by itself.
    fn settle(&mut self, id: u64) {
        if let Some(Listed { state, turn: Some(_) }) = self.states.get(&id) {
            let (phase, since) = state.phase();
            self.shift(id, phase.queue(), since);
        }
    }

    /// Takes back the order to go.
    fn remain(&mut self, id: u64, now: u64) {
        if let Some(listed) = self.states.get(&id) {
            listed.state.stay();
            self.shift(id, Queue::Served, now);
        }
    }

    /// Moves a connection to another queue, or, if it had the order to go, back into one.
    fn shift(&mut self, id: u64, queue: Queue, since: u64) {
        let Some(listed) = self.states.get_mut(&id) else { return };
        let before = listed.turn.replace((queue, since));
        self.leave(id, before);
        self.queue(queue).insert((since, id));
    }

    /// Orders `wanted` connections to go, or as many as can go.
    fn make_room(&mut self, wanted: usize, now: u64) {
        let gone = self.send_off(Queue::Silent, wanted, now);
        // Connections that are silent for too short a time have a request soon, or go soon.
        let too_new = self.silent.len();
        self.send_off(Queue::Served, wanted.saturating_sub(gone + too_new), now);
    }

    /// Orders the connections whose turn it is to go, if they are silent or idle for long enough. Returns how many go.
    fn send_off(&mut self, queue: Queue, most: usize, now: u64) -> usize {
        let mut gone = 0;
        while gone < most
            && let Some(&(since, id)) = self.queue(queue).first()
            && since + SILENCE_MIN_MS <= now
            && let Some(listed) = self.states.get_mut(&id)
        {
            #[cfg(test)]
            {
                self.looks += 1;
            }
            match listed.state.phase() {
                // From now on at the earliest.
                (Phase::Request | Phase::Answer, _) => self.shift(id, Queue::Served, now),
                (_, later) if later > since => self.shift(id, queue, later),
                _ => {
                    listed.turn = None;
                    listed.state.make_room();
                    self.queue(queue).remove(&(since, id));
                    self.going += 1;
                    gone += 1;
                }
            }
        }
        gone
    }
}

/// A connection's place, which is free again when the last of these is dropped.
#[derive(Debug, Clone)]
pub(crate) struct ConnectionSlot(Arc<SlotInner>);

#[derive(Debug)]
struct SlotInner {
    id: u64,
    state: Arc<ConnectionState>,
    occupancy: Arc<Occupancy>,
}

impl ConnectionSlot {
    pub(crate) fn state(&self) -> &ConnectionState {
        &self.0.state
    }

    pub(crate) fn occupancy(&self) -> &Occupancy {
        &self.0.occupancy
    }

    /// Begins a phase.
    pub(crate) fn enter(&self, phase: Phase) {
        self.state().enter(phase, self.occupancy().now_ms());
    }

    /// Puts the connection into the queue of its phase. The queue changes with its first request, and with a head that
    /// does not come at once.
    pub(crate) fn settle(&self) {
        let queue = self.state().phase().0.queue() as u8;
        if self.state().queue.swap(queue, Ordering::Relaxed) != queue {
            self.occupancy().list().settle(self.0.id);
        }
    }

    /// Keeps the connection because it has a request, although it had the order to go.
    pub(crate) fn remain(&self) {
        let now = self.occupancy().now_ms();
        self.occupancy().list().remain(self.0.id, now);
    }
}

impl Drop for SlotInner {
    fn drop(&mut self) {
        self.occupancy.list().remove(self.id);
        self.occupancy.count.fetch_sub(1, Ordering::Relaxed);
        self.occupancy.metrics.closed();
        self.occupancy.left.notify_waiters();
    }
}

impl Occupancy {
    /// Returns one for `max` connections, and `reserved` more for health checks.
    pub(crate) fn new(
        max: usize,
        reserved: usize,
        idle_timeout: Duration,
        metrics: ConnectionMetrics,
    ) -> Arc<Self> {
        Arc::new(Self {
            began: Instant::now(),
            pulse: Pulse::new(),
            max,
            reserved,
            idle_timeout,
            is_draining: AtomicBool::new(false),
            count: AtomicUsize::new(0),
            next: AtomicU64::new(0),
            metrics,
            list: Mutex::default(),
            left: Notify::new(),
        })
    }

    /// Returns how long a connection may be silent or idle.
    pub(crate) fn idle_timeout(&self) -> Duration {
        self.idle_timeout
    }

    /// Returns the metrics of its connections.
    pub(crate) fn metrics(&self) -> &ConnectionMetrics {
        &self.metrics
    }

    /// The pulse of the process.
    pub(crate) fn pulse(&self) -> &Pulse {
        &self.pulse
    }

    /// Returns the milliseconds since it began.
    pub(crate) fn now_ms(&self) -> u64 {
        self.began.elapsed().as_millis() as u64
    }

    /// Converts milliseconds since it began to an instant.
    pub(crate) fn at(&self, ms: u64) -> Instant {
        self.began + Duration::from_millis(ms)
    }

    /// Makes every answer from now on its connection's last.
    pub(crate) fn drain(&self) {
        self.is_draining.store(true, Ordering::Relaxed);
    }

    /// Returns true if an answer is its connection's last because there are too many connections, or because the server
    /// is about to stop.
    pub(crate) fn wants_out(&self) -> bool {
        self.is_draining.load(Ordering::Relaxed) || self.count() > self.max
    }

    /// Takes a connection in.
    pub(crate) fn enter(self: &Arc<Self>) -> ConnectionSlot {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let count = self.count.fetch_add(1, Ordering::Relaxed) + 1;
        let state = Arc::new(ConnectionState::new(self.now_ms(), count > self.max));
        self.list().add(id, Arc::clone(&state));
        self.metrics.opened();
        if count > self.max {
            self.make_room(0);
        }
        ConnectionSlot(Arc::new(SlotInner { id, state, occupancy: Arc::clone(self) }))
    }

    /// Waits until one more can be taken in.
    pub(crate) async fn takes_one_more(&self) {
        while self.count() >= self.max + self.reserved {
            self.make_room(1);
            let _ = tokio::time::timeout(LOOK_AGAIN, self.left.notified()).await;
        }
    }

    /// Waits until there is room for all that are in, and returns true if there was in time. Once half of the reserve
    /// is taken, it does not wait.
    pub(crate) async fn has_room(&self) -> bool {
        let deadline = Instant::now() + limits::ROOM_DEADLINE;
        // Connections that arrived together have each taken the others for clients with a request soon.
        let mut has_asked = false;
        while self.count() > self.max {
            let is_half_taken = self.count() > self.max + self.reserved / 2;
            if Instant::now() > deadline || (is_half_taken && has_asked) {
                return false;
            }
            has_asked = true;
            self.make_room(0);
            let _ = tokio::time::timeout(LOOK_AGAIN, self.left.notified()).await;
        }
        true
    }

    /// Orders the surplus connections, and a few more, to go: those first that are first in their queue.
    fn make_room(&self, new: usize) {
        let mut list = self.list();
        let wanted = list.states.len() + new + self.max / SPARE_PART;
        let wanted = wanted.saturating_sub(self.max + list.going);
        list.make_room(wanted, self.now_ms());
    }

    /// Orders one connection to go, although the number of connections is allowed: another resource is short.
    pub(crate) fn shrink(&self) {
        self.list().make_room(1, self.now_ms());
    }

    /// Orders all connections to go as soon as they have no request.
    pub(crate) fn finish(&self) {
        self.list().states.values().for_each(|listed| listed.state.finish());
    }

    fn count(&self) -> usize {
        self.count.load(Ordering::Relaxed)
    }

    fn list(&self) -> MutexGuard<'_, ConnectionList> {
        self.list.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::connection_state::Order;

    const MAX: usize = 1_000;

    /// A list, and its time.
    #[derive(Default)]
    struct Tried {
        list: ConnectionList,
        states: Vec<Arc<ConnectionState>>,
        now: u64,
    }

    impl Tried {
        /// One more, silent; its number.
        fn silent(&mut self) -> usize {
            let (id, state) = (self.states.len(), Arc::new(ConnectionState::new(self.now, false)));
            self.list.add(id as u64, Arc::clone(&state));
            self.states.push(state);
            id
        }

        /// One more, with a request.
        fn busy(&mut self) -> usize {
            let id = self.silent();
            self.enters(id, Phase::Request);
            id
        }

        /// It enters a phase, as its own task says.
        fn enters(&mut self, id: usize, phase: Phase) {
            let before = self.states[id].phase().0.queue();
            self.states[id].enter(phase, self.now);
            if before != phase.queue() {
                self.list.settle(id as u64);
            }
        }

        fn makes_room(&mut self, wanted: usize) {
            self.list.make_room(wanted, self.now);
        }

        fn going(&self) -> Vec<usize> {
            let all = 0..self.states.len();
            all.filter(|id| self.states[*id].order() == Order::MakeRoom).collect()
        }
    }

    #[test]
    fn room_is_made_without_rescanning_busy_connections() {
        let mut tried = Tried::default();
        for _ in 0..MAX {
            tried.busy();
        }
        tried.now += SILENCE_MIN_MS;
        // More come, and go, than there may be; each looks for one that can go.
        for _ in 0..MAX {
            let id = tried.busy();
            tried.makes_room(1);
            tried.list.remove(id as u64);
            tried.makes_room(1);
        }
        assert!(tried.going().is_empty());
        assert!(tried.list.looks <= MAX, "{} looks", tried.list.looks);
        // One that has become idle meanwhile is found, and again no connection is looked at twice.
        tried.enters(7, Phase::Idle);
        tried.now += SILENCE_MIN_MS;
        tried.makes_room(1);
        assert_eq!(tried.going(), [7]);
        assert!(tried.list.looks <= 2 * MAX, "{} looks", tried.list.looks);
    }

    #[test]
    fn longest_silent_end_first_then_longest_idle() {
        let mut tried = Tried::default();
        for _ in 0..MAX {
            tried.busy();
        }
        // The order in which they are idle is another than that in which they came.
        for id in (0..10).rev() {
            tried.now += 1;
            tried.enters(id, Phase::Idle);
        }
        for id in [12, 11] {
            tried.now += 1;
            tried.enters(id, Phase::Head);
        }
        tried.now += SILENCE_MIN_MS;
        for expected in [&[12][..], &[11, 12], &[9, 11, 12], &[8, 9, 11, 12]] {
            tried.makes_room(1);
            assert_eq!(tried.going(), expected);
        }
        // One that has a request by then stays, and its turn is the last.
        tried.enters(8, Phase::Request);
        tried.list.remain(8, tried.now);
        tried.enters(8, Phase::Idle);
        tried.now += SILENCE_MIN_MS;
        tried.makes_room(8);
        assert_eq!(tried.going(), [0, 1, 2, 3, 4, 5, 6, 7, 9, 11, 12]);
        tried.makes_room(1);
        assert!(tried.going().contains(&8));
        assert_eq!(tried.list.going, 12);
        (0..MAX).for_each(|id| tried.list.remove(id as u64));
        let ConnectionList { states, silent, served, going, .. } = &tried.list;
        assert_eq!((states.len(), silent.len(), served.len(), *going), (0, 0, 0, 0));
    }

    #[test]
    fn briefly_silent_or_idle_connections_stay() {
        let mut tried = Tried::default();
        let idle = tried.busy();
        tried.enters(idle, Phase::Idle);
        tried.now += 1;
        let silent = tried.silent();
        tried.now += SILENCE_MIN_MS - 1;
        // It is idle for long enough; but the silent one has a request soon, or goes soon.
        tried.makes_room(1);
        assert!(tried.going().is_empty());
        tried.now += 1;
        tried.makes_room(1);
        assert_eq!(tried.going(), [silent]);
    }
}
