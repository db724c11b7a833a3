//! Ads and records on their way to the builder of a state, in chunks. A chunk is large enough that handing it over costs
//! little compared with reading it, and small enough that those on the way take little memory, however large each is.

use placard_model::Encoded;

/// Ads and records in one chunk, at the most.
const ITEMS_MAX: usize = 8_192;
/// A chunk is full when they have this many bytes.
const BYTES_FULL: usize = 4 << 20;

/// Some of the ads and records.
#[derive(Debug, Default)]
pub(crate) struct Chunk {
    all: Vec<Encoded>,
    bytes: usize,
}

impl Chunk {
    pub(crate) fn push(&mut self, one: impl Into<Encoded>) {
        let one = one.into();
        self.bytes += one.bytes().len();
        self.all.push(one);
    }

    /// Returns true if it is time to send the chunk.
    pub(crate) fn is_full(&self) -> bool {
        self.all.len() >= ITEMS_MAX || self.bytes >= BYTES_FULL
    }

    /// Returns true if there is nothing to send.
    pub(crate) fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// Takes what is to be sent; the next chunk is empty.
    pub(crate) fn take(&mut self) -> Vec<Encoded> {
        let room = self.all.len();
        self.bytes = 0;
        std::mem::replace(&mut self.all, Vec::with_capacity(room))
    }
}

#[cfg(test)]
mod tests {
    use placard_model::EncodedAd;

    use super::*;

    fn fill(chunk: &mut Chunk, length: usize) -> usize {
        while !chunk.is_full() {
            chunk.push(EncodedAd::from_bytes(vec![0; length].into()));
        }
        chunk.take().len()
    }

    #[test]
    fn a_chunk_is_bounded_in_ads_and_in_bytes() {
        let mut chunk = Chunk::default();
        assert_eq!(fill(&mut chunk, 200), ITEMS_MAX);
        assert_eq!(fill(&mut chunk, 40_000), BYTES_FULL.div_ceil(40_000));
        assert_eq!(fill(&mut chunk, 200), ITEMS_MAX);
    }
}
