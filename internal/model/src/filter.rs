//! What a query says of a visitor in one dimension.

/// How a client writes [`Filter::Unknown`].
pub const UNKNOWN: &str = "unknown";

/// What a query says about the visitor in one dimension.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash)]
pub enum Filter<T> {
    /// Nothing: every ad fits.
    #[default]
    Absent,
    /// That the value is not known: only ads that leave the dimension open fit.
    Unknown,
    /// The value: ads that target it fit, and ads that leave the dimension open.
    Value(T),
}

impl<T> Filter<T> {
    /// Returns the value, if the filter has one.
    pub fn value(self) -> Option<T> {
        match self {
            Self::Value(value) => Some(value),
            Self::Absent | Self::Unknown => None,
        }
    }

    /// Converts the value, if the filter has one.
    pub fn map<U>(self, convert: impl FnOnce(T) -> U) -> Filter<U> {
        match self {
            Self::Absent => Filter::Absent,
            Self::Unknown => Filter::Unknown,
            Self::Value(value) => Filter::Value(convert(value)),
        }
    }

    /// Returns true if an ad fits that leaves the dimension open, or targets the values for which `targets` is true.
    pub fn fits(self, is_open: bool, targets: impl FnOnce(T) -> bool) -> bool {
        match self {
            Self::Absent => true,
            Self::Unknown => is_open,
            Self::Value(value) => is_open || targets(value),
        }
    }
}

/// No value is no filter.
impl<T> From<Option<T>> for Filter<T> {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Absent, Self::Value)
    }
}
