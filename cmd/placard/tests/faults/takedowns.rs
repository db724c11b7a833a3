//! Readers that look for ads whose takedown all replicas have confirmed.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use reqwest::StatusCode;
use serde_json::Value;
use tokio::task::JoinSet;
use uuid::Uuid;

use crate::clients::{Asked, Receipts};
use crate::load::PATH;

/// Readers of one replica, each with connections of its own.
const READERS: usize = 16;
/// Until the next try, if nothing listens.
const PAUSE: Duration = Duration::from_millis(1);

/// The ads whose takedown was confirmed by all.
#[derive(Default)]
struct Confirmed {
    ads: Mutex<Vec<Uuid>>,
    /// Readers end.
    over: AtomicBool,
    /// Answers without such an ad, and answers that the replica serves no reads.
    hidden: AtomicU64,
    refused: AtomicU64,
}

/// Readers of one replica, from the moment they are let go.
pub(crate) struct Watch {
    confirmed: Arc<Confirmed>,
    readers: Vec<Asked>,
    tasks: JoinSet<()>,
}

impl Watch {
    pub(crate) fn new(replica: &Asked) -> Self {
        let readers = (0..READERS).map(|_| replica.apart()).collect();
        Self { confirmed: Arc::default(), readers, tasks: JoinSet::new() }
    }

    /// Every other reader opens its connection now; the rest do when they are let go.
    pub(crate) async fn connect(&self) {
        for reader in self.readers.iter().step_by(2) {
            reader.get("/livez").await.expect("the replica answers");
        }
    }

    /// Takes down an ad; if all replicas have confirmed it, no reader may see it from now on.
    pub(crate) async fn take_down(&self, by: &Asked, id: Uuid) -> Receipts {
        let receipts = by.take_down(id).await;
        if receipts.status == StatusCode::OK {
            self.confirmed.ads().push(id);
        }
        receipts
    }

    /// Starts the readers, which ask without a pause; a replica that is held has their requests before it goes on.
    pub(crate) fn begin(&mut self) {
        for (nth, reader) in self.readers.drain(..).enumerate() {
            self.tasks.spawn(read(reader, nth, Arc::clone(&self.confirmed)));
        }
    }

    /// Returns how many answers so far said that there is no such ad, and how many that the replica serves no reads.
    /// Fails if a reader has seen what it must not have.
    pub(crate) fn answers(&mut self) -> (u64, u64) {
        if let Some(ended) = self.tasks.try_join_next() {
            ended.expect("a reader has failed");
        }
        let of = |count: &AtomicU64| count.load(Ordering::SeqCst);
        (of(&self.confirmed.hidden), of(&self.confirmed.refused))
    }

    /// Readers end; fails as well.
    pub(crate) async fn end(mut self) {
        self.confirmed.over.store(true, Ordering::SeqCst);
        while let Some(ended) = self.tasks.join_next().await {
            ended.expect("a reader has failed");
        }
    }
}

impl Confirmed {
    fn ads(&self) -> MutexGuard<'_, Vec<Uuid>> {
        self.ads.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Asks for one ad after the other, newest first, and for the page on which all of them were.
async fn read(reader: Asked, mut nth: usize, confirmed: Arc<Confirmed>) {
    while !confirmed.over.load(Ordering::SeqCst) {
        let ads = confirmed.ads().clone();
        let ad = ads.iter().rev().nth(nth % ads.len().max(1)).filter(|_| !nth.is_multiple_of(3));
        nth += 1;
        let path = ad.map_or_else(|| format!("{PATH}?limit=100"), |id| format!("{PATH}/{id}"));
        let Some(answer) = reader.get(&path).await else {
            tokio::time::sleep(PAUSE).await;
            continue;
        };
        match answer.status() {
            StatusCode::OK if ad.is_none() => {
                let Ok(page) = answer.json::<Value>().await else { continue };
                let shown = page["ads"].as_array().into_iter().flatten();
                let shown = shown.filter_map(|ad| ad["id"].as_str()?.parse().ok());
                let wrong: Vec<Uuid> = shown.filter(|id| ads.contains(id)).collect();
                assert!(wrong.is_empty(), "listed after all had confirmed its takedown: {wrong:?}");
                confirmed.hidden.fetch_add(1, Ordering::SeqCst);
            }
            StatusCode::NOT_FOUND => {
                confirmed.hidden.fetch_add(1, Ordering::SeqCst);
            }
            StatusCode::SERVICE_UNAVAILABLE => {
                confirmed.refused.fetch_add(1, Ordering::SeqCst);
            }
            status => panic!("{status} at {path}, after all had confirmed its takedown"),
        }
    }
}
