//! Faults that a test can plant, to see that the simulation finds them. They exist only where the feature `planted` is on,
//! which dev-dependencies alone may ask for, and only with debug assertions: no release build has them, whatever it is
//! built beside. Everywhere else [`Planted::is_there`] is a constant, and the fault is compiled away.

/// A fault in the rules of pools, holds and what is stored of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Planted {
    /// The room for a reservation is computed before what has lapsed is closed.
    RoomBeforeLapsing,
    /// What has lapsed is judged by the journal's clock alone.
    JournalsClockAlone,
    /// A closed or released reservation leaves no tombstone.
    NoTombstone,
    /// A report can close a hold twice.
    CloseTwice,
    /// A reservation that is said to shrink may grow, and no unit is taken for that.
    ShrinkGrows,
    /// What is available of a capacity that was lowered below what is out wraps around.
    LoweredCapacity,
    /// A refusal for want of room is kept under its idempotency key.
    RefusalKept,
    /// What has lapsed is not available to those who read.
    LapsedUnavailable,
    /// The digest leaves out records.
    DigestWithoutRecords,
    /// The oldest build in the register decides what is written, although the journal has left it behind.
    LevelOfRegister,
}

impl Planted {
    /// Every fault.
    pub const ALL: [Self; 10] = [
        Self::RoomBeforeLapsing,
        Self::JournalsClockAlone,
        Self::NoTombstone,
        Self::CloseTwice,
        Self::ShrinkGrows,
        Self::LoweredCapacity,
        Self::RefusalKept,
        Self::LapsedUnavailable,
        Self::DigestWithoutRecords,
        Self::LevelOfRegister,
    ];
}

#[cfg(not(all(feature = "planted", debug_assertions)))]
impl Planted {
    /// Returns false: nothing can be planted in this build.
    pub const fn is_there(self) -> bool {
        false
    }
}

#[cfg(all(feature = "planted", debug_assertions))]
mod ground {
    use std::cell::Cell;

    use super::Planted;

    std::thread_local! {
        static PLANTED: Cell<Option<Planted>> = const { Cell::new(None) };
    }

    impl Planted {
        /// Returns true if this thread has the fault.
        pub fn is_there(self) -> bool {
            PLANTED.get() == Some(self)
        }

        /// Gives the fault to this thread while `run` runs, even if that panics.
        pub fn during<T>(self, run: impl FnOnce() -> T) -> T {
            struct Dug;

            impl Drop for Dug {
                fn drop(&mut self) {
                    PLANTED.set(None);
                }
            }

            let _dug = Dug;
            PLANTED.set(Some(self));
            run()
        }
    }
}
