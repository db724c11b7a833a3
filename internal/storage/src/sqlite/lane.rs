//! A thread with a connection of its own, to which jobs are sent one by one: SQLite blocks, tokio must not.

use std::io;
use std::panic::{self, AssertUnwindSafe};
use std::thread;

use rusqlite::Connection;
use tokio::sync::{mpsc, oneshot};

/// Jobs that wait for the thread; each kind of caller has at most one under way.
const JOBS: usize = 4;

type Job = Box<dyn FnOnce(&mut Connection) + Send>;

/// The thread; it ends when this is dropped.
#[derive(Debug)]
pub(super) struct Lane {
    jobs: mpsc::Sender<Job>,
}

/// The job has panicked. What it had begun was rolled back.
#[derive(Debug, thiserror::Error)]
#[error("a job of the journal has panicked")]
pub(super) struct Panicked;

impl Lane {
    pub(super) fn start(name: &str, mut connection: Connection) -> io::Result<Self> {
        let (jobs, mut waiting) = mpsc::channel::<Job>(JOBS);
        thread::Builder::new().name(name.to_owned()).spawn(move || {
            while let Some(job) = waiting.blocking_recv() {
                // One job's fault must not end the thread, and with it all writes. Its transaction was dropped
                // by the unwinding, which rolls it back.
                let job = AssertUnwindSafe(|| job(&mut connection));
                if panic::catch_unwind(job).is_err() {
                    tracing::error!("a job of the journal has panicked");
                }
            }
        })?;
        Ok(Self { jobs })
    }

    /// Runs a job; it goes on even if the returned future is dropped.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        job: impl FnOnce(&mut Connection) -> T + Send + 'static,
    ) -> Result<T, Panicked> {
        let (done, result) = oneshot::channel();
        let job = Box::new(move |connection: &mut Connection| {
            // The caller may have gone away; the work is done all the same.
            let _ = done.send(job(connection));
        });
        self.jobs.send(job).await.map_err(|_| Panicked)?;
        result.await.map_err(|_| Panicked)
    }
}
