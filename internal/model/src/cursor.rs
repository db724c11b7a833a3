//! How far a reader of the log has come, and the text by which it says so when it comes back.

use std::fmt;

use crate::Version;
use crate::entry::{Chain, Position, Record};
use crate::limits::VERSION_MAX;
use crate::whole;

/// The last entry that a reader has had. With the chain it names that entry in one history only: a journal that was
/// restored to an older state gives the same version to another entry.
///
/// Its text is the version, and behind a hyphen the chain in 64 hexadecimal digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cursor {
    /// The entry's version; 0 before the first.
    pub version: Version,
    /// The chain up to and including it, if the reader knows it.
    pub chain: Option<Chain>,
}

impl Cursor {
    /// Before the first entry, which is the same in every history.
    pub const START: Self = Self { version: 0, chain: Some(Chain::GENESIS) };

    /// Returns the cursor of a reader that has had this record.
    pub fn at(record: &Record) -> Self {
        Self { version: record.version, chain: Some(record.chain) }
    }

    /// Returns true if a log whose chain at the cursor's version is this one may be the reader's.
    pub fn allows(&self, chain: Chain) -> bool {
        self.chain.is_none_or(|own| own == chain)
    }

    /// Returns true if it is this position, as far as it says.
    pub fn is(&self, position: Position) -> bool {
        self.version == position.version && self.allows(position.chain)
    }

    /// Returns true if this record may be the next one.
    pub fn is_before(&self, record: &Record) -> bool {
        let follows = |chain: Chain| chain.next(record.version, &record.bytes) == record.chain;
        self.version.checked_add(1) == Some(record.version) && self.chain.is_none_or(follows)
    }

    /// Reads its text; the chain may be left out.
    pub fn parse(text: &str) -> Option<Self> {
        let (version, chain) = match text.split_once('-') {
            Some((version, chain)) => (version, Some(Chain::parse(chain)?)),
            None => (text, None),
        };
        let version = whole(version, 0, VERSION_MAX)?;
        let chain = chain.or((version == 0).then_some(Chain::GENESIS));
        Some(Self { version, chain })
    }
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.chain {
            Some(chain) => write!(f, "{}-{chain}", self.version),
            None => write!(f, "{}", self.version),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chain(byte: u8) -> Chain {
        Chain([byte; 32])
    }

    #[test]
    fn text_of_a_cursor_is_read_back() {
        for cursor in [
            Cursor::START,
            Cursor { version: 7, chain: None },
            Cursor { version: VERSION_MAX, chain: Some(chain(0xa5)) },
        ] {
            assert_eq!(Cursor::parse(&cursor.to_string()), Some(cursor));
        }
        assert_eq!(Cursor::parse("0"), Some(Cursor::START));
        let digits = "a5".repeat(32);
        for broken in [
            "",
            "-1",
            "x",
            "07",
            "7-",
            "7-a5",
            &format!("7-{}", digits.to_uppercase()),
            &format!("7-{digits}0"),
            &format!("7-{}", "+5".repeat(32)),
            &format!("7-{}", "é".repeat(32)),
            &format!("-{digits}"),
            "9223372036854775808",
        ] {
            assert_eq!(Cursor::parse(broken), None, "{broken}");
        }
    }

    #[test]
    fn next_record_follows_version_and_chain() {
        let bytes = bytes::Bytes::from_static(b"an entry");
        let record = Record { version: 8, chain: chain(1).next(8, &bytes), bytes };
        let before = |version, chain| Cursor { version, chain }.is_before(&record);
        assert!(before(7, Some(chain(1))) && before(7, None));
        assert!(!before(7, Some(chain(2))) && !before(6, None) && !before(8, None));
        assert!(!before(Version::MAX, None));
    }
}
