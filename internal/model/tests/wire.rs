//! The stored formats, held to the byte: an ad, entries, a kept answer and the chain over them. A difference means that
//! logs and databases written by earlier builds would read differently. `UPDATE_GOLDEN=1` rewrites the files, which is
//! right only together with a new format level.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod golden;

use bytes::Bytes;
use placard_model::command::{Answer, KeptAnswer, Outcome, Sums};
use placard_model::entry::{CAPACITY_LEVEL, Chain, Change, Digest, Entry, FORMAT_LEVEL, Reason};
use placard_model::{
    Ad, AgeRange, Country, Delivery, EncodedAd, Gender, Platform, Spec, Targeting, TraceContext,
    Undecodable, Violation, limits,
};

use golden::{entry, golden, id, stamp};

fn targeted() -> Ad {
    let countries = ["TW", "JP", "US"].iter().filter_map(|code| Country::from_code(code));
    Ad {
        id: id(1),
        version: 300,
        created_at: stamp("2026-01-02T03:04:05.678901Z"),
        spec: Spec {
            title: "Spring sale".to_owned(),
            content: "Zehn Äpfel für 台灣".to_owned(),
            start_at: stamp("2026-02-01T00:00:00Z"),
            end_at: stamp("2026-03-01T00:00:00Z"),
            targeting: Targeting {
                age: Some(AgeRange { start: 18, end: 65 }),
                country: countries.collect(),
                gender: [Gender::Female].into_iter().collect(),
                platform: [Platform::Android, Platform::Web].into_iter().collect(),
            },
            delivery: Delivery::default(),
        },
    }
}

fn open() -> Ad {
    let mut ad = targeted();
    ad.id = id(2);
    ad.spec.targeting = Targeting::default();
    ad
}

fn delivered() -> Ad {
    let mut ad = targeted();
    let link = Some("https://shop.example/sale".to_owned());
    ad.spec.delivery = Delivery { pool: Some(id(7)), weight: 1_000_000, link, paused: false };
    ad
}

fn paused() -> Ad {
    let mut ad = open();
    ad.spec.delivery.paused = true;
    ad
}

/// A build before pools would have shown them.
#[test]
fn ads_with_a_delivery_need_the_level_of_pools() {
    assert_eq!([targeted(), open()].map(|ad| EncodedAd::encode(&ad).level()), [1, 1]);
    for ad in [delivered(), paused()] {
        let encoded = EncodedAd::encode(&ad);
        assert_eq!(encoded.level(), CAPACITY_LEVEL);
        assert_eq!(entry(Change::Put(encoded), Reason::Client).encode()[0], CAPACITY_LEVEL);
    }
}

fn answer() -> Answer {
    let ad = EncodedAd::encode(&open());
    Answer {
        version: 300,
        outcomes: vec![
            Outcome::Created { id: id(2), version: 300, ad: ad.clone() },
            Outcome::Updated { id: id(2), version: 301, ad },
            Outcome::Deleted { id: id(3), version: 302 },
            Outcome::NotFound { id: id(4) },
            Outcome::Exists { id: id(5), version: 7 },
            Outcome::VersionMismatch { id: id(6), version: 8 },
            Outcome::Invalid { id: id(7), violations: vec![Violation::field("end_at", "is past")] },
        ],
        replayed: false,
    }
}

#[test]
fn ads_match_golden_bytes_and_are_read_back() {
    for (name, ad) in [
        ("ad_targeted.hex", targeted()),
        ("ad_open.hex", open()),
        ("ad_delivered.hex", delivered()),
        ("ad_paused.hex", paused()),
    ] {
        let encoded = EncodedAd::encode(&ad);
        golden(name, encoded.bytes());
        assert_eq!(encoded.decode(), Ok(ad));
    }
}

#[test]
fn entries_match_golden_bytes_and_are_read_back() {
    let put = entry(Change::Put(EncodedAd::encode(&targeted())), Reason::Client);
    let delete = entry(Change::Delete(id(1)), Reason::Expired);
    for (name, entry) in [("entry_put.hex", put), ("entry_delete.hex", delete)] {
        let bytes = entry.encode();
        golden(name, &bytes);
        assert_eq!(Entry::decode(&bytes), Ok(entry));
    }
}

/// The trace stands behind everything else, so that without one an entry is what it always was.
#[test]
fn trace_is_appended_as_one_optional_field() {
    let untraced = entry(Change::Delete(id(1)), Reason::Client);
    let trace = TraceContext { trace_id: 0x0af7_6519_16cd_43dd_8448_eb21_1c80_319c, span_id: 7 };
    let traced = Entry { trace: Some(trace), ..untraced.clone() };
    let bytes = traced.encode();
    golden("entry_traced.hex", &bytes);
    assert_eq!(Entry::decode(&bytes), Ok(traced));
    let before = untraced.encode();
    let field: &[u8] = &[9 << 3 | 2, 24];
    assert!(bytes.starts_with(&before) && bytes[before.len()..].starts_with(field));
    // What names no trace says nothing against the entry.
    for wrong in [&[9 << 3 | 2, 1, 5][..], &[&[9 << 3 | 2, 24][..], &[0; 24]].concat()] {
        let bytes = [&before[..], wrong].concat();
        assert_eq!(Entry::decode(&bytes.into()), Ok(untraced.clone()));
    }
}

