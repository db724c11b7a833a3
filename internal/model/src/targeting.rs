//! The conditions of an ad, per dimension.

use crate::CountrySet;

/// An inclusive range of ages, in years.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct AgeRange {
    /// Youngest age that fits, 1 to 100.
    pub start: u8,
    /// Oldest age that fits, from `start` to 100.
    pub end: u8,
}

/// Declares a small closed set of values, each with the text that clients write, and a set type of one byte.
macro_rules! values {
    ($(#[$doc:meta])* $name:ident, $(#[$set_doc:meta])* $set:ident { $($(#[$value_doc:meta])* $value:ident = $text:literal),+ }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        #[repr(u8)]
        pub enum $name { $($(#[$value_doc])* $value),+ }

        impl $name {
            /// Every value, in the order of their places.
            pub const ALL: &[Self] = &[$(Self::$value),+];

            /// The value that a client writes as `text`.
            pub fn from_code(text: &str) -> Option<Self> {
                match text { $($text => Some(Self::$value),)+ _ => None }
            }

            /// Returns its code in the API.
            pub fn code(self) -> &'static str {
                match self { $(Self::$value => $text),+ }
            }

            /// Its place among the values, from 0.
            pub fn place(self) -> usize {
                self as usize
            }
        }

        $(#[$set_doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash)]
        pub struct $set(u8);

        impl $set {
            /// Returns the set of the bits that are set, the lowest for the first value; `None` if a bit belongs to no
            /// value.
            pub fn from_bits(bits: u8) -> Option<Self> {
                (u32::from(bits) < 1 << $name::ALL.len()).then_some(Self(bits))
            }

            /// Returns one bit for each value in the set, the lowest for the first value.
            pub fn bits(self) -> u8 {
                self.0
            }

            /// Adds one; adding it twice is adding it once.
            pub fn insert(&mut self, value: $name) {
                self.0 |= 1 << value.place();
            }

            /// Returns true if the value is in the set.
            pub fn contains(self, value: $name) -> bool {
                self.0 >> value.place() & 1 == 1
            }

            /// Returns true if the set is empty.
            pub fn is_empty(self) -> bool {
                self.0 == 0
            }

            /// Iterates over the values in the set, by place.
            pub fn iter(self) -> impl Iterator<Item = $name> {
                $name::ALL.iter().copied().filter(move |value| self.contains(*value))
            }
        }

        impl FromIterator<$name> for $set {
            fn from_iter<I: IntoIterator<Item = $name>>(values: I) -> Self {
                let mut set = Self::default();
                values.into_iter().for_each(|value| set.insert(value));
                set
            }
        }
    };
}

values! {
    /// A visitor's gender.
    Gender,
    /// A set of genders; empty in a targeting means any.
    GenderSet {
        /// Male.
        Male = "M",
        /// Female.
        Female = "F"
    }
}

values! {
    /// What the visitor's page runs on.
    Platform,
    /// A set of platforms; empty in a targeting means any.
    PlatformSet {
        /// Android.
        Android = "android",
        /// iOS.
        Ios = "ios",
        /// A browser.
        Web = "web"
    }
}

/// The conditions of an ad, per dimension. A dimension left open fits everyone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash)]
pub struct Targeting {
    /// Ages that fit; `None` means any.
    pub age: Option<AgeRange>,
    /// Countries that fit; empty means any.
    pub countries: CountrySet,
    /// Genders that fit; empty means any.
    pub genders: GenderSet,
    /// Platforms that fit; empty means any.
    pub platforms: PlatformSet,
}
