//! The encoding of an ad, and how it is read in place: a replica reads a million of them when it restores and keeps
//! their bytes anyway, so that title and content need not be copied out of them. The message is separate from the
//! domain's types, as are those in `wire`; `tests/golden` holds it to the byte.
//!
//! An ad that a build of the first format level can read is a protobuf message and nothing else. One that says more than
//! such a build understands begins with a byte of zero and the level that reading it needs. No message begins with a
//! zero, so that builds which know nothing of levels refuse such an ad too, rather than show it to people it is not for.

use bytes::{BufMut, Bytes, BytesMut};
use prost::Message;

use crate::ad::{AdView, SpecView};
use crate::dimensions::Stored;
use crate::format::{
    FORMAT_LEVEL, FORMAT_LEVEL_MIN, Undecodable, format_level, id_bytes, stamp, uuid,
};
use crate::limits::{WEIGHT_DEFAULT, WEIGHT_MAX};
use crate::protobuf::{Input, Value};
use crate::{Ad, Delivery, DeliveryView, Version};

/// An ad in its stored form. The bytes are kept as the log has them, never encoded again, because the digest
/// is taken over them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EncodedAd(Bytes);

impl EncodedAd {
    /// Takes bytes that were stored before; [`EncodedAd::view`] says whether they are an ad.
    pub fn from_bytes(bytes: Bytes) -> Self {
        Self(bytes)
    }

    /// Encodes an ad, so that builds of any level can read it.
    pub fn encode(ad: &Ad) -> Self {
        Self::encode_for(ad, FORMAT_LEVEL_MIN)
    }

    /// Encodes an ad for readers of `level`, marked with the level that its contents need.
    pub fn encode_for(ad: &Ad, level: u8) -> Self {
        let message = AdMessage::from(ad);
        let needed = needed(ad, level);
        let conditions = ad.spec.targeting.encode();
        let delivery = DeliveryMessage::from(&ad.spec.delivery);
        let len = message.encoded_len() + conditions.len() + delivery.encoded_len();
        let mut bytes = BytesMut::with_capacity(2 + len);
        if needed > FORMAT_LEVEL_MIN {
            bytes.put_slice(&[MARK, needed]);
        }
        message.encode(&mut bytes).expect("the buffer grows");
        bytes.put_slice(&conditions);
        delivery.encode(&mut bytes).expect("the buffer grows");
        Self(bytes.freeze())
    }

    /// Returns the format level that reading it needs.
    pub fn level(&self) -> u8 {
        match self.0[..] {
            [MARK, level, ..] => level,
            _ => FORMAT_LEVEL_MIN,
        }
    }

    /// Reads it where it lies.
    ///
    /// # Errors
    /// The bytes are not an ad, or one that only a newer build understands.
    pub fn view(&self) -> Result<AdView<'_>, Undecodable> {
        let message = match self.0[..] {
            [MARK, level, ..] if level > format_level() => return Err(Undecodable::TooNew(level)),
            [MARK, level, ref message @ ..] if level > FORMAT_LEVEL_MIN => message,
            [MARK, ..] => return Err(Undecodable::Field("format level")),
            ref message => message,
        };
        AdFields::read(message)?.try_into()
    }

    /// Reads it back.
    ///
    /// # Errors
    /// As for [`EncodedAd::view`].
    pub fn decode(&self) -> Result<Ad, Undecodable> {
        self.view().map(Ad::from)
    }

    /// The stored form.
    pub fn bytes(&self) -> &Bytes {
        &self.0
    }
}

/// The first byte of an ad that is not of the first level; the level follows.
const MARK: u8 = 0;

/// The level that reading an ad needs, which is that of the newest that it says. A level after this build's has nothing
/// new in an ad; its ads say that they have, so that two builds can be tested together.
fn needed(ad: &Ad, level: u8) -> u8 {
    if level > FORMAT_LEVEL { level } else { ad.spec.level() }
}

