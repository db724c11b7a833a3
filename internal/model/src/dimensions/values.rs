//! Declares a small closed set of values, each with its code, and a set type of one bit a value.

/// Declares the enumeration, its set, and their codes. A stored set is a number of protobuf with a bit for each value,
/// the lowest for the first.
macro_rules! values {
    ($(#[$doc:meta])* $name:ident, $(#[$set_doc:meta])* $set:ident { $($(#[$value_doc:meta])* $value:ident = $text:literal),+ $(,)? }) => {
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
            #[inline]
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

        impl $crate::dimensions::choice::Codes for $name {
            type Set = $set;
            type Stored<'a> = u32;

            const COUNT: usize = Self::ALL.len();

            fn from_code(code: &str) -> Option<Self> {
                Self::from_code(code)
            }

            fn code(self) -> &'static str {
                self.code()
            }

            #[inline]
            fn place(self) -> usize {
                self.place()
            }

            fn all() -> impl Iterator<Item = Self> {
                Self::ALL.iter().copied()
            }

            fn of(set: &$set) -> impl Iterator<Item = Self> {
                set.iter()
            }

            fn is_in(self, set: &$set) -> bool {
                set.contains(self)
            }

            #[inline]
            fn places(set: &$set) -> $crate::dimensions::dimension::Places {
                [set.0.into(), 0, 0, 0]
            }

            fn encode(set: &$set, tag: u32, ad: &mut Vec<u8>) {
                if !set.is_empty() {
                    $crate::protobuf::write_number(tag, set.0.into(), ad);
                }
            }

            fn take(stored: &mut u32, value: $crate::protobuf::Value<'_>) -> Option<()> {
                *stored = value.u32()?;
                Some(())
            }

            fn decode(stored: u32) -> Option<$set> {
                $set::from_bits(u8::try_from(stored).ok()?)
            }
        }
    };
}

pub(crate) use values;
