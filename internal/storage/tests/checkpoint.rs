//! A checkpoint is whole, or it is not used, whatever happened to its file. `contract.rs` has the rest.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use placard_model::entry::{Chain, Digest, FORMAT_LEVEL, Position};
use placard_model::{Ad, Encoded, EncodedAd, Timestamp};
use placard_replica::ports::Checkpoints;
use placard_storage::checkpoint::CheckpointFile;
use placard_testkit::requests::spec;
use tokio::sync::mpsc;
use uuid::Uuid;

fn ads(count: u128) -> Vec<Encoded> {
    let ad = |id| Ad {
        id: Uuid::from_u128(id),
        version: 1,
        created_at: Timestamp::EPOCH,
        spec: spec("an ad of a checkpoint"),
    };
    (0..count).map(|id| EncodedAd::encode(&ad(id)).into()).collect()
}

fn position(ads: &[Encoded]) -> Position {
    let digest = ads.iter().map(Digest::of_any).fold(Digest::default(), Digest::plus);
    Position { version: 77, chain: Chain([9; 32]), digest }
}

/// Loads a checkpoint. Returns the position and the ads, `None` if there is no checkpoint, an error if it is damaged.
async fn load(file: &CheckpointFile) -> Result<Option<(Position, Vec<Encoded>)>, String> {
    let (chunks, mut arriving) = mpsc::channel(1);
    let collect = async {
        let mut ads = Vec::new();
        while let Some(chunk) = arriving.recv().await {
            ads.extend(chunk);
        }
        ads
    };
    let (position, ads) = tokio::join!(file.load(chunks), collect);
    position.map(|position| position.map(|at| (at, ads))).map_err(|error| error.1.to_string())
}

#[tokio::test]
async fn truncated_lengthened_or_altered_file_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let file = CheckpointFile::open(directory.path()).unwrap();
    let ads = ads(2);
    file.save(position(&ads), || ads).await.unwrap();
    let path = directory.path().join("checkpoint");
    let whole = std::fs::read(&path).unwrap();
    for cut in 0..whole.len() {
        std::fs::write(&path, &whole[..cut]).unwrap();
        assert!(load(&file).await.is_err(), "cut at {cut}");
    }
    let sum = &whole[whole.len() - 4..];
    for more in [&[0], sum] {
        std::fs::write(&path, [whole.as_slice(), more].concat()).unwrap();
        assert!(load(&file).await.is_err(), "lengthened by {more:?}");
    }
    for at in 0..whole.len() {
        let mut damaged = whole.clone();
        damaged[at] ^= 1 << (at % 8);
        std::fs::write(&path, &damaged).unwrap();
        assert!(load(&file).await.is_err(), "damaged at {at}");
    }
}

/// The file begins with the level that its ads need.
#[tokio::test]
async fn newer_level_checkpoint_is_refused_by_its_level() {
    let directory = tempfile::tempdir().unwrap();
    let file = CheckpointFile::open(directory.path()).unwrap();
    let ads = ads(2);
    file.save(position(&ads), || ads).await.unwrap();
    let path = directory.path().join("checkpoint");
    let mut bytes = std::fs::read(&path).unwrap();
    assert!(bytes.starts_with(b"PLACARD1"), "every build reads it");
    bytes[7] = b'1' + FORMAT_LEVEL;
    std::fs::write(&path, bytes).unwrap();
    let refused = load(&file).await.unwrap_err();
    assert!(refused.contains(&format!("format level {}", FORMAT_LEVEL + 1)), "{refused}");
}

/// It takes a second of a core for a million ads, and delayed writes when any thread of the runtime did it.
#[tokio::test]
async fn ads_are_collected_on_the_checkpoints_own_thread() {
    let directory = tempfile::tempdir().unwrap();
    let file = CheckpointFile::open(directory.path()).unwrap();
    let (name, named) = std::sync::mpsc::sync_channel(1);
    let collect = move || {
        name.send(std::thread::current().name().map(str::to_owned)).unwrap();
        ads(1)
    };
    file.save(position(&ads(1)), collect).await.unwrap();
    assert_eq!(named.recv(), Ok(Some("checkpoint".to_owned())));
}
