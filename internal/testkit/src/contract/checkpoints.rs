//! What a place for checkpoints promises.

use std::sync::mpsc as blocking;

use placard_model::entry::{Chain, Digest, Position};
use placard_model::{Ad, Encoded, EncodedAd, Spec, Timestamp};
use placard_replica::ports::Checkpoints;
use tokio::sync::mpsc;
use uuid::Uuid;

use super::is_bounded_chunk;
use crate::requests::spec;
use crate::wait::PATIENCE;

/// Returns this many ads, with content of this many letters.
fn ads(count: u128, letters: usize) -> Vec<Encoded> {
    let spec = Spec { content: "x".repeat(letters), ..spec("an ad of a checkpoint") };
    let ad = |id| {
        let (id, spec) = (Uuid::from_u128(id), spec.clone());
        EncodedAd::encode(&Ad { id, version: 1, created_at: Timestamp::EPOCH, spec }).into()
    };
    (0..count).map(ad).collect()
}

fn position(ads: &[Encoded]) -> Position {
    let digest = ads.iter().map(Digest::of_any).fold(Digest::default(), Digest::plus);
    Position { version: 77 + ads.len() as u64, chain: Chain([9; 32]), digest }
}

/// Loads the checkpoint. Returns its position and its chunks.
async fn load<C: Checkpoints>(checkpoints: &C) -> (Option<Position>, Vec<Vec<Encoded>>) {
    let (chunks, mut arriving) = mpsc::channel(1);
    let collect = async {
        let mut all = Vec::new();
        while let Some(chunk) = arriving.recv().await {
            all.push(chunk);
        }
        all
    };
    let (position, chunks) = tokio::join!(checkpoints.load(chunks), collect);
    (position.expect("a healthy checkpoint is read"), chunks)
}

/// Checks all that a place for checkpoints promises, on a runtime of one thread. `checkpoints` has none yet; `reopen`
/// closes it and opens it again.
pub async fn checkpoints<C: Checkpoints>(checkpoints: C, reopen: impl AsyncFn(C) -> C) {
    assert_eq!(load(&checkpoints).await, (None, Vec::new()));
    let mut checkpoints = checkpoints;
    // Each replaces the one before it, a larger one and a smaller one too.
    for (count, letters) in [(2, 10), (300, 40_000), (0, 0), (1, 10)] {
        let ads = ads(count, letters);
        let saved = ads.clone();
        let done = checkpoints.save(position(&ads), move || saved).await;
        done.expect("a healthy checkpoint is written");
        for _ in 0..2 {
            let (loaded, chunks) = load(&checkpoints).await;
            assert_eq!(loaded, Some(position(&ads)));
            assert!(chunks.iter().all(|chunk| is_bounded_chunk(chunk)));
            assert_eq!(chunks.concat(), ads);
            checkpoints = reopen(checkpoints).await;
        }
    }
    a_reader_that_gives_up_holds_nothing_up(&checkpoints).await;
    the_runtime_goes_on_while_ads_are_collected(&checkpoints).await;
}

async fn a_reader_that_gives_up_holds_nothing_up<C: Checkpoints>(checkpoints: &C) {
    let ads = ads(300, 40_000);
    let saved = ads.clone();
    let done = checkpoints.save(position(&ads), move || saved).await;
    done.expect("a healthy checkpoint is written");
    let (chunks, arriving) = mpsc::channel(1);
    drop(arriving);
    // Whether that is a failure of the checkpoint is not said.
    let loaded = tokio::time::timeout(PATIENCE, checkpoints.load(chunks)).await;
    let _ = loaded.expect("it ends");
    assert_eq!(load(checkpoints).await.0, Some(position(&ads)));
}

async fn the_runtime_goes_on_while_ads_are_collected<C: Checkpoints>(checkpoints: &C) {
    let (go_on, goes_on) = blocking::sync_channel(1);
    let ads = ads(1, 10);
    let saved = ads.clone();
    let collect = move || {
        goes_on.recv_timeout(PATIENCE).expect("a task runs meanwhile");
        saved
    };
    let told = async { go_on.send(()).expect("the ads are waited for") };
    // The second is polled while the first is under way, if that does not hold up their thread.
    let (done, ()) = tokio::join!(checkpoints.save(position(&ads), collect), told);
    done.expect("a healthy checkpoint is written");
    assert_eq!(load(checkpoints).await, (Some(position(&ads)), vec![ads]));
}
