//! The main job: which ads a visitor gets, in which order, on which page.

use serde_json::{Value, json};

use crate::both;
use crate::server::{ADS, Server, ad_with};

both!(
    an_empty_server_lists_nothing,
    filter_matches_targeted_and_open_ads,
    unknown_matches_only_open_ads,
    filters_are_joined_by_and,
    the_order_is_by_end_then_by_id,
    offset_and_limit_cut_pages_out_of_the_order,
    the_default_page_has_ten,
    listing_has_only_ads_served_now,
    changes_show_at_once,
    a_listed_ad_is_the_created_one,
    parameters_may_be_encoded,
);

/// The `n`-th of a test's ids.
fn id(n: usize) -> String {
    format!("0190a6c2-0000-7000-8000-{n:012x}")
}

/// The numbers of the ads that a query finds.
async fn found(server: &Server, query: &str) -> Vec<usize> {
    let (ids, total) = server.list(query).await;
    assert_eq!(ids.len() as u64, total, "{query}");
    let number = |id: &String| usize::from_str_radix(&id[24..], 16).expect("an id of this test");
    ids.iter().map(number).collect()
}

async fn create_all(server: &Server, ads: &[Value]) {
    for (n, fields) in ads.iter().enumerate() {
        let mut ad = ad_with(fields.clone());
        ad["id"] = id(n).into();
        server.create(&ad).await;
    }
}

async fn an_empty_server_lists_nothing(server: Server) {
    let listed = server.get(ADS).await.is(200);
    assert_eq!(listed.json(), json!({ "ads": [], "total": 0 }));
    assert_eq!(listed.version(), 0);
    assert_eq!(listed.header("content-type"), Some("application/json"));
}

async fn filter_matches_targeted_and_open_ads(server: Server) {
    create_all(
        &server,
        &[
            json!({}),
            json!({ "age_start": 18, "age_end": 24 }),
            json!({ "country": ["TW", "JP"] }),
            json!({ "gender": ["F"] }),
            json!({ "gender": ["M", "F"] }),
            json!({ "platform": ["ios"] }),
        ],
    )
    .await;
    assert_eq!(found(&server, "").await, [0, 1, 2, 3, 4, 5]);
    assert_eq!(found(&server, "age=17").await, [0, 2, 3, 4, 5]);
    assert_eq!(found(&server, "age=18").await, [0, 1, 2, 3, 4, 5]);
    assert_eq!(found(&server, "age=24").await, [0, 1, 2, 3, 4, 5]);
    assert_eq!(found(&server, "age=25").await, [0, 2, 3, 4, 5]);
    assert_eq!(found(&server, "country=JP").await, [0, 1, 2, 3, 4, 5]);
    assert_eq!(found(&server, "country=US").await, [0, 1, 3, 4, 5]);
    assert_eq!(found(&server, "gender=F").await, [0, 1, 2, 3, 4, 5]);
    assert_eq!(found(&server, "gender=M").await, [0, 1, 2, 4, 5]);
    assert_eq!(found(&server, "platform=ios").await, [0, 1, 2, 3, 4, 5]);
    assert_eq!(found(&server, "platform=android").await, [0, 1, 2, 3, 4]);
}

async fn unknown_matches_only_open_ads(server: Server) {
    create_all(
        &server,
        &[
            json!({}),
            json!({ "age_start": 1, "age_end": 100 }),
            json!({ "country": ["TW"] }),
            json!({ "gender": ["M", "F"] }),
            json!({ "platform": ["android", "ios", "web"] }),
            json!({ "gender": ["F"], "platform": ["ios"] }),
        ],
    )
    .await;
    assert_eq!(found(&server, "age=unknown").await, [0, 2, 3, 4, 5]);
    assert_eq!(found(&server, "country=unknown").await, [0, 1, 3, 4, 5]);
    assert_eq!(found(&server, "gender=unknown").await, [0, 1, 2, 4]);
    assert_eq!(found(&server, "platform=unknown").await, [0, 1, 2, 3]);
    assert_eq!(found(&server, "platform=unknown&gender=M").await, [0, 1, 2, 3]);
    assert_eq!(found(&server, "platform=ios&gender=unknown&country=US").await, [0, 1, 4]);
    let all = "age=unknown&country=unknown&gender=unknown&platform=unknown";
    assert_eq!(found(&server, all).await, [0]);
    assert_eq!(server.list("age=unknown&offset=1&limit=2").await, (vec![id(2), id(3)], 5));
}

