//! Any history of creations, changes and deletions leaves answers equal to those of a plain scan: the same
//! ads, in the same order, with the same total, on every page. A failure prints the shortest history that
//! still fails; `PROPTEST_RNG_SEED` repeats a run.

use std::time::SystemTime;

use placard_model::{
    Ad, AgeRange, Country, CountrySet, Delivery, Filter, Gender, GenderSet, Platform, PlatformSet,
    Query, Spec, Targeting, Timestamp,
};
use placard_testkit::scan::Scan;
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;
use proptest::test_runner::{Config, TestRunner};
use serde_json::{Map, Value, json};
use uuid::Uuid;

use crate::server::{ADS, BATCH, Server, with};

/// Few ids, so that histories come back to the same ads.
const IDS: u128 = 24;
const COUNTRIES: [&str; 4] = ["DE", "JP", "TW", "US"];
const HOUR: i64 = 3_600_000_000;

/// One step of a history; an ad is named by its number.
#[derive(Debug, Clone)]
enum Step {
    Create(u128, Form),
    CreateMany(Vec<(u128, Form)>),
    Replace(u128, Form),
    /// The fields of the form whose bits are set.
    Patch(u128, Form, u8),
    Delete(u128),
    Ask(Query),
}

/// A spec with times counted in hours from the start of the test.
#[derive(Debug, Clone)]
struct Form {
    starts: i64,
    ends: i64,
    targeting: Targeting,
    delivery: Delivery,
}

impl Form {
    fn spec(&self, now: Timestamp) -> Spec {
        Spec {
            title: format!("From {} to {}", self.starts, self.ends),
            content: format!("{:?}", self.targeting),
            start_at: now.saturating_add_micros(self.starts * HOUR),
            end_at: now.saturating_add_micros(self.ends * HOUR),
            targeting: self.targeting,
            delivery: self.delivery.clone(),
        }
    }
}

fn some<T: Copy + std::fmt::Debug + 'static, S: FromIterator<T> + std::fmt::Debug>(
    values: &'static [T],
) -> impl Strategy<Value = S> {
    vec(select(values), 0..=values.len()).prop_map(S::from_iter)
}

fn targeting() -> impl Strategy<Value = Targeting> {
    let edges = || prop_oneof![Just(1u8), Just(24), Just(25), Just(100), 1u8..=100];
    let age = option::of((edges(), edges()))
        .prop_map(|ages| ages.map(|(a, b)| AgeRange { start: a.min(b), end: a.max(b) }));
    let countries = vec(select(&COUNTRIES[..]), 0..4)
        .prop_map(|codes| codes.into_iter().filter_map(Country::from_code).collect::<CountrySet>());
    let genders = some::<_, GenderSet>(Gender::ALL);
    let platforms = some::<_, PlatformSet>(Platform::ALL);
    (age, countries, genders, platforms).prop_map(|(age, country, gender, platform)| Targeting {
        age,
        country,
        gender,
        platform,
    })
}

fn form() -> impl Strategy<Value = Form> {
    // Few ends, so that many ads end together and the id decides; a fifth has not started.
    let starts = prop_oneof![4 => -9i64..=-1, 1 => 1i64..=2];
    (starts, 3i64..=6, targeting(), delivery())
        .prop_map(|(starts, ends, targeting, delivery)| Form { starts, ends, targeting, delivery })
}

fn delivery() -> impl Strategy<Value = Delivery> {
    let link = option::of(Just("https://shop.example/sale".to_owned()));
    let paused = prop_oneof![6 => Just(false), 1 => Just(true)];
    (prop_oneof![Just(1u32), 1u32..=1_000_000], link, paused)
        .prop_map(|(weight, link, paused)| Delivery { pool: None, weight, link, paused })
}

fn filter<T: Copy + std::fmt::Debug + 'static>(
    value: impl Strategy<Value = T>,
) -> impl Strategy<Value = Filter<T>> {
    prop_oneof![
        4 => Just(Filter::Absent),
        1 => Just(Filter::Unknown),
        5 => value.prop_map(Filter::Value),
    ]
}

