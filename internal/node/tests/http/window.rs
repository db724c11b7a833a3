//! An ad's window, to the microsecond: every answer is compared with the server's own clock, read before the request and
//! after the answer. Whatever the moment in between at which it was judged, what was over before, or not begun after,
//! must not be there, and what lasted all the while must.

use std::collections::HashSet;
use std::ops::Range;
use std::time::Duration;

use placard_model::Timestamp;
use placard_replica::Clock;
use serde_json::{Value, json};

use crate::both;
use crate::server::{ADS, BATCH, Server, ad_with, all};

both!(answers_have_exactly_the_ads_within_their_window);

/// Ads, all on one page.
const ADS_MAX: i64 = 100;
/// Between the beginnings of two ads, so that one begins or ends during most requests: 7.3 ms, never a whole one.
const APART: i64 = 7_301;
/// How long each lasts.
const LASTS: i64 = 400_003;
/// How long they take to be created.
const AHEAD: i64 = 1_000_000;

struct Window {
    id: String,
    begins: Timestamp,
    ends: Timestamp,
}

/// What there may be at a moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Status {
    Scheduled,
    Active,
    Ended,
}

impl Window {
    fn at(&self, moment: Timestamp) -> Status {
        match moment {
            _ if moment < self.begins => Status::Scheduled,
            _ if moment < self.ends => Status::Active,
            _ => Status::Ended,
        }
    }

    /// Checks an answer that was judged at a moment of this range. Returns its status if no other one was possible.
    fn check(&self, said: Status, range: &Range<Timestamp>, whose: &str) -> Option<Status> {
        let (first, last) = (self.at(range.start), self.at(range.end));
        let right = first as u8 <= said as u8 && said as u8 <= last as u8;
        let Self { begins, ends, .. } = self;
        assert!(right, "{whose} says {said:?} of {begins} to {ends}, asked {range:?}");
        (first == last).then_some(first)
    }
}

async fn windows(server: &Server, clock: &Clock) -> Vec<Window> {
    let first = clock.now().saturating_add_micros(AHEAD);
    let span = |nth: i64| {
        let begins = first.saturating_add_micros(nth * APART);
        (begins, begins.saturating_add_micros(LASTS))
    };
    let ad = |(begins, ends): (Timestamp, Timestamp)| {
        ad_with(json!({ "start_at": begins.to_string(), "end_at": ends.to_string() }))
    };
    let ads: Vec<Value> = (0..ADS_MAX).map(|nth| ad(span(nth))).collect();
    let created = server.post(BATCH, &Value::from(ads)).await.is(200).json();
    let items = created["items"].as_array().expect("a batch's answer has items");
    let id = |item: &Value| item["id"].as_str().expect("an ad has an id").to_owned();
    let with_id = |(nth, item)| {
        let (begins, ends) = span(nth);
        Window { id: id(item), begins, ends }
    };
    (0..).zip(items).map(with_id).collect()
}

/// Asks for the listing until all windows are over. Returns the statuses that were seen when no other one was possible.
async fn list(server: &Server, clock: &Clock, windows: &[Window]) -> HashSet<Status> {
    let mut certain = HashSet::new();
    let over = windows.last().expect("there are ads").ends;
    loop {
        let asked = clock.now();
        let page = server.get(&format!("{ADS}?limit={ADS_MAX}")).await.is(200).json();
        let range = asked..clock.now();
        let ads = page["ads"].as_array().expect("a listing has ads");
        let listed: HashSet<_> = ads.iter().filter_map(|ad| ad["id"].as_str()).collect();
        assert_eq!((listed.len(), &page["total"]), (ads.len(), &json!(ads.len())));
        for window in windows {
            // An ad that is not listed is scheduled or has ended: the one that was possible at the start of the range
            // is assumed.
            let said = match (listed.contains(window.id.as_str()), window.at(range.start)) {
                (true, _) => Status::Active,
                (false, Status::Scheduled) => Status::Scheduled,
                (false, _) => Status::Ended,
            };
            certain.extend(window.check(said, &range, "the listing"));
        }
        if asked > over {
            return certain;
        }
        // In process nothing is waited for; the others are to have their turns.
        tokio::task::yield_now().await;
    }
}

/// Asks for the ads in turn until all windows are over. Returns the statuses that were seen when no other one was
/// possible.
async fn by_id(server: &Server, clock: &Clock, windows: &[Window]) -> HashSet<Status> {
    let mut certain = HashSet::new();
    let over = windows.last().expect("there are ads").ends;
    loop {
        // The one that begins or ends next is the one to ask for.
        let now = clock.now();
        let soon = |moment: Timestamp| (moment > now).then_some(moment);
        let next = windows.iter().filter_map(|window| {
            Some((soon(window.begins).or_else(|| soon(window.ends))?, window))
        });
        let Some((_, window)) = next.min_by_key(|(moment, _)| *moment) else { return certain };
        loop {
            let asked = clock.now();
            let answer = server.get(&format!("{ADS}/{}", window.id)).await;
            let range = asked..clock.now();
            let said = if answer.status == 404 {
                // It has ended, and an entry has deleted it.
                Status::Ended
            } else {
                match answer.is(200).json()["status"].as_str() {
                    Some("scheduled") => Status::Scheduled,
                    Some("active") => Status::Active,
                    Some("ended") => Status::Ended,
                    other => panic!("{other:?} is no status"),
                }
            };
            certain.extend(window.check(said, &range, "the ad"));
            tokio::task::yield_now().await;
            // Until what was to come has come.
            if window.at(asked) != window.at(now) || asked > over {
                break;
            }
        }
    }
}

async fn answers_have_exactly_the_ads_within_their_window(server: Server) {
    let clock = server.clock();
    let windows = windows(&server, &clock).await;
    let everything = async {
        let (listings, ads) = tokio::join!(
            all((0..2).map(|_| list(&server, &clock, &windows))),
            all((0..2).map(|_| by_id(&server, &clock, &windows))),
        );
        [listings, ads].concat()
    };
    let certain = tokio::time::timeout(Duration::from_secs(60), everything).await;
    for certain in certain.expect("the ads end") {
        let all = HashSet::from([Status::Scheduled, Status::Active, Status::Ended]);
        assert_eq!(certain, all, "nothing was certain");
    }
}
