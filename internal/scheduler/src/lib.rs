//! Decides when ended ads are deleted, when reservations lapse, and when data goes that need not be kept: tasks at the seconds
//! in which ads and reservations end, a sweep that makes up for lost tasks, and the timers of housekeeping. It declares the [`ports`] that it needs, and knows none of
//! their adapters.
//!
//! Nothing that a reader sees depends on any of it: reads judge time themselves.

mod agenda;
mod brake;
mod chores;
mod expirer;
pub mod ports;

use std::panic::AssertUnwindSafe;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures_util::FutureExt;
use placard_model::{Timestamp, limits};
use placard_replica::expiry::Chore;
use placard_replica::{Expiry, Handle, Outage, system_now};
use rand::RngExt;
use tokio::sync::watch;
use tokio::task::{JoinError, JoinSet};
use uuid::Uuid;

use agenda::Agenda;
use expirer::Expirer;
use ports::{BoxError, Chores, Expirations, Expire, TaskStore};

/// The pause after the tasks' store has failed.
const RETRY: Duration = Duration::from_secs(2);
/// A worker that has run for this long is taken to work.
const WORKS: Duration = Duration::from_secs(5);

/// The configuration of a scheduler.
#[derive(Debug, Clone)]
pub struct Config {
    /// How long rows of the log are kept.
    pub log_kept: Duration,
    /// Returns the time by this machine's clock.
    pub own_clock: fn() -> Timestamp,
}

impl Default for Config {
    #[expect(clippy::disallowed_methods, reason = "the clock is an input, and this is the default")]
    fn default() -> Self {
        Self { log_kept: limits::LOG_KEPT, own_clock: system_now }
    }
}

/// A running scheduler. Its tasks end when it is dropped: what they had proposed goes on, and what they held is
/// done by another replica, or by the next sweep. That is also why one that ends by itself is started again.
#[derive(Debug)]
pub struct Scheduler {
    running: JoinSet<()>,
}

struct Due<J> {
    expirer: Arc<Expirer<J>>,
    expiry: Expiry,
}

impl<J: Expirations> Expire for Due<J> {
    fn due(&self) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        Box::pin(async {
            self.expirer.expire().await;
            self.expiry.note(|account| account.counts.tasks_done += 1);
        })
    }
}

impl Scheduler {
    /// Starts to delete what has ended on behalf of a replica, and to do the housekeeping. `expiry` records what is done,
    /// and what prevents it.
    pub fn start<J: Expirations + Chores, T: TaskStore>(
        journal: J,
        tasks: T,
        replica: Handle,
        expiry: Expiry,
        config: Config,
    ) -> Self {
        let Config { log_kept, own_clock } = config;
        let name = replica.replica();
        let expirer = Expirer::new(journal.clone(), replica.clone(), expiry.clone(), own_clock);
        let expirer = Arc::new(expirer);
        let (opened, is_open) = watch::channel(false);
        let mut running = JoinSet::new();
        let swept = Arc::clone(&expirer);
        running.spawn(keep("sweep", expiry.clone(), move || {
            sweep(Arc::clone(&swept), replica.clone(), sweep_pause)
        }));
        let due = Arc::new(Due { expirer, expiry: expiry.clone() });
        let runs = Arc::new(AtomicU64::new(0));
        let store = tasks.clone();
        running.spawn(keep("work", expiry.clone(), move || {
            work(store.clone(), opened.clone(), (name, Arc::clone(&runs)), Arc::clone(&due) as _)
        }));
        for chore in Chore::ALL {
            let (journal, told) = (journal.clone(), expiry.clone());
            let tasks = (tasks.clone(), is_open.clone());
            running.spawn(keep(chore.code(), expiry.clone(), move || {
                chores::run(chore, journal.clone(), tasks.clone(), log_kept, told.clone())
            }));
        }
        let told = expiry.clone();
        running.spawn(keep("plan", expiry, move || {
            plan(journal.clone(), tasks.clone(), is_open.clone(), told.clone())
        }));
        Self { running }
    }

    /// Waits until a task of the scheduler ends for good, which none does.
    pub async fn failed(&mut self) -> Option<JoinError> {
        self.running.join_next().await?.err()
    }
}

/// Runs a task that should never end. If it ends, in a panic or not, that is logged and counted, and the task is
/// started again. What is then done twice, or not at all, does no more harm than one replica more or less.
async fn keep<F: Future<Output = ()> + Send>(
    task: &'static str,
    expiry: Expiry,
    start: impl Fn() -> F + Send,
) {
    loop {
        let panicked = AssertUnwindSafe(start()).catch_unwind().await.is_err();
        tracing::error!(task, panicked, "a task of the scheduler has ended; it is started again");
        expiry.note(|account| account.counts.restarts += 1);
        tokio::time::sleep(RETRY).await;
    }
}

