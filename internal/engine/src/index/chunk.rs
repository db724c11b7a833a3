//! A few hundred ads that follow each other in result order, and their bit rows: a query is the AND of three
//! rows, walked in order.

use std::sync::Arc;

use placard_model::{Filter, Timestamp};

use super::block::Block;
use super::coordinates::{Coordinates, Place};
use super::dimension::{Item, Key, Role, Schema};
use super::row::{CHUNK_ADS, Row};
use super::wide::WideRows;

/// Free cells of a new block: the number of ads that are added before the chunk moves on to another one.
const FREE_CELLS: usize = 96;

/// A chunk. Cloned by a write, if readers may have it.
#[derive(Debug)]
pub(super) struct Chunk<S: Schema> {
    ends: Vec<Timestamp>,
    /// Where in the block each ad is.
    cells: Vec<u16>,
    block: Arc<Block<S::Ad>>,
    /// Cells of the block that are filled.
    filled: u16,
    /// One row per combination of the crossed dimensions; the first, all absent, has every ad.
    combinations: Vec<Row>,
    /// One row per value of the ranged dimension.
    steps: Vec<Row>,
    /// For each crossed or ranged dimension, the ads that leave it open.
    open: Vec<Row>,
    leading: WideRows,
    listed: Vec<WideRows>,
}

impl<S: Schema> Clone for Chunk<S> {
    fn clone(&self) -> Self {
        Self {
            ends: self.ends.clone(),
            cells: self.cells.clone(),
            block: Arc::clone(&self.block),
            filled: self.filled,
            combinations: self.combinations.clone(),
            steps: self.steps.clone(),
            open: self.open.clone(),
            leading: self.leading.clone(),
            listed: self.listed.clone(),
        }
    }
}

