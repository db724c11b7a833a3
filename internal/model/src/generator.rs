//! A seeded generator of ads, for the demonstration, for loading a server, and for tests. The same seed and
//! the same `now` give the same ads.
//!
//! | what | how it is drawn |
//! |---|---|
//! | targeting | as each dimension says |
//! | end | evenly 1 hour to 30 days from now |
//! | start | 80 % within the 30 days before now; else evenly between now and the end |
//! | content | 40 to 200 characters |

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::{Delivery, Spec, Targeting, Timestamp};

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
}

impl Generator {
    /// The ads of `seed`, with windows around `now`.
    pub fn new(seed: u64, now: Timestamp) -> Self {
        Self { rng: ChaCha8Rng::seed_from_u64(seed), now }
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
        let targeting = Targeting::sample(&mut self.rng);
        let title = self.sentence(12);
        let chars = self.rng.random_range(40..=192);
        Some(Spec {
            title,
            content: self.sentence(chars),
            start_at: self.now.saturating_add_micros(starts_in),
            end_at: self.now.saturating_add_micros(ends_in),
            targeting,
            delivery: Delivery::default(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{CountrySet, Fields};

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
    fn same_seed_generates_the_same_ads() {
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
        assert!(near(share(&|ad| ad.targeting.country.is_empty()), 0.2));
        assert!(near(share(&|ad| ad.targeting.gender.is_empty()), 0.4));
        assert!(near(share(&|ad| ad.targeting.platform.is_empty()), 0.4));
        assert!(near(share(&|ad| ad.start_at > now()), 0.2));
        let mut seen = CountrySet::default();
        ads.iter().flat_map(|ad| ad.targeting.country.iter()).for_each(|c| seen.insert(c));
        assert_eq!(seen.len(), 60);
    }
}
