//! What the tests of stored formats share: constant values, and the comparison with the files beside this one.

use std::fmt::Write as _;
use std::path::Path;

use placard_model::Timestamp;
use placard_model::entry::{Change, Digest, Entry, Reason};
use uuid::Uuid;

/// An id that differs in its last byte alone.
pub(crate) fn id(last: u8) -> Uuid {
    Uuid::from_bytes([0x0f, 1, 2, 3, 4, 5, 0x76, 7, 0x88, 9, 10, 11, 12, 13, 14, last])
}

pub(crate) fn stamp(text: &str) -> Timestamp {
    Timestamp::parse(text).unwrap()
}

/// An entry with a value in each field, but for the trace.
pub(crate) fn entry(change: Change, reason: Reason) -> Entry {
    Entry {
        at: stamp("2026-01-02T03:04:05.678901Z"),
        request: id(9),
        item: 3,
        principal: "ops".to_owned(),
        reason,
        trace: None,
        digest: Digest(0x0011_2233_4455_6677_8899_aabb_ccdd_eeff),
        change,
    }
}

/// Compares bytes with a file, 32 of them a line; with `UPDATE_GOLDEN` the file is written.
pub(crate) fn golden(name: &str, bytes: &[u8]) {
    let mut hex = String::new();
    for line in bytes.chunks(32) {
        line.iter().for_each(|byte| write!(hex, "{byte:02x}").unwrap());
        hex.push('\n');
    }
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name);
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&file, &hex).unwrap();
    }
    let expected = std::fs::read_to_string(&file).unwrap();
    assert_eq!(hex, expected, "{name} is written differently now");
}
