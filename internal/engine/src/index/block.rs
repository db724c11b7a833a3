//! The ads of a chunk, in the order in which they arrived. A write copies its chunk, and a copy that cloned
//! every `Arc<Ad>` would touch as many reference counts all over memory (measured: 80 µs for 1,024). So the
//! versions of a chunk share one block, which only ever grows: an ad is put into a free cell, older
//! versions of the chunk have no number for that cell, and a removed ad stays in its cell until the chunk
//! moves on to a new block.

use std::sync::{Arc, OnceLock};

/// Cells that are filled once.
#[derive(Debug)]
pub(super) struct Block<A> {
    cells: Box<[OnceLock<Arc<A>>]>,
}

impl<A> Block<A> {
    /// A block that has these ads in its first cells and room for `free` more.
    pub(super) fn new(ads: impl ExactSizeIterator<Item = Arc<A>>, free: usize) -> Self {
        let free = std::iter::repeat_with(OnceLock::new).take(free);
        Self { cells: ads.map(OnceLock::from).chain(free).collect() }
    }

    pub(super) fn capacity(&self) -> usize {
        self.cells.len()
    }

    /// The ad in a cell that was filled.
    pub(super) fn get(&self, cell: u16) -> &Arc<A> {
        self.cells[usize::from(cell)].get().expect("a chunk numbers filled cells only")
    }

    /// Fills a free cell.
    pub(super) fn fill(&self, cell: u16, ad: Arc<A>) {
        let was_free = self.cells[usize::from(cell)].set(ad).is_ok();
        assert!(was_free, "only the newest version of a chunk fills its block");
    }

    pub(super) fn bytes(&self) -> usize {
        self.cells.len() * size_of::<OnceLock<Arc<A>>>()
    }
}
