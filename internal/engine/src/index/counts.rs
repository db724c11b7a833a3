//! How many ads fit each prefix `[leading value | ALL | ANY][combination][step]`, so that a total is two loads
//! whatever the filters, and deep offsets pass over whole groups. A table is kept as one row per leading
//! value, and a write copies only the rows it touches.

use std::marker::PhantomData;
use std::sync::Arc;

use placard_model::Filter;

use super::coordinates::{Coordinates, Place};
use super::dimension::Schema;

/// A number that a table counts in.
pub(super) trait Cell: Copy + Default + Send + Sync + Into<u64> {
    fn plus(self, other: Self) -> Self;
    fn minus(self, other: Self) -> Self;
    const ONE: Self;
}

macro_rules! cell {
    ($number:ty) => {
        // Wrapping, so that a table can be built from differences, whose intermediate sums fall below zero.
        impl Cell for $number {
            fn plus(self, other: Self) -> Self {
                self.wrapping_add(other)
            }

            fn minus(self, other: Self) -> Self {
                self.wrapping_sub(other)
            }

            const ONE: Self = 1;
        }
    };
}

cell!(u16);
cell!(u32);

/// A table of counts. A row that is all zeros is left out.
#[derive(Debug)]
pub(super) struct Counts<S, C> {
    rows: Vec<Option<Arc<[C]>>>,
    schema: PhantomData<S>,
}

impl<S, C> Clone for Counts<S, C> {
    fn clone(&self) -> Self {
        Self { rows: self.rows.clone(), schema: PhantomData }
    }
}

/// A table that is being built. Each ad is entered as the two ends of its steps, and they are summed up once at the
/// end, which is many times quicker than [`Counts::add`] for each. Its rows are `[step][combination]`, so that the
/// combinations of an ad lie together.
pub(super) struct Tally<S, C> {
    rows: Vec<Option<Box<[C]>>>,
    schema: PhantomData<S>,
}

impl<S: Schema, C: Cell> Tally<S, C> {
    pub(super) fn new() -> Self {
        Self { rows: vec![None; S::LEADING + 2], schema: PhantomData }
    }

    pub(super) fn enter(&mut self, ad: &Coordinates) {
        for row in Counts::<S, C>::rows(ad) {
            let zeros = || vec![C::default(); S::CELLS].into();
            let row = self.rows[row].get_or_insert_with(zeros);
            for (first, past) in ad.steps.runs() {
                let mut each = |step: usize, change: fn(C, C) -> C| {
                    let cells = &mut row[step * S::COMBINATIONS..][..S::COMBINATIONS];
                    for combination in ad.combinations() {
                        cells[combination] = change(cells[combination], C::ONE);
                    }
                };
                each(first, C::plus);
                if past < S::STEPS {
                    each(past, C::minus);
                }
            }
        }
    }

    pub(super) fn sum(self) -> Counts<S, C> {
        let sum = |row: Box<[C]>| {
            let cells = (0..S::COMBINATIONS).flat_map(|combination| {
                let steps = row[combination..].iter().step_by(S::COMBINATIONS);
                steps.scan(C::default(), |sum, cell| {
                    *sum = sum.plus(*cell);
                    Some(*sum)
                })
            });
            cells.collect()
        };
        let rows = self.rows.into_iter().map(|row| row.map(sum)).collect();
        Counts { rows, schema: PhantomData }
    }
}

impl<S: Schema, C: Cell> Counts<S, C> {
    /// The row of all ads, whatever they target in the leading dimension.
    const ALL: usize = S::LEADING;
    /// The row of the ads that are open in the leading dimension.
    const ANY: usize = S::LEADING + 1;

    pub(super) fn new() -> Self {
        Self { rows: vec![None; S::LEADING + 2], schema: PhantomData }
    }

    /// The counts of these ads.
    pub(super) fn build<'a>(ads: impl Iterator<Item = &'a Coordinates>) -> Self {
        let mut tally = Tally::new();
        ads.for_each(|ad| tally.enter(ad));
        tally.sum()
    }

    /// Adds one ad.
    pub(super) fn add(&mut self, ad: &Coordinates) {
        self.each_cell(ad, |cell| *cell = cell.plus(C::ONE));
    }

    /// Subtracts one ad.
    pub(super) fn subtract(&mut self, ad: &Coordinates) {
        self.each_cell(ad, |cell| *cell = cell.minus(C::ONE));
    }

    /// Adds the ads of another table.
    pub(super) fn merge<D: Cell + Into<C>>(&mut self, other: &Counts<S, D>) {
        self.combine(other, C::plus);
    }

    /// Subtracts the ads of another table, all of which are in this one, except those that are added again.
    pub(super) fn reduce<D: Cell + Into<C>>(&mut self, other: &Counts<S, D>) {
        self.combine(other, C::minus);
    }

    fn combine<D: Cell + Into<C>>(&mut self, other: &Counts<S, D>, how: impl Fn(C, C) -> C) {
        for (row, more) in other.rows.iter().enumerate() {
            let Some(more) = more else { continue };
            for (cell, more) in self.row(row).iter_mut().zip(more.iter()) {
                *cell = how(*cell, (*more).into());
            }
        }
    }

    /// Returns the number of ads that fit.
    pub(super) fn count(&self, place: &Place) -> u64 {
        let at = place.combination * S::STEPS + place.step;
        let cell = |row: usize| self.rows[row].as_ref().map_or(0, |cells| cells[at].into());
        match place.leading {
            Filter::Value(value) => cell(value) + cell(Self::ANY),
            Filter::Unknown => cell(Self::ANY),
            Filter::Absent => cell(Self::ALL),
        }
    }

    /// The rows that an ad is counted in.
    fn rows(ad: &Coordinates) -> impl Iterator<Item = usize> {
        let any = ad.leading.is_empty().then_some(Self::ANY);
        ad.leading.iter().chain([Self::ALL]).chain(any)
    }

    fn row(&mut self, row: usize) -> &mut [C] {
        let zeros = || std::iter::repeat_n(C::default(), S::CELLS).collect();
        Arc::make_mut(self.rows[row].get_or_insert_with(zeros))
    }

    fn each_cell(&mut self, ad: &Coordinates, change: impl Fn(&mut C)) {
        for row in Self::rows(ad) {
            let row = self.row(row);
            for combination in ad.combinations() {
                let cells = &mut row[combination * S::STEPS..][..S::STEPS];
                for (first, past) in ad.steps.runs() {
                    cells[first..past.min(S::STEPS)].iter_mut().for_each(&change);
                }
            }
        }
    }

    pub(super) fn bytes(&self) -> usize {
        let rows = self.rows.iter().flatten().count();
        self.rows.capacity() * size_of::<Option<Arc<[C]>>>() + rows * S::CELLS * size_of::<C>()
    }
}
