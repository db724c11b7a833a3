//! A thread with a connection of its own, to which jobs are sent one by one: SQLite blocks, tokio must not.

use std::io;
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

/// The thread has panicked, and the job with it.
#[derive(Debug, thiserror::Error)]
#[error("the journal's thread is gone")]
pub(super) struct Gone;

impl Lane {
    pub(super) fn start(name: &str, mut connection: Connection) -> io::Result<Self> {
        let (jobs, mut waiting) = mpsc::channel::<Job>(JOBS);
        thread::Builder::new().name(name.to_owned()).spawn(move || {
            while let Some(job) = waiting.blocking_recv() {
                job(&mut connection);
            }
        })?;
        Ok(Self { jobs })
    }

    /// Runs a job; it goes on even if the returned future is dropped.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        job: impl FnOnce(&mut Connection) -> T + Send + 'static,
    ) -> Result<T, Gone> {
        let (done, result) = oneshot::channel();
        let job = Box::new(move |connection: &mut Connection| {
            // The caller may have gone away; the work is done all the same.
            let _ = done.send(job(connection));
        });
        self.jobs.send(job).await.map_err(|_| Gone)?;
        result.await.map_err(|_| Gone)
    }
}