fn query() -> impl Strategy<Value = Query> {
    let age = filter(prop_oneof![Just(1u8), Just(24), Just(25), Just(100), 1u8..=100]);
    let countries: Vec<_> = COUNTRIES.into_iter().filter_map(Country::from_code).collect();
    let country = filter(select(countries));
    let (gender, platform) = (filter(select(Gender::ALL)), filter(select(Platform::ALL)));
    let limit = prop_oneof![Just(1u32), Just(100), 1u32..=30];
    (age, country, gender, platform, 0u32..=30, limit).prop_map(
        |(age, country, gender, platform, offset, limit)| Query {
            age,
            country,
            gender,
            platform,
            offset,
            limit,
        },
    )
}

fn step() -> impl Strategy<Value = Step> {
    let id = || 1..=IDS;
    prop_oneof![
        4 => (id(), form()).prop_map(|(id, form)| Step::Create(id, form)),
        2 => vec((id(), form()), 1..12).prop_map(Step::CreateMany),
        2 => (id(), form()).prop_map(|(id, form)| Step::Replace(id, form)),
        3 => (id(), form(), any::<u8>()).prop_map(|(id, form, bits)| Step::Patch(id, form, bits)),
        2 => id().prop_map(Step::Delete),
        6 => query().prop_map(Step::Ask),
    ]
}

#[test]
fn answers_equal_those_of_a_scan() {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let runtime = runtime.expect("a runtime can be started");
    let config = Config { cases: 48, failure_persistence: None, ..Config::default() };
    let histories = (vec(step(), 1..60), vec(query(), 8));
    let checked = TestRunner::new(config).run(&histories, |(steps, queries)| {
        let last = queries.into_iter().map(Step::Ask);
        runtime.block_on(run(steps.into_iter().chain(last)))
    });
    checked.unwrap_or_else(|error| panic!("{error}"));
}

async fn run(steps: impl Iterator<Item = Step>) -> Result<(), TestCaseError> {
    let server = Server::in_process().await;
    let since = SystemTime::UNIX_EPOCH.elapsed().expect("it is after 1970");
    let micros = i64::try_from(since.as_micros()).expect("it is before the year 292277");
    let mut history = History {
        server,
        scan: Scan::default(),
        now: Timestamp::EPOCH.saturating_add_micros(micros),
        version: 0,
    };
    for step in steps {
        history.take(step).await?;
    }
    Ok(())
}

/// The server, and what the same history leaves in a plain list.
struct History {
    server: Server,
    scan: Scan,
    now: Timestamp,
    version: u64,
}

impl History {
    async fn take(&mut self, step: Step) -> Result<(), TestCaseError> {
        let now = self.now;
        match step {
            Step::Create(id, form) => {
                let id = Uuid::from_u128(id);
                let spec = form.spec(now);
                let answer =
                    self.server.post(ADS, &with(spec.to_json(), json!({ "id": id }))).await;
                let free = self.scan.get(id).is_none();
                prop_assert_eq!(answer.status, if free { 201 } else { 409 });
                if free {
                    self.put(id, spec, &answer.json());
                }
            }
            Step::CreateMany(items) => {
                let body: Vec<_> = items
                    .iter()
                    .map(|(id, form)| {
                        with(form.spec(now).to_json(), json!({ "id": Uuid::from_u128(*id) }))
                    })
                    .collect();
                let answer = self.server.post(BATCH, &body.into()).await.is(200).json();
                for (at, (id, form)) in items.into_iter().enumerate() {
                    let (id, item) = (Uuid::from_u128(id), &answer["items"][at]);
                    let free = self.scan.get(id).is_none();
                    prop_assert_eq!(item["status"].as_u64(), Some(if free { 201 } else { 409 }));
                    if free {
                        self.put(id, form.spec(now), item);
                    }
                }
            }
            Step::Replace(id, form) => {
                let spec = form.spec(now);
                self.change("PUT", id, &spec.to_json(), |_| spec.clone()).await?;
            }
            Step::Patch(id, form, bits) => {
                let spec = form.spec(now);
                let patch = patch(&spec, bits);
                self.change("PATCH", id, &patch, |old| patched(old, &spec, bits)).await?;
            }
            Step::Delete(id) => {
                let id = Uuid::from_u128(id);
                let answer = self.server.call("DELETE", &format!("{ADS}/{id}")).send().await;
                let known = self.scan.delete(id);
                prop_assert_eq!(answer.status, if known { 200 } else { 404 });
                self.version += u64::from(known);
            }
            Step::Ask(query) => {
                let text = parameters(&query);
                let answer = self.server.get(&format!("{ADS}?{text}")).await.is(200);
                prop_assert_eq!(answer.version(), self.version);
                let listed = self.server.list(&text).await;
                let (ids, total) = self.scan.search(&query, now);
                let ids: Vec<_> = ids.iter().map(Uuid::to_string).collect();
                prop_assert_eq!(listed, (ids, total), "{}", text);
            }
        }
        Ok(())
    }

