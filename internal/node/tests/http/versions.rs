//! Read-your-writes: `min_version` and `Placard-Min-Version`.

use placard_testkit::wait::until;
use serde_json::{Value, json};

use crate::both;
use crate::server::{ADS, Answer, BATCH, Server, ad, all};

both!(
    every_answer_about_state_carries_a_version,
    a_reached_version_is_answered_at_once,
    a_version_to_come_is_waited_for,
    a_version_that_does_not_come_is_unavailable,
    higher_of_both_min_versions_counts,
    malformed_min_version_is_refused,
);

async fn every_answer_about_state_carries_a_version(server: Server) {
    let created = server.create(&ad()).await;
    for path in [ADS.to_owned(), format!("{ADS}?country=TW"), created.location()] {
        assert_eq!(server.get(&path).await.is(200).version(), 1);
    }
    // So do refusals that another state would not have brought.
    let path = created.location();
    let patch = |body: Value| server.call("PATCH", &path).key("k").json(&body).send();
    assert_eq!(patch(json!({ "age_start": 5 })).await.is(400).version(), 1);
    assert_eq!(patch(json!({ "title": "Changed" })).await.is(200).version(), 2);
    assert_eq!(patch(json!({ "title": "Other" })).await.is(422).version(), 2);
    assert_eq!(server.create(&ad()).await.version(), 3);
    let batch = |body: Value| server.call("POST", BATCH).key("k").json(&body).send();
    assert_eq!(batch(json!([ad()])).await.is(200).version(), 4);
    assert_eq!(batch(json!([ad(), ad()])).await.is(422).version(), 4);
    let missing = format!("{ADS}/{}", uuid::Uuid::nil());
    assert_eq!(server.get(&missing).await.is(404).version(), 4);
    until("the version on /readyz", async || {
        (server.get("/readyz").await.is(200).version() == 4).then_some(())
    })
    .await;
}

async fn a_reached_version_is_answered_at_once(server: Server) {
    let created = server.create(&ad()).await;
    for path in [ADS.to_owned(), created.location()] {
        for version in ["0", "1"] {
            server.get(&format!("{path}?min_version={version}")).await.is(200);
            server.call("GET", &path).header("placard-min-version", version).send().await.is(200);
        }
    }
}

async fn a_version_to_come_is_waited_for(server: Server) {
    let first = server.create(&ad()).await.location();
    let second = format!("{ADS}/0190a6c2-0000-7000-8000-000000000002");
    let reads = async {
        let by_parameter = |path: &str| server.call("GET", &format!("{path}?min_version=2")).send();
        let by_header = |path| server.call("GET", path).header("placard-min-version", "2").send();
        all([by_parameter(ADS), by_header(ADS), by_parameter(&first), by_header(&second)]).await
    };
    let write = async {
        let mut ad = ad();
        ad["id"] = json!("0190a6c2-0000-7000-8000-000000000002");
        server.create(&ad).await
    };
    let (answers, _) = tokio::join!(reads, write);
    for answer in &answers {
        assert!(answer.clone().is(200).version() >= 2);
    }
    assert_eq!(answers[0].json()["total"], 2);
    assert_eq!(answers[1].json()["total"], 2);
}

async fn a_version_that_does_not_come_is_unavailable(server: Server) {
    let path = server.create(&ad()).await.location();
    let most = i64::MAX.to_string();
    let answers = all([
        server.call("GET", &format!("{ADS}?min_version=2")).send(),
        server.call("GET", &format!("{path}?min_version={most}")).send(),
        server.call("GET", ADS).header("placard-min-version", &most).send(),
        server.call("GET", &path).header("placard-min-version", "2").send(),
    ])
    .await;
    answers.iter().for_each(not_reached);
    server.still_answers().await;
}

fn not_reached(answer: &Answer) {
    let problem = answer.problem(503, "version-not-reached");
    assert_eq!(answer.version(), 1);
    assert_eq!(problem["version"], 1);
    assert!(answer.header("retry-after").is_some());
}

async fn higher_of_both_min_versions_counts(server: Server) {
    server.create(&ad()).await;
    let both = |parameter: &str, header: &str| {
        let call = server.call("GET", &format!("{ADS}?min_version={parameter}"));
        call.header("placard-min-version", header).send()
    };
    both("1", "0").await.is(200);
    let answers = all([both("1", "9"), both("9", "1")]).await;
    answers.iter().for_each(not_reached);
}

async fn malformed_min_version_is_refused(server: Server) {
    let path = server.create(&ad()).await.location();
    for path in [ADS, &path] {
        for wrong in
            ["", "-1", "x", "1.0", "01", "+1", "9223372036854775808", "18446744073709551616"]
        {
            let asked = wrong.replace('+', "%2B");
            let answer = server.get(&format!("{path}?min_version={asked}")).await;
            answer.names(&["parameter min_version"]);
            let call = server.call("GET", path).header("placard-min-version", wrong);
            call.send().await.names(&["header placard-min-version"]);
        }
        let twice = server.get(&format!("{path}?min_version=1&min_version=1")).await;
        twice.names(&["parameter min_version"]);
        let call = server.call("GET", path).header("placard-min-version", "1");
        let twice = call.header("placard-min-version", "1").send().await;
        twice.names(&["header placard-min-version"]);
    }
}