async fn filters_are_joined_by_and(server: Server) {
    create_all(
        &server,
        &[
            json!({ "age_start": 20, "age_end": 30, "country": ["TW"], "gender": ["F"] }),
            json!({ "age_start": 20, "age_end": 30, "country": ["TW"], "gender": ["M"] }),
            json!({ "country": ["TW"], "platform": ["ios"] }),
            json!({ "gender": ["F"], "platform": ["web"] }),
        ],
    )
    .await;
    assert_eq!(found(&server, "age=24&gender=F&country=TW&platform=ios").await, [0, 2]);
    assert_eq!(found(&server, "platform=web&country=TW&gender=F&age=31").await, [3]);
    assert_eq!(found(&server, "age=31&gender=M&country=US").await, [0; 0]);
}

async fn the_order_is_by_end_then_by_id(server: Server) {
    let end = |end: &str| json!({ "end_at": end });
    create_all(
        &server,
        &[
            end("2099-01-01T00:00:00Z"),
            end("2097-01-01T00:00:00Z"),
            end("2098-01-01T00:00:00.000001Z"),
            end("2098-01-01T00:00:00Z"),
            end("2097-01-01T08:00:00+08:00"),
            end("2097-01-01T00:00:00Z"),
        ],
    )
    .await;
    assert_eq!(found(&server, "").await, [1, 4, 5, 3, 2, 0]);
}

async fn offset_and_limit_cut_pages_out_of_the_order(server: Server) {
    let all: Vec<_> = (0..105).map(id).collect();
    let ads: Vec<_> = all.iter().rev().map(|id| ad_with(json!({ "id": id }))).collect();
    server.post(&format!("{ADS}/batch"), &Value::from(ads)).await.is(200);
    for (query, expected) in [
        ("offset=0&limit=1", 0..1),
        ("limit=100", 0..100),
        ("offset=100&limit=100", 100..105),
        ("offset=104&limit=1", 104..105),
        ("offset=105&limit=1", 105..105),
        ("offset=10000000", 105..105),
        ("offset=7", 7..17),
        ("offset=3&limit=50", 3..53),
    ] {
        let (ids, total) = server.list(query).await;
        assert_eq!((ids.as_slice(), total), (&all[expected], 105), "{query}");
    }
}

async fn the_default_page_has_ten(server: Server) {
    create_all(&server, &vec![json!({}); 12]).await;
    let (ids, total) = server.list("").await;
    assert_eq!((ids, total), ((0..10).map(id).collect(), 12));
}

async fn listing_has_only_ads_served_now(server: Server) {
    let in_an_hour = placard_model::Timestamp::EPOCH
        .saturating_add_micros(micros_now() + 3_600_000_000)
        .to_string();
    create_all(
        &server,
        &[
            json!({ "start_at": in_an_hour }),
            json!({ "end_at": in_an_hour }),
            json!({ "start_at": "2098-01-01T00:00:00Z" }),
        ],
    )
    .await;
    assert_eq!(found(&server, "").await, [1]);
}

fn micros_now() -> i64 {
    let since = std::time::SystemTime::UNIX_EPOCH.elapsed().expect("it is after 1970");
    i64::try_from(since.as_micros()).expect("it is before the year 292277")
}

async fn changes_show_at_once(server: Server) {
    create_all(&server, &[json!({ "country": ["TW"] }), json!({})]).await;
    let path = format!("{ADS}/{}", id(0));
    server.call("PATCH", &path).json(&json!({ "country": ["JP"] })).send().await.is(200);
    assert_eq!(found(&server, "country=TW").await, [1]);
    assert_eq!(found(&server, "country=JP").await, [0, 1]);
    server
        .call("PATCH", &path)
        .json(&json!({ "end_at": "2099-06-01T00:00:00Z" }))
        .send()
        .await
        .is(200);
    assert_eq!(found(&server, "country=JP").await, [1, 0]);
    server.call("PUT", &path).json(&ad_with(json!({ "gender": ["M"] }))).send().await.is(200);
    assert_eq!(found(&server, "country=TW").await, [0, 1]);
    assert_eq!(found(&server, "gender=F").await, [1]);
    server.call("DELETE", &path).send().await.is(200);
    assert_eq!(found(&server, "").await, [1]);
}

async fn a_listed_ad_is_the_created_one(server: Server) {
    let created =
        server.create(&ad_with(json!({ "country": ["TW"], "age_start": 3, "age_end": 9 }))).await;
    let listed = server.get(ADS).await.is(200);
    let mut one = listed.json()["ads"][0].clone();
    one.as_object_mut().expect("an object").remove("status");
    assert_eq!(one, created.json());
    assert_eq!(listed.version(), created.version());
}

async fn parameters_may_be_encoded(server: Server) {
    create_all(&server, &[json!({ "country": ["TW"] }), json!({ "country": ["JP"] })]).await;
    assert_eq!(found(&server, "%63ountry=%54W").await, [0]);
    assert_eq!(found(&server, "country=TW&").await, [0]);
}
