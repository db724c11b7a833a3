//! Reads a protobuf message field by field, where it lies, and writes single fields
//! (<https://protobuf.dev/programming-guides/encoding/>). Groups, which no build has ever written, are refused.

/// A field's value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Value<'a> {
    /// A number, true or false.
    Varint(u64),
    /// A number of 64 bits.
    Fixed(i64),
    /// Text, bytes or a message.
    Bytes(&'a [u8]),
    /// A number of 32 bits, which no field of ours is.
    Short,
}

impl Value<'_> {
    /// Returns the number of a field of 32 bits. As protobuf specifies, one of more bits is truncated.
    pub(crate) fn u32(self) -> Option<u32> {
        match self {
            Self::Varint(number) => Some(number as u32),
            _ => None,
        }
    }
}

/// Writes a field that is a number.
pub(crate) fn write_number(tag: u32, number: u64, message: &mut Vec<u8>) {
    write_varint((tag << 3).into(), message);
    write_varint(number, message);
}

/// Writes a field of text or bytes.
pub(crate) fn write_bytes(tag: u32, bytes: &[u8], message: &mut Vec<u8>) {
    write_varint((tag << 3 | 2).into(), message);
    write_varint(bytes.len() as u64, message);
    message.extend_from_slice(bytes);
}

fn write_varint(mut number: u64, message: &mut Vec<u8>) {
    while number > 0x7f {
        message.push(number as u8 | 0x80);
        number >>= 7;
    }
    message.push(number as u8);
}

/// The rest of a message that is being read.
pub(crate) struct Input<'a>(pub(crate) &'a [u8]);

impl<'a> Input<'a> {
    /// Returns the next field's tag and value.
    pub(crate) fn field(&mut self) -> Option<(u32, Value<'a>)> {
        let key = u32::try_from(self.varint()?).ok()?;
        let tag = key >> 3;
        let value = match key & 7 {
            0 => Value::Varint(self.varint()?),
            1 => Value::Fixed(i64::from_le_bytes(*self.array()?)),
            2 => {
                let length = usize::try_from(self.varint()?).ok()?;
                let (bytes, rest) = self.0.split_at_checked(length)?;
                self.0 = rest;
                Value::Bytes(bytes)
            }
            5 => {
                self.array::<4>()?;
                Value::Short
            }
            _ => return None,
        };
        (tag > 0).then_some((tag, value))
    }

    /// Returns the next number.
    pub(crate) fn varint(&mut self) -> Option<u64> {
        let mut number = 0;
        for nth in 0..10 {
            let (byte, rest) = self.0.split_first()?;
            self.0 = rest;
            // The tenth byte has room for one bit.
            if nth == 9 && *byte > 1 {
                return None;
            }
            number |= u64::from(byte & 0x7f) << (7 * nth);
            if byte & 0x80 == 0 {
                return Some(number);
            }
        }
        None
    }

    fn array<const N: usize>(&mut self) -> Option<&'a [u8; N]> {
        let (bytes, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(bytes)
    }
}