impl<S: Schema> Chunk<S> {
    /// A chunk of these ads, at least one, at most [`CHUNK_ADS`], in result order.
    pub(super) fn build(ads: Vec<(Arc<S::Ad>, Coordinates)>) -> Self {
        let mut combinations = vec![Row::EMPTY; S::COMBINATIONS];
        // Where the steps of each ad begin and end, so that it is not entered at each of them.
        let mut edges = vec![Row::EMPTY; S::STEPS];
        let mut open = vec![Row::EMPTY; S::NARROW];
        for (at, (_, coordinates)) in ads.iter().enumerate() {
            coordinates.combinations().for_each(|combination| combinations[combination].set(at));
            for (first, past) in coordinates.steps.runs() {
                edges[first].set(at);
                if let Some(row) = edges.get_mut(past) {
                    row.set(at);
                }
            }
            for (nth, row) in open.iter_mut().enumerate() {
                if coordinates.open >> nth & 1 == 1 {
                    row.set(at);
                }
            }
        }
        let mut row = edges[0];
        let steps = edges[1..].iter().map(|edges| {
            row.xor(edges);
            row
        });
        let steps = steps.collect();
        let leading = WideRows::build(S::LEADING, ads.iter().map(|(_, found)| &found.leading));
        let wide = S::DIMENSIONS.iter().filter(|dimension| dimension.role == Role::Listed);
        let listed = wide.enumerate().map(|(nth, dimension)| {
            WideRows::build(dimension.values, ads.iter().map(move |(_, found)| &found.listed[nth]))
        });
        let listed = listed.collect();
        let filled = ads.len() as u16;
        Self {
            ends: ads.iter().map(|(ad, _)| ad.key().0).collect(),
            cells: (0..filled).collect(),
            block: Arc::new(Block::new(ads.into_iter().map(|(ad, _)| ad), FREE_CELLS)),
            filled,
            combinations,
            steps,
            open,
            leading,
            listed,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.ends.len()
    }

    pub(super) fn is_full(&self) -> bool {
        self.len() == CHUNK_ADS
    }

    pub(super) fn ad(&self, at: usize) -> &Arc<S::Ad> {
        self.block.get(self.cells[at])
    }

    pub(super) fn ads(&self) -> impl Iterator<Item = &Arc<S::Ad>> {
        self.cells.iter().map(|cell| self.block.get(*cell))
    }

    /// The key of the last ad.
    pub(super) fn last(&self) -> Key {
        self.ad(self.len() - 1).key()
    }

    /// The end of the last ad.
    pub(super) fn last_end(&self) -> Timestamp {
        self.ends[self.len() - 1]
    }

    /// Returns the position of the first ad that ends after `now`.
    pub(super) fn first_after(&self, now: Timestamp) -> usize {
        self.ends.partition_point(|end| *end <= now)
    }

    /// Returns the position of a key's ad, or, as an error, where it would be.
    pub(super) fn find(&self, key: Key) -> Result<usize, usize> {
        let from = self.ends.partition_point(|end| *end < key.0);
        let same = self.ends[from..].partition_point(|end| *end == key.0);
        let ids = &self.cells[from..from + same];
        let found = ids.binary_search_by(|cell| self.block.get(*cell).key().cmp(&key));
        found.map(|at| from + at).map_err(|at| from + at)
    }

    /// Adds an ad; the chunk must not be full, and must not have it.
    pub(super) fn insert(&mut self, ad: &Arc<S::Ad>, coordinates: &Coordinates) {
        let at = self.find(ad.key()).expect_err("an ad is in the index once");
        if usize::from(self.filled) == self.block.capacity() {
            self.block = Arc::new(Block::new(self.ads_in_place().into_iter(), FREE_CELLS));
            self.filled = self.len() as u16;
            self.cells = (0..self.filled).collect();
        }
        self.block.fill(self.filled, Arc::clone(ad));
        self.ends.insert(at, ad.key().0);
        self.cells.insert(at, self.filled);
        self.filled += 1;
        for (combination, row) in self.combinations.iter_mut().enumerate() {
            row.insert(at, coordinates.combinations >> combination & 1 == 1);
        }
        for (value, row) in self.steps.iter_mut().enumerate() {
            row.insert(at, coordinates.steps.contains(value + 1));
        }
        for (nth, row) in self.open.iter_mut().enumerate() {
            row.insert(at, coordinates.open >> nth & 1 == 1);
        }
        self.leading.insert(at, &coordinates.leading);
        for (wide, targeted) in self.listed.iter_mut().zip(&coordinates.listed) {
            wide.insert(at, targeted);
        }
    }

    fn ads_in_place(&self) -> Vec<Arc<S::Ad>> {
        self.ads().cloned().collect()
    }

    /// Drops the ad at `at`.
    pub(super) fn remove(&mut self, at: usize, coordinates: &Coordinates) {
        self.ends.remove(at);
        self.cells.remove(at);
        let rows = self.combinations.iter_mut().chain(&mut self.steps).chain(&mut self.open);
        rows.for_each(|row| row.remove(at));
        self.leading.remove(at, &coordinates.leading);
        for (wide, targeted) in self.listed.iter_mut().zip(&coordinates.listed) {
            wide.remove(at, targeted);
        }
    }

    /// Returns the ads that fit.
    pub(super) fn fitting(&self, place: &Place) -> Row {
        let mut row = self.combinations[place.combination];
        if place.step > 0 {
            row.and(&self.steps[place.step - 1]);
        }
        for nth in place.open() {
            row.and(&self.open[nth]);
        }
        if place.leading != Filter::Absent {
            self.leading.narrow(place.leading.value(), &mut row);
        }
        for (dimension, value) in place.listed() {
            self.listed[*dimension].narrow(*value, &mut row);
        }
        row
    }

    pub(super) fn bytes(&self) -> usize {
        let wide = std::iter::once(&self.leading).chain(&self.listed);
        let rows = [&self.combinations, &self.steps, &self.open].map(Vec::capacity);
        let rows: usize = rows.iter().sum();
        size_of::<Self>()
            + self.ends.capacity() * size_of::<Timestamp>()
            + self.cells.capacity() * size_of::<u16>()
            + self.block.bytes()
            + rows * size_of::<Row>()
            + wide.map(WideRows::bytes).sum::<usize>()
    }
}
