//! The digest of a position is the sum of all ads and records there, whichever way a state came about: it was restored, is a
//! checkpoint, or is the journal's own.

use placard_model::Encoded;
use placard_model::entry::Position;
use sha2::{Digest as _, Sha256};

pub(crate) fn check<'e>(position: Position, contents: impl IntoIterator<Item = &'e Encoded>) {
    let sum = contents.into_iter().fold(0u128, |sum, one| sum.wrapping_add(sum_of(one)));
    assert_eq!(position.digest.0, sum, "the digest of {} is not that", position.version);
}

fn sum_of(one: &Encoded) -> u128 {
    let sum = match one {
        Encoded::Ad(ad) => Sha256::digest(ad.bytes()),
        Encoded::Record(record) => {
            let kind = [record.kind().number()];
            Sha256::new().chain_update(kind).chain_update(record.bytes()).finalize()
        }
    };
    sum.iter().take(16).fold(0, |number, byte| number << 8 | u128::from(*byte))
}
