//! The visitor's country: the 249 countries of ISO 3166-1, as dense numbers in the order of their alpha-2 codes.

use std::fmt;
use std::sync::LazyLock;

use rand::RngExt;
use rand_chacha::ChaCha8Rng;

use super::choice::{Choice, Codes};
use super::dimension::Places;
use crate::protobuf::{Value, write_bytes};

/// A country by its place among the sorted alpha-2 codes. Places are for memory only: whatever is written
/// down carries the code, so that a later edition of the standard moves nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Country(u8);

struct Table {
    codes: Vec<&'static str>,
    /// The place of each pair of letters, or `NONE`.
    places: [u8; 26 * 26],
}

const NONE: u8 = u8::MAX;

static TABLE: LazyLock<Table> = LazyLock::new(|| {
    let mut codes: Vec<&'static str> =
        rust_iso3166::ALL.iter().map(|country| country.alpha2).collect();
    codes.sort_unstable();
    assert!(codes.len() == Country::COUNT, "the standard's table has {} countries", codes.len());
    let mut places = [NONE; 26 * 26];
    for (place, code) in (0u8..).zip(&codes) {
        places[pair(code.as_bytes()).expect("alpha-2 codes are two capitals")] = place;
    }
    Table { codes, places }
});

fn pair(code: &[u8]) -> Option<usize> {
    match code {
        [a @ b'A'..=b'Z', b @ b'A'..=b'Z'] => {
            Some(usize::from(a - b'A') * 26 + usize::from(b - b'A'))
        }
        _ => None,
    }
}

impl Country {
    /// The number of countries.
    pub const COUNT: usize = 249;

    /// The country of an alpha-2 code in capitals.
    pub fn from_code(code: &str) -> Option<Self> {
        let place = TABLE.places[pair(code.as_bytes())?];
        (place != NONE).then_some(Self(place))
    }

    /// Its alpha-2 code.
    pub fn code(self) -> &'static str {
        TABLE.codes[usize::from(self.0)]
    }

    /// Its place, `0..COUNT`.
    #[inline]
    pub fn place(self) -> usize {
        usize::from(self.0)
    }

    /// All of them, by place.
    pub fn all() -> impl ExactSizeIterator<Item = Self> {
        (0..Self::COUNT).map(|place| Self(place as u8))
    }
}

impl fmt::Display for Country {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code())
    }
}

/// A set of countries, one bit each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash)]
pub struct CountrySet([u64; 4]);

impl CountrySet {
    /// Adds one; adding it twice is adding it once.
    pub fn insert(&mut self, country: Country) {
        self.0[country.place() / 64] |= 1 << (country.place() % 64);
    }

    /// Returns true if the country is in the set.
    pub fn contains(&self, country: Country) -> bool {
        self.0[country.place() / 64] >> (country.place() % 64) & 1 == 1
    }

    /// Returns true if the set is empty.
    pub fn is_empty(&self) -> bool {
        self.0 == [0; 4]
    }

    /// Returns the number of countries in the set.
    pub fn len(&self) -> usize {
        self.0.iter().map(|word| word.count_ones() as usize).sum()
    }

    /// Iterates over the countries in the set, by place.
    pub fn iter(&self) -> impl Iterator<Item = Country> + use<> {
        let words = self.0;
        (0..words.len()).flat_map(move |at| {
            let mut word = words[at];
            std::iter::from_fn(move || {
                if word == 0 {
                    return None;
                }
                let bit = word.trailing_zeros() as usize;
                word &= word - 1;
                Some(Country((at * 64 + bit) as u8))
            })
        })
    }
}

impl FromIterator<Country> for CountrySet {
    fn from_iter<I: IntoIterator<Item = Country>>(countries: I) -> Self {
        let mut set = Self::default();
        countries.into_iter().for_each(|country| set.insert(country));
        set
    }
}

impl Codes for Country {
    type Set = CountrySet;
    type Stored<'a> = &'a [u8];

