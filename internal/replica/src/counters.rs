//! How a counter is declared: once, with its name, its help and, if it counts repairs, what the log says of one. The text
//! of `/metrics`, the manual's table, the log's line and the simulation's sums follow from the declaration.

/// A counter in a set of counters.
#[derive(Debug)]
pub struct Counter<Set> {
    /// Its name in `/metrics`.
    pub name: &'static str,
    /// What it counts.
    pub help: &'static str,
    /// What the log says when it grows; `None` if the log says nothing, or another line says it.
    pub repair: Option<Repair>,
    /// Returns its value.
    pub count: fn(&Set) -> u64,
}

/// Something that was found wrong and is repaired.
#[derive(Debug)]
pub struct Repair {
    /// What was found.
    pub cause: &'static str,
    /// What is done about it.
    pub cure: &'static str,
}

/// Declares a set of counters. A field's documentation is its help in `/metrics`; behind its name there, and a comma, are
/// the cause and the cure that the log tells. What is not a plain counter stands under `and`.
#[macro_export]
macro_rules! counters {
    (
        $(#[$meta:meta])*
        $vis:vis struct $Set:ident {
            $($(#[doc = $help:literal])+ $field:ident = $name:literal $(, $cause:literal => $cure:literal)?;)+
        }
        $(and { $($(#[$about:meta])* $other:ident: $Other:ty;)+ })?
    ) => {
        $(#[$meta])*
        $vis struct $Set {
            $($(#[doc = $help])+ $vis $field: u64,)+
            $($($(#[$about])* $vis $other: $Other,)+)?
        }

        impl $Set {
            /// The plain counters, in the order of `/metrics`.
            $vis const COUNTERS: &'static [$crate::counters::Counter<Self>] = &[$(
                $crate::counters::Counter {
                    name: $name,
                    help: concat!($($help),+),
                    repair: $crate::counters!(@repair $($cause, $cure)?),
                    count: |counts| counts.$field,
                },
            )+];
        }

        impl std::ops::AddAssign for $Set {
            fn add_assign(&mut self, other: Self) {
                $(self.$field += other.$field;)+
                $($(self.$other += other.$other;)+)?
            }
        }
    };
    (@repair) => { None };
    (@repair $cause:literal, $cure:literal) => {
        Some($crate::counters::Repair { cause: $cause, cure: $cure })
    };
}

pub(crate) use counters;