/// The message that is written, without the fields of the dimensions and of the [`DeliveryMessage`], which follow.
#[derive(Clone, PartialEq, Message)]
struct AdMessage {
    #[prost(bytes = "bytes", tag = "1")]
    id: Bytes,
    #[prost(uint64, tag = "2")]
    version: u64,
    #[prost(sfixed64, tag = "3")]
    created_at: i64,
    #[prost(sfixed64, tag = "4")]
    start_at: i64,
    #[prost(sfixed64, tag = "5")]
    end_at: i64,
    #[prost(string, tag = "6")]
    title: String,
    #[prost(string, tag = "7")]
    content: String,
}

impl From<&Ad> for AdMessage {
    fn from(ad: &Ad) -> Self {
        Self {
            id: id_bytes(ad.id),
            version: ad.version,
            created_at: ad.created_at.micros(),
            start_at: ad.spec.start_at.micros(),
            end_at: ad.spec.end_at.micros(),
            title: ad.spec.title.clone(),
            content: ad.spec.content.clone(),
        }
    }
}

/// The fields of how an ad is delivered, behind those of the dimensions. Each is left out if it says nothing.
#[derive(Clone, PartialEq, Message)]
struct DeliveryMessage {
    /// 16 bytes, or none.
    #[prost(bytes = "bytes", tag = "13")]
    pool: Bytes,
    /// 0: the default.
    #[prost(uint32, tag = "14")]
    weight: u32,
    #[prost(string, tag = "15")]
    link: String,
    #[prost(bool, tag = "16")]
    paused: bool,
}

impl From<&Delivery> for DeliveryMessage {
    fn from(delivery: &Delivery) -> Self {
        let Delivery { pool, weight, link, paused } = delivery;
        Self {
            pool: pool.map_or_else(Bytes::new, id_bytes),
            weight: if *weight == WEIGHT_DEFAULT { 0 } else { *weight },
            link: link.clone().unwrap_or_default(),
            paused: *paused,
        }
    }
}

/// An [`AdMessage`] as it is read: missing fields have protobuf's defaults, and fields that this build does not know
/// are skipped.
#[derive(Default)]
struct AdFields<'a> {
    id: &'a [u8],
    version: Version,
    created_at: i64,
    start_at: i64,
    end_at: i64,
    title: &'a [u8],
    content: &'a [u8],
    conditions: Stored<'a>,
    pool: &'a [u8],
    weight: u64,
    link: &'a [u8],
    paused: bool,
}

impl<'a> AdFields<'a> {
    fn read(bytes: &'a [u8]) -> Result<Self, Undecodable> {
        let (mut ad, mut left) = (Self::default(), Input(bytes));
        while !left.0.is_empty() {
            let (tag, value) = left.field().ok_or(Undecodable::Torn)?;
            match (tag, value) {
                (1, Value::Bytes(bytes)) => ad.id = bytes,
                (2, Value::Varint(number)) => ad.version = number,
                (3, Value::Fixed(number)) => ad.created_at = number,
                (4, Value::Fixed(number)) => ad.start_at = number,
                (5, Value::Fixed(number)) => ad.end_at = number,
                (6, Value::Bytes(bytes)) => ad.title = bytes,
                (7, Value::Bytes(bytes)) => ad.content = bytes,
                (13, Value::Bytes(bytes)) => ad.pool = bytes,
                (14, Value::Varint(number)) => ad.weight = number,
                (15, Value::Bytes(bytes)) => ad.link = bytes,
                (16, Value::Varint(number)) => ad.paused = number != 0,
                (1..=7 | 13..=16, _) => return Err(Undecodable::Torn),
                (tag, value) => ad.conditions.take(tag, value).ok_or(Undecodable::Torn)?,
            }
        }
        Ok(ad)
    }
}