    const COUNT: usize = Self::COUNT;

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
        Self::all()
    }

    fn of(set: &CountrySet) -> impl Iterator<Item = Self> {
        set.iter()
    }

    fn is_in(self, set: &CountrySet) -> bool {
        set.contains(self)
    }

    #[inline]
    fn places(set: &CountrySet) -> Places {
        set.0
    }

    /// Alpha-2 codes without separators, sorted.
    fn encode(set: &CountrySet, tag: u32, ad: &mut Vec<u8>) {
        if !set.is_empty() {
            let codes: String = set.iter().map(Self::code).collect();
            write_bytes(tag, codes.as_bytes(), ad);
        }
    }

    fn take<'a>(stored: &mut &'a [u8], value: Value<'a>) -> Option<()> {
        let Value::Bytes(codes) = value else { return None };
        *stored = codes;
        Some(())
    }

    fn decode(stored: &[u8]) -> Option<CountrySet> {
        let country = |code| Self::from_code(str::from_utf8(code).ok()?);
        stored.chunks(2).map(country).collect()
    }
}

impl Choice for Country {
    const NAME: &'static str = "country";
    const TAG: &'static [u32; 1] = &[12];
    const RULE: &'static str = "must be an ISO 3166-1 alpha-2 code in capitals";
    const RULE_ASKED: &'static str = "must be an ISO 3166-1 alpha-2 code in capitals, or unknown";
    const SCHEMA: &'static str = "Country";
    const DESCRIPTION: &'static str = "A country, by ISO 3166-1 alpha-2.";
    const ASKED: &'static str = "The visitor's country, by ISO 3166-1 alpha-2.";
    const TARGETED: &'static str = "Countries that it is for.";
    const EXAMPLES: &'static [&'static str] = &["TW", "JP"];

    /// 20 % empty; else 1 to 6 draws out of the 60 most populous, the n-th with a weight of 1/n.
    fn sample(rng: &mut ChaCha8Rng) -> CountrySet {
        if rng.random_bool(0.2) {
            return CountrySet::default();
        }
        let Populous { countries, weights } = &*POPULOUS;
        let total = weights.last().copied().unwrap_or(0.0);
        let draws = rng.random_range(1..=6);
        let draw = |_| {
            let drawn = rng.random_range(0.0..total);
            countries[weights.partition_point(|sum| *sum <= drawn)]
        };
        (0..draws).map(draw).collect()
    }
}

/// The 60 most populous countries, the most populous first (United Nations, World Population Prospects 2024).
const MOST_POPULOUS: [&str; 60] = [
    "IN", "CN", "US", "ID", "PK", "NG", "BR", "BD", "RU", "ET", "MX", "JP", "EG", "PH", "CD", "VN",
    "IR", "TR", "DE", "TH", "TZ", "GB", "FR", "ZA", "IT", "KE", "MM", "CO", "KR", "SD", "UG", "ES",
    "DZ", "IQ", "AR", "AF", "YE", "CA", "PL", "MA", "AO", "UA", "UZ", "MY", "MZ", "GH", "PE", "SA",
    "MG", "CI", "NP", "CM", "VE", "NE", "AU", "KP", "SY", "ML", "BF", "TW",
];

struct Populous {
    countries: Vec<Country>,
    /// The running sum of their weights.
    weights: Vec<f64>,
}

static POPULOUS: LazyLock<Populous> = LazyLock::new(|| {
    let countries = MOST_POPULOUS.iter().filter_map(|code| Country::from_code(code)).collect();
    let sum = |sum: &mut f64, n: usize| {
        *sum += 1.0 / n as f64;
        Some(*sum)
    };
    Populous { countries, weights: (1..=MOST_POPULOUS.len()).scan(0.0, sum).collect() }
});

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_leads_back_to_its_country() {
        assert_eq!(Country::all().len(), 249);
        for country in Country::all() {
            assert_eq!(Country::from_code(country.code()), Some(country));
        }
    }

    #[test]
    fn invalid_country_codes_are_refused() {
        for code in ["", "T", "tw", "Tw", "TWN", "ZZ", "XK", "1W", "台灣"] {
            assert_eq!(Country::from_code(code), None, "{code}");
        }
    }

    #[test]
    fn a_set_folds_duplicates_and_iterates_in_order() {
        let codes = ["US", "TW", "AD", "ZW", "TW"];
        let set: CountrySet = codes.iter().filter_map(|code| Country::from_code(code)).collect();
        let listed: Vec<_> = set.iter().map(Country::code).collect();
        assert_eq!(listed, ["AD", "TW", "US", "ZW"]);
        assert_eq!(set.len(), 4);
        assert!(!set.is_empty() && CountrySet::default().is_empty());
        let all: CountrySet = Country::all().collect();
        assert!(all.iter().eq(Country::all()));
    }
}
