//! When what has ended is deleted, and what need not be kept: tasks at the seconds in which ads end, a sweep that
//! makes up for lost ones, and the timers of housekeeping. The only crate that knows the task queue.
//!
//! Nothing that a reader sees depends on any of it: reads judge time themselves.

mod agenda;
mod board;
mod brake;
mod chores;
mod expirer;
mod queue;

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use placard_model::{Timestamp, limits};
use placard_replica::expiry::Chore;
use placard_replica::ports::{Chores, Ends};
use placard_replica::{Expiry, Handle, reasons};
use rand::RngExt;
use tokio::sync::watch;
use tokio::task::JoinSet;
use uuid::Uuid;

pub use board::{Board, Body};
pub use queue::Tasks;

use agenda::Agenda;
use apalis_postgres::PgPool;
use expirer::Expirer;
use queue::{Cause, Queue};

/// The pause after the queue has failed.
const RETRY: Duration = Duration::from_secs(2);

/// The queue, once it could be opened.
type Source = watch::Receiver<Option<Queue>>;

/// How a scheduler is run.
#[derive(Debug, Clone)]
pub struct Config {
    /// Where the tasks are.
    pub tasks: Tasks,
    /// How long rows of the log are kept.
    pub log_kept: Duration,
    /// What this machine takes the time to be.
    pub own_clock: fn() -> Timestamp,
}

impl Config {
    /// The usual one.
    pub fn new(tasks: Tasks) -> Self {
        Self { tasks, log_kept: limits::LOG_KEPT, own_clock: expirer::own_clock }
    }
}

/// A running scheduler. Its tasks end when it is dropped: what they had proposed goes on, and what they held is
/// done by another replica, or by the next sweep.
#[derive(Debug)]
pub struct Scheduler {
    _running: JoinSet<()>,
}

/// What a task of the queue calls.
pub(crate) trait Expire: Send + Sync {
    /// A second has come.
    fn due(&self) -> Pin<Box<dyn Future<Output = ()> + Send + '_>>;
}

struct Due<J> {
    expirer: Arc<Expirer<J>>,
    expiry: Expiry,
}

impl<J: Ends> Expire for Due<J> {
    fn due(&self) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        Box::pin(async {
            self.expirer.expire().await;
            self.expiry.note(|account| account.tasks_done += 1);
        })
    }
}

impl Scheduler {
    /// Starts to delete what ends, on behalf of a replica, and to keep house. What is done, and what stands in
    /// the way, is told to `expiry`.
    pub fn start<J: Ends + Chores>(
        journal: J,
        replica: Handle,
        expiry: Expiry,
        config: Config,
    ) -> Self {
        let Config { tasks, log_kept, own_clock } = config;
        let name = replica.replica();
        let expirer = Expirer::new(journal.clone(), replica, expiry.clone(), own_clock);
        let expirer = Arc::new(expirer);
        let (opened, queue) = watch::channel(None);
        let mut running = JoinSet::new();
        running.spawn(sweep(Arc::clone(&expirer)));
        let due = Arc::new(Due { expirer, expiry: expiry.clone() });
        running.spawn(work(tasks, opened, name, due));
        running.spawn(plan(journal.clone(), queue.clone(), expiry.clone()));
        for chore in Chore::ALL {
            let (journal, queue) = (journal.clone(), queue.clone());
            running.spawn(chores::run(chore, journal, queue, log_kept, expiry.clone()));
        }
        Self { _running: running }
    }
}

/// Brings the tables of the tasks beside a cluster's journal up to date, as a scheduler that may do so does by
/// itself.
///
/// # Errors
/// The server cannot be reached, or refuses: it may lack the extension hstore, or not let us make a schema.
pub async fn migrate(pool: &PgPool) -> Result<(), Cause> {
    Queue::open(&Tasks::Postgres { pool: pool.clone(), migrate: true }).await.map(drop)
}

/// Now and then, deletes what is still there, whatever became of its task.
async fn sweep<J: Ends>(expirer: Arc<Expirer<J>>) {
    loop {
        // Replicas that start together must not sweep together.
        let jitter = rand::rng().random_range(0.8..1.2);
        tokio::time::sleep(limits::EXPIRY_SWEEP.mul_f64(jitter)).await;
        expirer.expire().await;
    }
}

/// Opens the queue, and does what is due in it. An error ends a worker; the next one has another name, since a
/// name that is still known to live is not taken again.
async fn work(
    tasks: Tasks,
    opened: watch::Sender<Option<Queue>>,
    replica: Uuid,
    due: Arc<dyn Expire>,
) {
    let mut healthy = true;
    for run in 0u64.. {
        let worked = async {
            let open = opened.borrow().clone();
            let queue = match open {
                Some(queue) => queue,
                None => {
                    let queue = Queue::open(&tasks).await?;
                    opened.send_replace(Some(queue.clone()));
                    queue
                }
            };
            queue.work(&format!("{replica}-{run}"), Arc::clone(&due)).await
        };
        let worked: Result<(), Cause> = worked.await;
        if let (Err(error), true) = (&worked, healthy) {
            let cause = reasons(&**error);
            tracing::warn!(%error, cause, "the queue of expiry fails; the sweep goes on without it");
        }
        healthy = worked.is_ok();
        tokio::time::sleep(RETRY).await;
    }
}

/// Every second, puts a task for each second in which ads will end into the queue. What is moved, deleted or made
/// to last longer needs nothing: its task finds nothing to do.
async fn plan<J: Ends>(journal: J, queue: Source, expiry: Expiry) {
    let mut agenda = Agenda::default();
    let mut healthy = true;
    loop {
        tokio::time::sleep(limits::EXPIRY_PLAN).await;
        let Some(queue) = queue.borrow().clone() else { continue };
        let planned = look_ahead(&journal, &queue, &mut agenda, &expiry).await;
        if let (Err(error), true) = (&planned, healthy) {
            let cause = reasons(&**error);
            tracing::warn!(%error, cause, "no tasks are planned; the sweep goes on without them");
        }
        healthy = planned.is_ok();
        let seconds = agenda.len() as u64;
        expiry.note(|account| account.seconds_pending = seconds);
    }
}

async fn look_ahead<J: Ends>(
    journal: &J,
    queue: &Queue,
    agenda: &mut Agenda,
    expiry: &Expiry,
) -> Result<(), Cause> {
    let seconds = journal.ends(limits::EXPIRY_AHEAD, limits::EXPIRY_SECONDS_MAX).await?;
    // They are all to come: whatever is before the first of them has passed, or has nothing left to end.
    agenda.pass(seconds.first().copied().unwrap_or(u64::MAX));
    for second in seconds {
        if !agenda.has(second) {
            let pushed = queue.push(second).await?;
            agenda.add(second);
            expiry.note(|account| account.tasks_pushed += u64::from(pushed));
        }
    }
    Ok(())
}
