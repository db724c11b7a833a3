//! An embedded server deletes what has ended from its journal: ads, and reservations that have lapsed.

use std::path::Path;
use std::time::{Duration, SystemTime};

use placard_model::Timestamp;
use placard_model::entry::{Change, Entry, Reason};
use placard_testkit::wait::until;
use rusqlite::{Connection, OpenFlags};
use serde_json::{Value, json};

use crate::journal;
use crate::server::Server;

/// Returns the reason and the ad of each deletion, from the log of the journal's file.
fn deletions(directory: &Path) -> Vec<(Reason, String)> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY;
    let file = Connection::open_with_flags(directory.join("journal.sqlite"), flags);
    let file = file.expect("the file opens");
    let mut log = file.prepare("SELECT bytes FROM log ORDER BY version").expect("there is a log");
    let log = log.query_map([], |row| row.get::<_, Vec<u8>>(0)).expect("the log can be read");
    log.filter_map(|bytes| {
        let bytes = bytes.expect("the log can be read");
        let entry = Entry::decode(&bytes.into()).expect("an entry can be decoded");
        match entry.change {
            Change::Delete(id) => Some((entry.reason, id.to_string())),
            _ => None,
        }
    })
    .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_ended_ad_is_deleted_from_the_file() {
    let directory = tempfile::tempdir().expect("a directory can be made");
    let server = Server::on(directory.path()).await;
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("it is past 1970");
    let end = i64::try_from((now + Duration::from_secs(2)).as_micros()).expect("a time in range");
    let end = Timestamp::from_micros(end).expect("a time in range").to_string();
    let ad = |end: &str| {
        json!({
            "title": "A short-lived ad", "content": "gone soon",
            "start_at": "2020-01-01T00:00:00Z", "end_at": end,
        })
    };
    let ends = server.create(&ad(&end)).await;
    server.create(&ad("2099-01-01T00:00:00Z")).await;
    let id = ends["id"].as_str().expect("an ad has an id").to_owned();
    until("the entry that deletes it", async || {
        (deletions(directory.path()) == [(Reason::Expired, id.clone())]).then_some(())
    })
    .await;
    // The server applies the entry, and counts it, a moment after the journal has it.
    let expiry = json!({"state": "running", "deleted": 1});
    until("the server to have applied the entry", async || {
        (server.json("/api/v1/cluster").await["expiry"] == expiry).then_some(())
    })
    .await;
    assert_eq!(server.json("/api/v1/ad").await["total"], 1);
    assert_eq!(server.get(&format!("/api/v1/ad/{id}")).await.status(), 404);
    // The brake was never on; an operator may ask all the same.
    let release = server.client.post(server.path("/api/v1/admin/expiry/release")).send().await;
    let released: Value = release.expect("the server answers").json().await.expect("it is JSON");
    assert_eq!(released, json!({"released": false, "expiry": expiry}));
    assert_eq!(server.json("/api/v1/cluster").await["expiry"], expiry);
    server.process.terminate();
    assert!(server.process.ended().await.status.success());
    let journal = journal::read(directory.path());
    assert_eq!((journal.version, journal.ads.len()), (3, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn reservations_lapse_before_and_after_a_restart() {
    const RESERVATIONS: &str = "/api/v1/reservation";
    let directory = tempfile::tempdir().expect("a directory can be made");
    let mut server = Server::on(directory.path()).await;
    let send = async |server: &Server, path: &str, body: Value| -> String {
        let sent = server.client.post(server.path(path)).json(&body).send().await;
        let answer = sent.expect("the server answers");
        let (status, body) = (answer.status(), answer.json::<Value>().await.expect("it is JSON"));
        assert_eq!(status, 201, "{body}");
        body["id"].as_str().expect("it has an id").to_owned()
    };
    let pool = send(&server, "/api/v1/pool", json!({"name": "Slots", "capacity": 1})).await;
    for restarts in [false, true] {
        let wanted = json!({"pool": pool, "amount": 1, "expires_in": 2});
        let id = send(&server, RESERVATIONS, wanted).await;
        if restarts {
            server.process.terminate();
            assert!(server.process.ended().await.status.success());
            server = Server::on(directory.path()).await;
        }
        until("the reservation to be closed", async || {
            let answer = server.get(&format!("{RESERVATIONS}/{id}")).await;
            (answer.status() == 404).then_some(())
        })
        .await;
        let shown = server.json(&format!("/api/v1/pool/{pool}")).await;
        let units = (&shown["available"], &shown["reserved"], &shown["lapsed"]);
        assert_eq!(units, (&json!(1), &json!(0), &json!(0)));
    }
}