impl<'a> TryFrom<AdFields<'a>> for AdView<'a> {
    type Error = Undecodable;

    fn try_from(ad: AdFields<'a>) -> Result<Self, Undecodable> {
        let (start_at, end_at) = (stamp(ad.start_at, "start_at")?, stamp(ad.end_at, "end_at")?);
        if start_at >= end_at {
            return Err(Undecodable::Field("end_at"));
        }
        let spec = SpecView {
            title: text(ad.title, "title")?,
            content: text(ad.content, "content")?,
            start_at,
            end_at,
            targeting: ad.conditions.targeting().map_err(Undecodable::Field)?,
            delivery: DeliveryView {
                pool: if ad.pool.is_empty() { None } else { Some(uuid(ad.pool, "pool")?) },
                weight: weight(ad.weight).ok_or(Undecodable::Field("weight"))?,
                link: Some(text(ad.link, "link")?).filter(|link| !link.is_empty()),
                paused: ad.paused,
            },
        };
        let created_at = stamp(ad.created_at, "created_at")?;
        Ok(Self { id: uuid(ad.id, "id")?, version: ad.version, created_at, spec })
    }
}

fn weight(stored: u64) -> Option<u32> {
    match u32::try_from(stored).ok()? {
        0 => Some(WEIGHT_DEFAULT),
        weight => Some(weight).filter(|weight| *weight <= WEIGHT_MAX),
    }
}