/// Periodically deletes what has ended and is still there, whatever happened to their tasks. The first look is at the clock: it
/// is made as soon as there is another reading to compare with, so that the replica has a clock that it can trust.
async fn sweep<J: Expirations>(
    expirer: Arc<Expirer<J>>,
    replica: Handle,
    pause: impl Fn() -> Duration,
) {
    replica.anchored().await;
    loop {
        expirer.expire().await;
        tokio::time::sleep(pause()).await;
    }
}

/// Replicas that start together must not sweep together.
#[expect(clippy::disallowed_methods, reason = "replicas draw their pauses apart")]
fn sweep_pause() -> Duration {
    limits::EXPIRY_SWEEP.mul_f64(rand::rng().random_range(0.8..1.2))
}

/// Opens the tasks' store, and does what is due in it. An error ends a worker; the next one has another name, since a
/// name that is still known to live is not taken again.
async fn work<T: TaskStore>(
    tasks: T,
    opened: watch::Sender<bool>,
    (replica, runs): (Uuid, Arc<AtomicU64>),
    due: Arc<dyn Expire>,
) {
    let outage = Outage::of("the queue of expiry fails; the sweep goes on without it");
    let mut outage = outage.tried_every(WORKS);
    loop {
        let run = runs.fetch_add(1, Ordering::Relaxed);
        let is_open = *opened.borrow();
        let open = if is_open { Ok(()) } else { tasks.open().await };
        let ended = match open {
            Ok(()) => {
                opened.send_replace(true);
                let mut working = pin!(tasks.work(format!("{replica}-{run}"), Arc::clone(&due)));
                loop {
                    match tokio::time::timeout(WORKS, &mut working).await {
                        Ok(ended) => break ended,
                        Err(_) => outage.works(),
                    }
                }
            }
            Err(error) => Err(error),
        };
        if let Err(error) = ended {
            outage.failed(&*error);
        }
        tokio::time::sleep(RETRY).await;
    }
}

/// Every second, stores a task for each second in which ads will end or reservations lapse. One whose end is moved, or that
/// is deleted, needs nothing more: its task finds nothing to do.
async fn plan<J: Expirations, T: TaskStore>(
    journal: J,
    tasks: T,
    is_open: watch::Receiver<bool>,
    expiry: Expiry,
) {
    let mut agenda = Agenda::default();
    let outage = Outage::of("no tasks are planned; the sweep goes on without them");
    let mut outage = outage.tried_every(limits::EXPIRY_PLAN);
    loop {
        tokio::time::sleep(limits::EXPIRY_PLAN).await;
        if !*is_open.borrow() {
            continue;
        }
        let planned = look_ahead(&journal, &tasks, &mut agenda, &expiry).await;
        match planned {
            Ok(()) => outage.works(),
            Err(error) => outage.failed(&*error),
        }
        let seconds = agenda.len() as u64;
        expiry.note(|account| account.seconds_pending = seconds);
    }
}

async fn look_ahead<J: Expirations, T: TaskStore>(
    journal: &J,
    tasks: &T,
    agenda: &mut Agenda,
    expiry: &Expiry,
) -> Result<(), BoxError> {
    let seconds = journal.upcoming(limits::EXPIRY_AHEAD, limits::EXPIRY_SECONDS_MAX).await?;
    // They are all in the future: each second before the first of them has passed, or has nothing left that ends in it.
    agenda.pass(seconds.first().copied().unwrap_or(u64::MAX));
    for second in seconds {
        if !agenda.has(second) {
            let pushed = tasks.push(second).await?;
            agenda.add(second);
            expiry.note(|account| account.counts.tasks_pushed += u64::from(pushed));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn task_that_panics_is_started_again() {
        let expiry = Expiry::default();
        let starts = AtomicU64::new(0);
        let (again, mut started) = tokio::sync::mpsc::channel(1);
        let task = || {
            let (start, again) = (starts.fetch_add(1, Ordering::Relaxed), again.clone());
            async move {
                assert!(start > 0, "it panics, as a test wants it");
                again.send(start).await.expect("the test waits for it");
                std::future::pending().await
            }
        };
        tokio::select! {
            () = keep("a task of a test", expiry.clone(), task) => panic!("it ends"),
            start = started.recv() => assert_eq!(start, Some(1)),
        }
        assert_eq!(expiry.account().counts.restarts, 1);
    }
}
