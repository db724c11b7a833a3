//! The rows of a dimension with many values, of which an ad targets a few: one row for the open ads, one for
//! each value that many of the chunk's ads target, and plain lists of positions for the rest. With 249
//! countries a row for each would be half of the index's bytes, nearly all of them zero.

use super::row::{CHUNK_ADS, Row};
use super::values::ValueSet;

/// A value that more ads of a chunk target gets a row. About where both cost a query the same.
const LIST_MAX: usize = 24;
/// A value's row turns back into a list below this many ads; apart from `LIST_MAX` so that a value at the limit does not flap.
const ROW_MIN: u64 = 12;

/// The rows of one wide dimension in one chunk.
#[derive(Debug, Clone)]
pub(super) struct WideRows {
    /// The ads that are open in this dimension.
    any: Row,
    /// The values that have a row, ascending; apart from the rows, so that all of them are on one or two lines
    /// of the cache.
    values: Vec<u16>,
    /// For each of these, the ads that target it or are open.
    rows: Vec<Row>,
    /// Where each value's list starts in `positions`, and where the last one ends.
    starts: Vec<u16>,
    /// The ads that target a value without a row, value by value.
    positions: Vec<u16>,
}

impl WideRows {
    /// The rows of these ads, in their order.
    pub(super) fn build<'a>(
        values: usize,
        ads: impl Iterator<Item = &'a ValueSet> + Clone,
    ) -> Self {
        let mut counts = vec![0_usize; values];
        let mut any = Row::EMPTY;
        for (at, set) in ads.clone().enumerate() {
            if set.is_empty() {
                any.set(at);
            }
            set.iter().for_each(|value| counts[value] += 1);
        }
        let (mut with_row, mut rows) = (Vec::new(), Vec::new());
        // A value's entry: the place of its row, or where its list is written next.
        let mut places = vec![0_usize; values];
        let mut starts = Vec::with_capacity(values + 1);
        let mut length = 0;
        for (value, count) in counts.iter().enumerate() {
            starts.push(length as u16);
            if *count > LIST_MAX {
                places[value] = rows.len();
                with_row.push(value as u16);
                rows.push(any);
            } else {
                places[value] = length;
                length += count;
            }
        }
        starts.push(length as u16);
        let mut positions = vec![0; length];
        for (at, set) in ads.enumerate() {
            for value in set.iter() {
                if counts[value] > LIST_MAX {
                    rows[places[value]].set(at);
                } else {
                    positions[places[value]] = at as u16;
                    places[value] += 1;
                }
            }
        }
        Self { any, values: with_row, rows, starts, positions }
    }

    /// Keeps the ads in `row` that target `value` or are open; without a value, those that are open.
    pub(super) fn narrow(&self, value: Option<usize>, row: &mut Row) {
        let Some(value) = value else { return row.and(&self.any) };
        let list = self.list(value);
        if list.is_empty() {
            row.and(self.row(value).map_or(&self.any, |place| &self.rows[place]));
            return;
        }
        let mut fitting = self.any;
        for at in &self.positions[list] {
            fitting.set(usize::from(*at));
        }
        row.and(&fitting);
    }

    fn list(&self, value: usize) -> std::ops::Range<usize> {
        usize::from(self.starts[value])..usize::from(self.starts[value + 1])
    }

    fn row(&self, value: usize) -> Option<usize> {
        self.values.binary_search(&(value as u16)).ok()
    }

    /// An ad that targets these values is now at `at`; those from there on have moved up.
    pub(super) fn insert(&mut self, at: usize, targeted: &ValueSet) {
        let open = targeted.is_empty();
        self.any.insert(at, open);
        for (value, row) in self.values.iter().zip(&mut self.rows) {
            row.insert(at, open || targeted.contains(usize::from(*value)));
        }
        for position in &mut self.positions {
            *position += u16::from(usize::from(*position) >= at);
        }
        for value in targeted.iter() {
            if self.row(value).is_none() {
                self.list_insert(value, at as u16);
                if self.list(value).len() > LIST_MAX {
                    self.promote(value);
                }
            }
        }
    }

    /// The ad at `at`, which targets these values, is gone; those beyond have moved down.
    pub(super) fn remove(&mut self, at: usize, targeted: &ValueSet) {
        for value in targeted.iter() {
            let list = self.list(value);
            if let Some(found) = self.positions[list.clone()].iter().position(|p| *p == at as u16) {
                self.positions.remove(list.start + found);
                self.starts[value + 1..].iter_mut().for_each(|start| *start -= 1);
            }
        }
        self.any.remove(at);
        self.rows.iter_mut().for_each(|row| row.remove(at));
        for position in &mut self.positions {
            *position -= u16::from(usize::from(*position) > at);
        }
        for value in targeted.iter() {
            if let Some(place) = self.row(value) {
                let targeting = self.rows[place].without(&self.any);
                if targeting.count() < ROW_MIN {
                    self.values.remove(place);
                    self.rows.remove(place);
                    targeting.each(|at| {
                        self.list_insert(value, at as u16);
                        false
                    });
                }
            }
        }
    }

    fn list_insert(&mut self, value: usize, at: u16) {
        self.positions.insert(usize::from(self.starts[value + 1]), at);
        self.starts[value + 1..].iter_mut().for_each(|start| *start += 1);
    }

    /// Turns a value's list into a row.
    fn promote(&mut self, value: usize) {
        let list = self.list(value);
        let length = list.len() as u16;
        let mut row = self.any;
        for at in self.positions.drain(list) {
            row.set(usize::from(at));
        }
        self.starts[value + 1..].iter_mut().for_each(|start| *start -= length);
        let place = self.values.partition_point(|other| usize::from(*other) < value);
        self.values.insert(place, value as u16);
        self.rows.insert(place, row);
    }

    pub(super) fn bytes(&self) -> usize {
        let numbers = [&self.values, &self.starts, &self.positions];
        self.rows.capacity() * size_of::<Row>()
            + numbers.iter().map(|list| list.capacity()).sum::<usize>() * size_of::<u16>()
    }
}

// Every list is short, so that all of them together can be numbered by a `u16`.
const _: () = assert!(super::values::VALUES_MAX * (LIST_MAX + 1) <= u16::MAX as usize);
const _: () = assert!(CHUNK_ADS <= u16::MAX as usize);