/// An older build does with a trace what this one does with a field that there is not yet.
#[test]
fn fields_that_a_build_does_not_know_are_passed_over() {
    let entry = entry(Change::Delete(id(1)), Reason::Client);
    let bytes = [&entry.encode()[..], &[15 << 3 | 2, 3, 1, 2, 3]].concat();
    assert_eq!(Entry::decode(&bytes.into()), Ok(entry));
}

#[test]
fn kept_answers_match_golden_bytes_and_are_read_back() {
    let bytes = answer().encode();
    golden("answer.hex", &bytes);
    assert_eq!(Answer::decode(&bytes), Ok(answer()));
}

/// The sums stand behind everything else, so that an older build reads the answer as it always did.
#[test]
fn sums_are_appended_as_two_optional_fields() {
    let sums = Sums { conditions: [3; 32], meaning: [4; 32] };
    let kept = KeptAnswer::new([1; 32], [2; 32], &sums, &answer());
    golden("answer_kept.hex", &kept.answer);
    let before = answer().encode();
    let fields = [&[3 << 3 | 2, 32][..], &[3; 32], &[4 << 3 | 2, 32], &[4; 32]].concat();
    assert_eq!(kept.answer, [&before[..], &fields].concat());
    assert_eq!(Answer::decode(&kept.answer), Ok(answer()));
    assert_eq!(kept.decode(), Ok((answer(), Some(sums))));
    let old = KeptAnswer { answer: before, ..kept };
    assert_eq!(old.decode(), Ok((answer(), None)));
}

#[test]
fn chain_and_digest_match_golden_bytes() {
    let put = entry(Change::Put(EncodedAd::encode(&targeted())), Reason::Client).encode();
    let delete = entry(Change::Delete(id(1)), Reason::Expired).encode();
    let first = Chain::GENESIS.next(1, &put);
    let second = first.next(2, &delete);
    let (one, two) =
        (Digest::of(&EncodedAd::encode(&targeted())), Digest::of(&EncodedAd::encode(&open())));
    golden("sums.hex", &[&first.0[..], &second.0, &one.plus(two).0.to_be_bytes()].concat());
    assert_eq!(one.plus(two), two.plus(one));
    assert_eq!(one.plus(two).minus(two), one);
}

#[test]
fn damaged_bytes_are_refused_and_never_panic() {
    let bytes = entry(Change::Put(EncodedAd::encode(&targeted())), Reason::Client).encode();
    for cut in 0..bytes.len() {
        // A cut between two fields can be a shorter message; then a field is missing, or the chain tells.
        let _ = Entry::decode(&bytes.slice(..cut));
    }
    for at in 0..bytes.len() {
        for bit in 0..8 {
            let mut damaged = bytes.to_vec();
            damaged[at] ^= 1 << bit;
            let damaged = Bytes::from(damaged);
            assert_ne!(Chain::GENESIS.next(1, &damaged), Chain::GENESIS.next(1, &bytes));
            if let Ok(Entry { change: Change::Put(ad), .. }) = Entry::decode(&damaged) {
                let _ = ad.decode();
            }
        }
    }
    assert_eq!(Entry::decode(&Bytes::new()), Err(Undecodable::Field("format level")));
    let newer = [&[FORMAT_LEVEL + 1], &bytes[1..]].concat();
    let refused = Entry::decode(&newer.into());
    assert_eq!(refused, Err(Undecodable::TooNew(FORMAT_LEVEL + 1)));
}

/// A second decision would write the first item again.
#[test]
fn an_answer_that_wrote_anything_is_kept() {
    let mut answer = answer();
    answer.outcomes.push(Outcome::Failed);
    assert!(answer.is_final());
    let bytes = answer.encode();
    golden("answer_failed.hex", &bytes);
    assert_eq!(Answer::decode(&bytes), Ok(answer.clone()));
    answer.outcomes.retain(|outcome| outcome.entry().is_none());
    assert!(!answer.is_final());
    answer.outcomes = vec![Outcome::Invalid { id: id(1), violations: Vec::new() }];
    assert!(!answer.is_final());
}

/// Pages of the stream are bounded by it, where only entries can be counted.
#[test]
fn the_largest_entry_is_within_its_bound() {
    let widest = |chars: u64| "\u{1f600}".repeat(chars as usize);
    let mut ad = targeted();
    ad.spec.title = widest(limits::TITLE_CHARS_MAX);
    ad.spec.content = widest(limits::CONTENT_CHARS_MAX);
    ad.version = u64::MAX;
    ad.spec.targeting.country = Country::all().collect();
    let mut entry = entry(Change::Put(EncodedAd::encode(&ad)), Reason::Client);
    entry.principal = "p".repeat(limits::TOKEN_NAME_BYTES_MAX);
    entry.item = u32::MAX;
    entry.trace = Some(TraceContext { trace_id: u128::MAX, span_id: u64::MAX });
    let bytes = entry.encode().len();
    assert!(bytes <= limits::ENTRY_BYTES_MAX, "{bytes} bytes");
    assert!(bytes > limits::ENTRY_BYTES_MAX * 3 / 4, "{bytes} bytes");
}
