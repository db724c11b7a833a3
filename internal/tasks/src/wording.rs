//! How an error of the database client beneath apalis is stated.

use std::error::Error;
use std::fmt;
use std::sync::Arc;

use apalis::prelude::WorkerError;
use apalis_core::backend::finalize::DurableError;
use placard_scheduler::ports::BoxError;

/// Words an error of the database client that the queue uses; it says nothing of other errors.
#[derive(Clone)]
pub struct Wording(Arc<Tell>);

/// What a worker's poll of PostgreSQL fails with. It does not name its source as such.
type Polling = DurableError<apalis_postgres::Error, serde_json::Error>;

type Tell = dyn Fn(&(dyn Error + 'static)) -> Option<String> + Send + Sync;

impl Wording {
    /// Uses a function of the crate that knows the client.
    pub fn new(
        told: impl Fn(&(dyn Error + 'static)) -> Option<String> + Send + Sync + 'static,
    ) -> Self {
        Self(Arc::new(told))
    }

    /// Finds the error that this wording knows, and states it once, without the layers of apalis that it came through.
    pub(crate) fn told(&self, error: BoxError) -> BoxError {
        let mut next: Option<&(dyn Error + 'static)> = Some(&*error);
        while let Some(error) = next {
            let told = match error.downcast_ref() {
                Some(apalis_postgres::Error::Database(error)) => (self.0)(error),
                _ => (self.0)(error),
            };
            if let Some(told) = told {
                return Told(told).into();
            }
            next = match (error.downcast_ref(), error.downcast_ref()) {
                (Some(WorkerError::BackendError(error)), _) => Some(&**error),
                (_, Some(Polling::PollNextError(error))) => Some(error),
                _ => error.source(),
            };
        }
        error
    }
}

impl fmt::Debug for Wording {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Wording")
    }
}

/// An error in the words of [`Wording`].
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Told(String);