fn text<'a>(bytes: &'a [u8], field: &'static str) -> Result<&'a str, Undecodable> {
    str::from_utf8(bytes).map_err(|_| Undecodable::Field(field))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::generator::Generator;
    use crate::{Spec, Timestamp};
    use proptest::prelude::*;
    use uuid::Uuid;

    /// The whole message, for prost.
    #[derive(Clone, PartialEq, Message)]
    struct Whole {
        #[prost(bytes = "bytes", tag = "1")]
        id: Bytes,
        #[prost(uint64, tag = "2")]
        version: u64,
        #[prost(sfixed64, tag = "3")]
        created_at: i64,
        #[prost(sfixed64, tag = "4")]
        start_at: i64,
        #[prost(sfixed64, tag = "5")]
        end_at: i64,
        #[prost(string, tag = "6")]
        title: String,
        #[prost(string, tag = "7")]
        content: String,
        /// 0: any age.
        #[prost(uint32, tag = "8")]
        age_start: u32,
        #[prost(uint32, tag = "9")]
        age_end: u32,
        /// One bit each, M lowest; 0: any.
        #[prost(uint32, tag = "10")]
        genders: u32,
        /// One bit each, android lowest, then ios, web; 0: any.
        #[prost(uint32, tag = "11")]
        platforms: u32,
        /// Alpha-2 codes without separators, sorted; empty: any.
        #[prost(string, tag = "12")]
        countries: String,
        #[prost(bytes = "bytes", tag = "13")]
        pool: Bytes,
        #[prost(uint32, tag = "14")]
        weight: u32,
        #[prost(string, tag = "15")]
        link: String,
        #[prost(bool, tag = "16")]
        paused: bool,
    }

    /// Reads an ad with prost, which is the other reader of the same format.
    fn by_prost(bytes: &[u8]) -> Option<Ad> {
        let ad = Whole::decode(bytes).ok()?;
        let mut conditions = Stored::default();
        for (tag, value) in [
            (8, Value::Varint(ad.age_start.into())),
            (9, Value::Varint(ad.age_end.into())),
            (10, Value::Varint(ad.genders.into())),
            (11, Value::Varint(ad.platforms.into())),
            (12, Value::Bytes(ad.countries.as_bytes())),
        ] {
            conditions.take(tag, value)?;
        }
        let fields = AdFields {
            id: &ad.id,
            version: ad.version,
            created_at: ad.created_at,
            start_at: ad.start_at,
            end_at: ad.end_at,
            title: ad.title.as_bytes(),
            content: ad.content.as_bytes(),
            conditions,
            pool: &ad.pool,
            weight: ad.weight.into(),
            link: ad.link.as_bytes(),
            paused: ad.paused,
        };
        AdView::try_from(fields).ok().map(Ad::from)
    }

    fn ads(seed: u64) -> impl Iterator<Item = Ad> {
        let specs = Generator::new(seed, Timestamp::EPOCH).enumerate();
        specs.map(|(nth, spec)| Ad {
            id: Uuid::from_u128(nth as u128),
            version: 1 << (nth % 64),
            created_at: Timestamp::EPOCH,
            spec: Spec { delivery: delivery(nth), ..spec },
        })
    }

    /// Each field of a delivery, alone and together.
    fn delivery(nth: usize) -> Delivery {
        let bit = |bit: usize| nth >> bit & 1 == 1;
        Delivery {
            pool: bit(1).then(|| Uuid::from_u128(nth as u128)),
            weight: if bit(2) { WEIGHT_MAX } else { WEIGHT_DEFAULT },
            link: bit(3).then(|| "https://shop.example/".to_owned()),
            paused: bit(4),
        }
    }

    /// The message behind the mark, if there is one.
    fn message(encoded: &EncodedAd) -> &[u8] {
        match encoded.bytes()[..] {
            [MARK, _, ref message @ ..] => message,
            ref message => message,
        }
    }

    #[test]
    fn an_ad_is_read_as_it_was_written() {
        for ad in ads(1).take(1_000) {
            let encoded = EncodedAd::encode(&ad);
            assert_eq!(by_prost(message(&encoded)).as_ref(), Some(&ad));
            let whole = Whole::decode(message(&encoded)).expect("prost has read it");
            assert_eq!(whole.encode_to_vec(), message(&encoded));
            assert_eq!(encoded.decode(), Ok(ad));
        }
    }

    /// A build that knows nothing of levels would have read it as an ad without its newest conditions.
    #[test]
    fn newer_level_ad_is_refused_by_every_older_build() {
        let ad = ads(1).nth(1).expect("there is no end of ads");
        let message = EncodedAd::encode(&ad).bytes().to_vec();
        for level in FORMAT_LEVEL + 1..=u8::MAX {
            let marked = EncodedAd::from_bytes([&[MARK, level], &message[..]].concat().into());
            assert_eq!(marked.level(), level);
            assert_eq!(marked.decode(), Err(Undecodable::TooNew(level)));
            // As the first builds read it.
            assert!(AdFields::read(marked.bytes()).is_err() && by_prost(marked.bytes()).is_none());
        }
        for mark in [&[MARK][..], &[MARK, 0], &[MARK, FORMAT_LEVEL_MIN]] {
            let marked = EncodedAd::from_bytes([mark, &message[..]].concat().into());
            assert!(marked.decode().is_err(), "{mark:?}");
        }
        assert_eq!(EncodedAd::encode_for(&ad, FORMAT_LEVEL_MIN).bytes()[..], message[..]);
    }

    /// Returns true if the bytes have a field of wire type 3 or 4, the one case that the two readers judge differently.
    fn has_groups(bytes: &[u8]) -> bool {
        let mut left = Input(bytes);
        while !left.0.is_empty() {
            let mut key = Input(left.0);
            let group = key.varint().is_some_and(|key| matches!(key & 7, 3 | 4));
            if group || left.field().is_none() {
                return group;
            }
        }
        false
    }

    proptest! {
        /// Cut, overwritten or lengthened, with fields twice or unknown: what prost reads is read alike, and
        /// what it refuses is refused.
        #[test]
        fn damaged_ads_are_judged_as_prost_judges_them(
            seed in 0_u64..64,
            cut in 0_usize..400,
            more in prop::collection::vec(any::<u8>(), 0..12),
            places in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..3),
        ) {
            let ad = ads(seed).nth(1).expect("there is no end of ads");
            let mut bytes = message(&EncodedAd::encode(&ad)).to_vec();
            if cut < bytes.len() {
                bytes.truncate(cut);
            }
            bytes.extend(more);
            for (place, byte) in places {
                if !bytes.is_empty() {
                    let at = place.index(bytes.len());
                    bytes[at] = byte;
                }
            }
            prop_assume!(!has_groups(&bytes));
            let read = EncodedAd::from_bytes(bytes.clone().into()).decode().ok();
            prop_assert_eq!(read, by_prost(&bytes));
        }
    }
}