    async fn change(
        &mut self,
        method: &str,
        id: u128,
        body: &Value,
        becomes: impl FnOnce(&Spec) -> Spec,
    ) -> Result<(), TestCaseError> {
        let id = Uuid::from_u128(id);
        let answer = self.server.call(method, &format!("{ADS}/{id}")).json(body).send().await;
        let Some(spec) = self.scan.get(id).map(|ad| becomes(&ad.spec)) else {
            prop_assert_eq!(answer.status, 404);
            return Ok(());
        };
        prop_assert_eq!(answer.status, 200);
        let shown = answer.json();
        if body == &json!({}) {
            let version = self.scan.get(id).map(|ad| ad.version);
            prop_assert_eq!(shown["version"].as_u64(), version);
            return Ok(());
        }
        for (name, value) in spec.to_json().as_object().into_iter().flatten() {
            prop_assert_eq!(&shown[name], value, "{}", name);
        }
        self.put(id, spec, &shown);
        Ok(())
    }

    /// The server has taken this; `shown` says at which version.
    fn put(&mut self, id: Uuid, spec: Spec, shown: &Value) {
        self.version += 1;
        assert_eq!(shown["version"], self.version);
        self.scan.put(Ad { id, version: self.version, created_at: self.now, spec });
    }
}

/// The merge patch that brings the chosen parts of `spec`: an open dimension as null.
fn patch(spec: &Spec, bits: u8) -> Value {
    let whole = spec.to_json();
    let parts: [&[&str]; 7] = [
        &["title", "content"],
        &["start_at", "end_at"],
        &["age_start", "age_end"],
        &["country"],
        &["gender"],
        &["platform"],
        &["weight", "link", "paused"],
    ];
    let chosen = (0..).zip(parts).filter(|(bit, _)| bits >> bit & 1 == 1);
    let names = chosen.flat_map(|(_, names)| names.iter().copied());
    names.map(|name| (name.to_owned(), whole[name].clone())).collect::<Map<_, _>>().into()
}

/// What [`patch`] means.
fn patched(old: &Spec, new: &Spec, bits: u8) -> Spec {
    let from = |bit: u8| if bits >> bit & 1 == 1 { new } else { old };
    Spec {
        title: from(0).title.clone(),
        content: from(0).content.clone(),
        start_at: from(1).start_at,
        end_at: from(1).end_at,
        targeting: Targeting {
            age: from(2).targeting.age,
            country: from(3).targeting.country,
            gender: from(4).targeting.gender,
            platform: from(5).targeting.platform,
        },
        delivery: from(6).delivery.clone(),
    }
}

fn parameters(query: &Query) -> String {
    let Query { age, country, gender, platform, offset, limit } = query;
    let mut text = format!("offset={offset}&limit={limit}");
    let mut add = |name: &str, filter: Filter<String>| match filter {
        Filter::Absent => {}
        Filter::Unknown => text.push_str(&format!("&{name}=unknown")),
        Filter::Value(value) => text.push_str(&format!("&{name}={value}")),
    };
    add("age", age.map(|age| age.to_string()));
    add("country", country.map(|country| country.to_string()));
    add("gender", gender.map(|gender| gender.code().to_owned()));
    add("platform", platform.map(|platform| platform.code().to_owned()));
    text
}
