//! A seeded generator of ads, for the demonstration, for loading a server, and for tests. The same seed and
//! the same `now` give the same ads.
//!
//! | what | how it is drawn |
//! |---|---|
//! | age | 30 % open; else it starts at 1 to 90 and spans 5 to 40 years, up to 100 |
//! | countries | 20 % open; else 1 to 6 draws out of the 60 most populous, the n-th with a weight of 1/n |
//! | platforms, genders | 40 % open; else each value with a chance of a half, at least one |
//! | end | evenly 1 hour to 30 days from now |
//! | start | 80 % within the 30 days before now; else evenly between now and the end |
//! | content | 40 to 200 characters |

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::limits::AGE_MAX;
use crate::{
    AgeRange, Country, CountrySet, Gender, GenderSet, Platform, PlatformSet, Spec, Targeting,
    Timestamp,
};

/// The 60 most populous countries, the most populous first (United Nations, World Population Prospects 2024).
const COUNTRIES: [&str; 60] = [
    "IN", "CN", "US", "ID", "PK", "NG", "BR", "BD", "RU", "ET", "MX", "JP", "EG", "PH", "CD", "VN",
    "IR", "TR", "DE", "TH", "TZ", "GB", "FR", "ZA", "IT", "KE", "MM", "CO", "KR", "SD", "UG", "ES",
    "DZ", "IQ", "AR", "AF", "YE", "CA", "PL", "MA", "AO", "UA", "UZ", "MY", "MZ", "GH", "PE", "SA",
    "MG", "CI", "NP", "CM", "VE", "NE", "AU", "KP", "SY", "ML", "BF", "TW",
];

const WORDS: [&str; 24] = [
    "autumn", "bargain", "coffee", "concert", "cycling", "daily", "early", "family", "fresh",
    "garden", "holiday", "kitchen", "limited", "market", "mobile", "music", "night", "offer",
    "outdoor", "reading", "spring", "ticket", "travel", "weekend",
];

const HOUR: i64 = 3_600_000_000;
const DAY: i64 = 24 * HOUR;

/// An endless sequence of ads.
#[derive(Debug, Clone)]
pub struct Generator {
    rng: ChaCha8Rng,
    now: Timestamp,
    countries: Vec<Country>,
    /// The running sum of the countries' weights.
    weights: Vec<f64>,
}

impl Generator {
    /// The ads of `seed`, with windows around `now`.
    pub fn new(seed: u64, now: Timestamp) -> Self {
        let countries = COUNTRIES.iter().filter_map(|code| Country::from_code(code)).collect();
        let weights = (1..=COUNTRIES.len())
            .scan(0.0, |sum, n| {
                *sum += 1.0 / n as f64;
                Some(*sum)
            })
            .collect();
        Self { rng: ChaCha8Rng::seed_from_u64(seed), now, countries, weights }
    }

    fn country(&mut self) -> Country {
        let total = self.weights.last().copied().unwrap_or(0.0);
        let drawn = self.rng.random_range(0.0..total);
        self.countries[self.weights.partition_point(|sum| *sum <= drawn)]
    }

    fn targeting(&mut self) -> Targeting {
        let age = (!self.rng.random_bool(0.3)).then(|| {
            let start = self.rng.random_range(1..=90);
            let span = self.rng.random_range(5..=40);
            AgeRange { start, end: (start + span).min(AGE_MAX) }
        });
        let countries: CountrySet = if self.rng.random_bool(0.2) {
            CountrySet::default()
        } else {
            (0..self.rng.random_range(1..=6)).map(|_| self.country()).collect()
        };
        let genders: GenderSet = self.some_of(Gender::ALL);
        let platforms: PlatformSet = self.some_of(Platform::ALL);
        Targeting { age, countries, genders, platforms }
    }

    fn some_of<T: Copy, S: FromIterator<T>>(&mut self, values: &[T]) -> S {
        if self.rng.random_bool(0.4) {
            return S::from_iter([]);
        }
        let drawn: Vec<T> = values.iter().copied().filter(|_| self.rng.random_bool(0.5)).collect();
        if drawn.is_empty() {
            let one = values[self.rng.random_range(0..values.len())];
            return S::from_iter([one]);
        }
        S::from_iter(drawn)
    }

    fn sentence(&mut self, chars: usize) -> String {
        let mut text = String::with_capacity(chars + 8);
        while text.len() < chars {
            if !text.is_empty() {
                text.push(' ');
            }
            text.push_str(WORDS[self.rng.random_range(0..WORDS.len())]);
        }
        text
    }
}

impl Iterator for Generator {
    type Item = Spec;

    fn next(&mut self) -> Option<Spec> {
        let ends_in = self.rng.random_range(HOUR..30 * DAY);
        let starts_in = if self.rng.random_bool(0.8) {
            -self.rng.random_range(0..30 * DAY)
        } else {
            self.rng.random_range(0..ends_in)
        };
        let targeting = self.targeting();
        let title = self.sentence(12);
        let chars = self.rng.random_range(40..=192);
        Some(Spec {
            title,
            content: self.sentence(chars),
            start_at: self.now.saturating_add_micros(starts_in),
            end_at: self.now.saturating_add_micros(ends_in),
            targeting,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Fields;

    fn now() -> Timestamp {
        Timestamp::from_micros(1_800_000_000_000_000).unwrap()
    }

    #[test]
    fn every_ad_is_one_that_a_client_may_send() {
        for spec in Generator::new(7, now()).take(2_000) {
            let json = serde_json::to_vec(&spec.to_json()).unwrap();
            let creation = Fields::from_json(&json).and_then(Fields::into_creation);
            assert_eq!(creation.map(|creation| creation.spec), Ok(spec));
        }
    }

    #[test]
    fn a_seed_names_its_ads() {
        let ads = |seed| Generator::new(seed, now()).take(50).collect::<Vec<_>>();
        assert_eq!(ads(1), ads(1));
        assert_ne!(ads(1), ads(2));
    }

    #[test]
    fn shares_are_as_documented() {
        let ads: Vec<_> = Generator::new(3, now()).take(20_000).collect();
        let share = |fits: &dyn Fn(&Spec) -> bool| {
            ads.iter().filter(|ad| fits(ad)).count() as f64 / ads.len() as f64
        };
        let near = |share: f64, expected: f64| (share - expected).abs() < 0.02;
        assert!(near(share(&|ad| ad.targeting.age.is_none()), 0.3));
        assert!(near(share(&|ad| ad.targeting.countries.is_empty()), 0.2));
        assert!(near(share(&|ad| ad.targeting.genders.is_empty()), 0.4));
        assert!(near(share(&|ad| ad.targeting.platforms.is_empty()), 0.4));
        assert!(near(share(&|ad| ad.start_at > now()), 0.2));
        let mut seen = CountrySet::default();
        ads.iter().flat_map(|ad| ad.targeting.countries.iter()).for_each(|c| seen.insert(c));
        assert_eq!(seen.len(), 60);
    }
}
