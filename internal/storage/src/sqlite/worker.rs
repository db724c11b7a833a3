//! A thread with a connection of its own, to which jobs are sent one by one: SQLite blocks, tokio must not.

use std::io;
use std::panic::{self, AssertUnwindSafe};
use std::thread;

use rusqlite::Connection;
use tokio::sync::{mpsc, oneshot};

/// Jobs that wait for the thread; each kind of caller has at most one under way.
const JOBS: usize = 4;

/// A job. It leaves the connection for the next one; if it takes the connection, there is no next job, and the thread
/// ends.
type Job = Box<dyn FnOnce(&mut Option<Connection>) + Send>;

/// The thread; it ends when this is dropped or closed.
#[derive(Debug)]
pub(super) struct Worker {
    jobs: mpsc::Sender<Job>,
}

/// Why a job was not done, or not to its end. What it had begun was rolled back.
#[derive(Debug, thiserror::Error)]
pub(super) enum JobError {
    #[error("a job of the journal has panicked")]
    Panicked,
    /// The job was not begun.
    #[error("the journal is closed")]
    Closed,
}

impl Worker {
    #[expect(
        clippy::disallowed_methods,
        reason = "the thread ends with its queue, and a job that is not done says so"
    )]
    pub(super) fn start(name: &str, connection: Connection) -> io::Result<Self> {
        let (jobs, mut waiting) = mpsc::channel::<Job>(JOBS);
        thread::Builder::new().name(name.to_owned()).spawn(move || {
            let mut connection = Some(connection);
            while connection.is_some()
                && let Some(job) = waiting.blocking_recv()
            {
                job(&mut connection);
            }
        })?;
        Ok(Self { jobs })
    }

    /// Runs a job; it goes on even if the returned future is dropped.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        job: impl FnOnce(&mut Connection) -> T + Send + 'static,
    ) -> Result<T, JobError> {
        self.send(move |connection| connection.as_mut().map(job)).await
    }

    /// Runs a last job, closes the connection and ends the thread.
    pub(super) async fn close<T: Send + 'static>(
        &self,
        job: impl FnOnce(&Connection) -> T + Send + 'static,
    ) -> Result<T, JobError> {
        self.send(move |connection| connection.take().map(|connection| job(&connection))).await
    }

    async fn send<T: Send + 'static>(
        &self,
        job: impl FnOnce(&mut Option<Connection>) -> Option<T> + Send + 'static,
    ) -> Result<T, JobError> {
        let (done, result) = oneshot::channel();
        let job = Box::new(move |connection: &mut Option<Connection>| {
            // One job's fault must not end the thread, and with it all writes. Its transaction was dropped by the
            // unwinding, which rolls it back.
            let outcome = panic::catch_unwind(AssertUnwindSafe(|| job(connection)));
            if outcome.is_err() {
                tracing::error!("a job of the journal has panicked");
            }
            let outcome = outcome.map_err(|_| JobError::Panicked);
            // The caller may have gone away; the work is done all the same.
            let _ = done.send(outcome.and_then(|outcome| outcome.ok_or(JobError::Closed)));
        });
        self.jobs.send(job).await.map_err(|_| JobError::Closed)?;
        // A thread that has ended drops the jobs that wait.
        result.await.unwrap_or(Err(JobError::Closed))
    }
}
