//! The clients that follow the log: how many there are, how much they were sent, and when their streams end.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use placard_model::limits::FEED_CLIENTS_MAX;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

use crate::http::problem::{Overload, Problem};

/// All clients of an app that follow the log.
#[derive(Debug, Clone)]
pub(crate) struct Feed(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    slots: Arc<Semaphore>,
    sent: AtomicU64,
    refused: AtomicU64,
    ending: watch::Sender<bool>,
}

/// A client's place; it is free again when this is dropped.
#[derive(Debug)]
pub(crate) struct Slot {
    _permit: OwnedSemaphorePermit,
    feed: Feed,
    ending: watch::Receiver<bool>,
}

impl Default for Feed {
    fn default() -> Self {
        Self(Arc::new(Inner {
            slots: Arc::new(Semaphore::new(FEED_CLIENTS_MAX)),
            sent: AtomicU64::new(0),
            refused: AtomicU64::new(0),
            ending: watch::Sender::new(false),
        }))
    }
}

impl Feed {
    /// Takes a client in.
    pub(crate) fn enter(&self) -> Result<Slot, Problem> {
        match Arc::clone(&self.0.slots).try_acquire_owned() {
            Ok(permit) => {
                let ending = self.0.ending.subscribe();
                Ok(Slot { _permit: permit, feed: self.clone(), ending })
            }
            Err(_) => {
                self.0.refused.fetch_add(1, Ordering::Relaxed);
                Err(Problem::overloaded(Overload::Feed))
            }
        }
    }

    /// Ends all streams and waits, those to come too.
    pub(crate) fn end(&self) {
        self.0.ending.send_replace(true);
    }

    /// Returns how many clients there are.
    pub(crate) fn clients(&self) -> usize {
        FEED_CLIENTS_MAX - self.0.slots.available_permits()
    }

    /// Returns how many entries were sent.
    pub(crate) fn sent(&self) -> u64 {
        self.0.sent.load(Ordering::Relaxed)
    }

    /// Returns how many requests were refused because there were too many clients.
    pub(crate) fn refused(&self) -> u64 {
        self.0.refused.load(Ordering::Relaxed)
    }
}

impl Slot {
    /// Counts an entry that is sent to this client.
    pub(crate) fn sends_one(&self) {
        self.feed.0.sent.fetch_add(1, Ordering::Relaxed);
    }

    /// Waits until the client's stream is to end.
    pub(crate) async fn ends(&mut self) {
        // An error means that the app is gone.
        let _ = self.ending.wait_for(|ending| *ending).await;
    }
}
