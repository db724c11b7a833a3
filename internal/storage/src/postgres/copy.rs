//! PostgreSQL's binary COPY format, as far as a single column of bytes needs it: read piece by piece, and
//! strictly. <https://www.postgresql.org/docs/current/sql-copy.html>, "Binary Format".

use bytes::{Buf, Bytes, BytesMut};

use super::failure::Failure;

const SIGNATURE: &[u8; 11] = b"PGCOPY\n\xff\r\n\0";
/// The signature, a word of flags, and the length of the header's extension.
const HEADER: usize = SIGNATURE.len() + 8;
/// The number of columns, and the length of the only one.
const ROW_HEADER: usize = 6;
/// The value in place of the number of columns after the last row.
const TRAILER: i16 = -1;

/// Where the reader is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Header,
    Rows,
    End,
}

/// Takes the pieces in which the copy arrives.
#[derive(Debug)]
pub(super) struct Reader {
    state: State,
    pending: BytesMut,
}

impl Reader {
    pub(super) fn new() -> Self {
        Self { state: State::Header, pending: BytesMut::new() }
    }

    /// Takes a piece, and gives every row that it completes.
    pub(super) fn feed(&mut self, piece: &[u8], mut row: impl FnMut(Bytes)) -> Result<(), Failure> {
        self.pending.extend_from_slice(piece);
        if self.state == State::Header {
            let Some((header, _)) = self.pending.split_at_checked(HEADER) else { return Ok(()) };
            // The server writes neither flags nor an extension; a newer format would announce itself here.
            if !header.starts_with(SIGNATURE) || header[SIGNATURE.len()..] != [0; 8] {
                return Err(Failure::Malformed("a copy's header"));
            }
            self.pending.advance(HEADER);
            self.state = State::Rows;
        }
        while self.state == State::Rows {
            let Some((columns, rest)) = self.pending.split_first_chunk() else { return Ok(()) };
            match i16::from_be_bytes(*columns) {
                1 => {}
                TRAILER => {
                    self.pending.advance(columns.len());
                    self.state = State::End;
                    break;
                }
                _ => return Err(Failure::Malformed("a copy's number of columns")),
            }
            let Some((length, value)) = rest.split_first_chunk() else { return Ok(()) };
            // A negative length is a NULL, which the column does not allow.
            let length = usize::try_from(i32::from_be_bytes(*length))
                .map_err(|_| Failure::Malformed("a copy's length"))?;
            let Some(value) = value.get(..length) else { return Ok(()) };
            // A copy, so that an ad that is kept does not keep its neighbours' bytes too.
            row(Bytes::copy_from_slice(value));
            self.pending.advance(ROW_HEADER + length);
        }
        let done = self.pending.is_empty();
        if done { Ok(()) } else { Err(Failure::Malformed("bytes after a copy's end")) }
    }

    /// The copy has ended: was it whole?
    pub(super) fn finish(self) -> Result<(), Failure> {
        let whole = self.state == State::End;
        if whole { Ok(()) } else { Err(Failure::Malformed("a copy's end is missing")) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROWS: [&[u8]; 3] = [b"first", b"", b"third one"];

    fn copy() -> Vec<u8> {
        let mut bytes = [SIGNATURE.as_slice(), &[0; 8]].concat();
        for row in ROWS {
            bytes.extend([0, 1]);
            bytes.extend((row.len() as u32).to_be_bytes());
            bytes.extend(row);
        }
        bytes.extend([0xff, 0xff]);
        bytes
    }

    fn read<'p>(pieces: impl IntoIterator<Item = &'p [u8]>) -> Result<Vec<Bytes>, Failure> {
        let (mut reader, mut rows) = (Reader::new(), Vec::new());
        for piece in pieces {
            reader.feed(piece, |row| rows.push(row))?;
        }
        reader.finish().map(|()| rows)
    }

    #[test]
    fn rows_are_the_same_however_the_copy_is_cut() {
        let copy = copy();
        for size in 1..=copy.len() {
            assert_eq!(read(copy.chunks(size)).unwrap(), ROWS);
        }
    }

    #[test]
    fn truncated_or_lengthened_copy_is_refused() {
        let copy = copy();
        for end in 0..copy.len() {
            assert!(read([&copy[..end]]).is_err(), "{end}");
        }
        let longer = [copy.as_slice(), &[0]].concat();
        assert!(read([longer.as_slice()]).is_err());
        assert!(read([copy.as_slice(), &[0]]).is_err());
    }

    #[test]
    fn another_format_is_refused() {
        // In turn: the signature, a flag, an extension, two columns, a NULL.
        for (at, byte) in [(0, b'Q'), (11, 0x80), (18, 1), (20, 2), (21, 0xff)] {
            let mut copy = copy();
            copy[at] = byte;
            assert!(read([copy.as_slice()]).is_err(), "{at}");
        }
    }
}
