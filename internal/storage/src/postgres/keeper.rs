//! What is done for the commit's connection while nobody commits: it is opened when it is missing, and asked for a
//! sign of life, so that a write does not find out that it is dead.

use std::sync::Weak;
use std::time::Duration;

use tokio::task::JoinHandle;

use super::Lanes;

/// How often the connection is looked at.
const PAUSE: Duration = Duration::from_secs(1);

/// A task that ends with this.
pub(super) struct Keeper(JoinHandle<()>);

impl Keeper {
    pub(super) fn start(lanes: Weak<Lanes>) -> Self {
        Self(tokio::spawn(async move {
            let mut told = false;
            while let Some(lanes) = lanes.upgrade() {
                let kept = lanes.committer.lane().keep_one().await;
                if let Err(error) = &kept {
                    // The place of this one may be what is missing.
                    lanes.reads.release();
                    if !told {
                        let cause = placard_replica::reasons(error);
                        tracing::warn!(%error, cause, "there is no connection to commit with");
                    }
                }
                told = kept.is_err();
                drop(lanes);
                tokio::time::sleep(PAUSE).await;
            }
        }))
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        self.0.abort();
    }
}
