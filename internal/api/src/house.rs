//! The connections of a server: how many there are, and which of them go when there is no room for one more. First those
//! from which no whole request has come, then those that are idle, of each the longest so. A few more than there may be
//! are taken in, so that a health check is heard when nobody can go.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use placard_model::limits;
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::connection::{Life, Phase};
use crate::pulse::Pulse;

/// How often somebody is looked for who can go, while nobody could.
const LOOK_AGAIN: Duration = Duration::from_millis(25);
/// Of the connections there may be, the part that goes at once beyond what has to: so that not each new one looks
/// through all.
const SPARE_PART: usize = 128;

/// All connections of a server.
#[derive(Debug)]
pub(crate) struct House {
    began: Instant,
    pulse: Pulse,
    max: usize,
    reserved: usize,
    idle_timeout: Duration,
    is_draining: AtomicBool,
    count: AtomicUsize,
    next: AtomicU64,
    lives: Mutex<HashMap<u64, Arc<Life>>>,
    left: Notify,
}

/// A connection's place, which is free again when the last of these is dropped.
#[derive(Debug, Clone)]
pub(crate) struct Stay(Arc<Place>);

#[derive(Debug)]
struct Place {
    id: u64,
    life: Arc<Life>,
    house: Arc<House>,
}

impl Stay {
    pub(crate) fn life(&self) -> &Life {
        &self.0.life
    }

    pub(crate) fn house(&self) -> &House {
        &self.0.house
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.house.lives().remove(&self.id);
        self.house.count.fetch_sub(1, Ordering::Relaxed);
        self.house.left.notify_waiters();
    }
}

impl House {
    /// One for so many connections, and so many more that are reserved for health checks.
    pub(crate) fn new(max: usize, reserved: usize, idle_timeout: Duration) -> Arc<Self> {
        Arc::new(Self {
            began: Instant::now(),
            pulse: Pulse::new(),
            max,
            reserved,
            idle_timeout,
            is_draining: AtomicBool::new(false),
            count: AtomicUsize::new(0),
            next: AtomicU64::new(0),
            lives: Mutex::default(),
            left: Notify::new(),
        })
    }

    /// How long a connection may be silent or idle.
    pub(crate) fn idle_timeout(&self) -> Duration {
        self.idle_timeout
    }

    /// The pulse of the process.
    pub(crate) fn pulse(&self) -> &Pulse {
        &self.pulse
    }

    /// The milliseconds since it began.
    pub(crate) fn now_ms(&self) -> u64 {
        self.began.elapsed().as_millis() as u64
    }

    /// When such a millisecond is.
    pub(crate) fn at(&self, ms: u64) -> Instant {
        self.began + Duration::from_millis(ms)
    }

    /// From now on every answer is its connection's last.
    pub(crate) fn drain(&self) {
        self.is_draining.store(true, Ordering::Relaxed);
    }

    /// Whether an answer is its connection's last because there are too many, or because the server is about to stop.
    pub(crate) fn wants_out(&self) -> bool {
        self.is_draining.load(Ordering::Relaxed) || self.count() > self.max
    }

    /// Takes a connection in.
    pub(crate) fn enter(self: &Arc<Self>) -> Stay {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let count = self.count.fetch_add(1, Ordering::Relaxed) + 1;
        let life = Arc::new(Life::new(self.now_ms(), count > self.max));
        self.lives().insert(id, Arc::clone(&life));
        if count > self.max {
            self.make_room(0);
        }
        Stay(Arc::new(Place { id, life, house: Arc::clone(self) }))
    }

    /// Waits until one more can be taken in.
    pub(crate) async fn takes_one_more(&self) {
        while self.count() >= self.max + self.reserved {
            self.make_room(1);
            let _ = tokio::time::timeout(LOOK_AGAIN, self.left.notified()).await;
        }
    }

    /// Waits until there is room for all that are in; whether there was in time. What is reserved is not waited in once
    /// half of it is taken.
    pub(crate) async fn has_room(&self) -> bool {
        let deadline = Instant::now() + limits::ROOM_DEADLINE;
        // Those that came in together have each taken the others for clients with a request soon.
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

    /// Has go who is to go first, as many as there are too many and a few more.
    fn make_room(&self, new: usize) {
        let lives = self.lives();
        let going = lives.values().filter(|life| life.makes_room()).count();
        let wanted = lives.len() + new + self.max / SPARE_PART;
        self.send_off(&lives, wanted.saturating_sub(self.max + going));
    }

    /// Has one go, though there may be as many: something else is short.
    pub(crate) fn shrink(&self) {
        self.send_off(&self.lives(), 1);
    }

    fn send_off(&self, lives: &HashMap<u64, Arc<Life>>, wanted: usize) {
        let quiet_since = self.now_ms().saturating_sub(limits::SILENCE_MIN.as_millis() as u64);
        let (mut silent, mut idle, mut too_new) = (Vec::new(), Vec::new(), 0);
        for life in lives.values().filter(|life| !life.makes_room()) {
            let (phase, since) = life.phase();
            match phase {
                Phase::Request | Phase::Answer => {}
                Phase::Idle if since <= quiet_since => idle.push((since, life)),
                Phase::Idle => {}
                _ if since <= quiet_since => silent.push((since, life)),
                _ => too_new += 1,
            }
        }
        let gone = longest(silent, wanted);
        // Those that are silent for too short a time have a request soon, or go soon.
        longest(idle, wanted.saturating_sub(gone + too_new));
    }

    /// Has all go as soon as they have no request.
    pub(crate) fn finish(&self) {
        self.lives().values().for_each(|life| life.finish());
    }

    fn count(&self) -> usize {
        self.count.load(Ordering::Relaxed)
    }

    fn lives(&self) -> MutexGuard<'_, HashMap<u64, Arc<Life>>> {
        self.lives.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Has those go that are like this for longest, so many at most; how many go.
fn longest(mut lives: Vec<(u64, &Arc<Life>)>, most: usize) -> usize {
    let going = most.min(lives.len());
    if going > 0 {
        lives.select_nth_unstable_by_key(going - 1, |(since, _)| *since);
        lives[..going].iter().for_each(|(_, life)| life.make_room());
    }
    going
}
