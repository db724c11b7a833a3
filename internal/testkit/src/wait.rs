//! Waiting for a condition, with a generous bound instead of a guessed pause.

use std::time::Duration;

/// Longest wait for anything; a test that needs it has failed.
pub const PATIENCE: Duration = Duration::from_secs(30);
/// Pause between two looks at the condition.
const LOOK_AGAIN: Duration = Duration::from_millis(10);

/// Looks until `probe` finds something, and returns it.
///
/// # Panics
/// Nothing was found within [`PATIENCE`]; the message names `what`.
pub async fn until<T>(what: &str, mut probe: impl AsyncFnMut() -> Option<T>) -> T {
    let found = async {
        loop {
            if let Some(found) = probe().await {
                return found;
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    };
    match tokio::time::timeout(PATIENCE, found).await {
        Ok(found) => found,
        Err(_) => panic!("waited {PATIENCE:?} without success for {what}"),
    }
}
