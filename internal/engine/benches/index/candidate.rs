//! What the bench asks of an implementation.

use std::sync::Arc;

use placard_model::{Ad, Query, Timestamp};
use uuid::Uuid;

/// Searching, which several threads may do at once if an implementation lets them.
pub(crate) trait Search {
    /// Finds the page and the total, hands each ad of the page to `black_box` in the form in which it is found,
    /// and returns the total.
    fn search(&self, query: &Query, now: Timestamp) -> u64;
}

/// One implementation.
pub(crate) trait Candidate: Search + Sized {
    /// What it is called in the reports.
    const NAME: &'static str;
    /// The most ads that it is built of: beyond, one build or one query would take the whole run.
    const ADS_MAX: usize = usize::MAX;
    /// True if it takes and drops single ads.
    const CHANGES: bool = true;

    /// An ad in the form in which it is kept; making it is not timed.
    type Item;

    fn prepare(ad: &Arc<Ad>) -> Self::Item;
    /// All ads at once.
    fn build(ads: Vec<Self::Item>, now: Timestamp) -> Self;
    /// The page's ids, and the total.
    fn answer(&self, query: &Query, now: Timestamp) -> (Vec<Uuid>, u64);
    /// Before the changes of a batch.
    fn begin(&mut self) {}
    fn insert(&mut self, ad: &Self::Item);
    fn remove(&mut self, ad: &Self::Item);
    /// After the changes of a batch, which readers now see.
    fn commit(&mut self) {}
    /// The same for threads, if they can share it.
    fn shared(&self) -> Option<&(dyn Search + Sync)>;
    /// Bytes it takes beside the ads, if the counting allocator does not see them.
    fn bytes_hidden(&self) -> usize {
        0
    }
}
