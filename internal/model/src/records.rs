//! What is stored beside the ads: pools, holds and tombstones, each in its stored form. That is a byte for the format level
//! that reading it needs, and a protobuf message; `tests/golden` holds it to the byte.
//!
//! A replica reads a pool, changes its balance and writes it again, so that a field which it does not know would be lost. So
//! a new field always comes with a new level.

use bytes::{BufMut, Bytes, BytesMut};
use prost::Message;
use uuid::Uuid;

use crate::Timestamp;
use crate::capacity::{Balance, CloseReason, Hold, Pacing, Pool, PoolSpec, Tombstone};
use crate::dimensions::Stored;
use crate::format::{CAPACITY_LEVEL, Undecodable, format_level, id_bytes, stamp, uuid};
use crate::protobuf::Input;

/// The kind of a record. Ids are unique within a kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// A pool.
    Pool,
    /// A hold.
    Hold,
    /// A tombstone.
    Tombstone,
}

impl Kind {
    /// Every kind.
    pub const ALL: [Self; 3] = [Self::Pool, Self::Hold, Self::Tombstone];

    /// Returns its stored number, from 1.
    pub fn number(self) -> u8 {
        self as u8 + 1
    }

    /// Returns the kind that is stored as this number.
    pub fn from_number(number: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.number() == number)
    }
}

/// What names a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    /// Its kind.
    pub kind: Kind,
    /// Its id.
    pub id: Uuid,
}

/// A record as a table has it: the columns beside its stored form are for finding it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// What names it.
    pub key: Key,
    /// The pool of a hold.
    pub parent: Option<Uuid>,
    /// When a hold lapses, or a tombstone may go.
    pub due: Option<Timestamp>,
    /// Its stored form.
    pub encoded: EncodedRecord,
}

impl From<&Pool> for Row {
    fn from(pool: &Pool) -> Self {
        let key = Key { kind: Kind::Pool, id: pool.id };
        Self { key, parent: None, due: None, encoded: EncodedRecord::of_pool(pool) }
    }
}

impl From<&Hold> for Row {
    fn from(hold: &Hold) -> Self {
        let key = Key { kind: Kind::Hold, id: hold.id };
        let (parent, due) = (Some(hold.pool), hold.expires_at);
        Self { key, parent, due, encoded: EncodedRecord::of_hold(hold) }
    }
}

impl From<&Tombstone> for Row {
    fn from(tombstone: &Tombstone) -> Self {
        let key = Key { kind: Kind::Tombstone, id: tombstone.id };
        let (due, encoded) = (Some(tombstone.until), EncodedRecord::of_tombstone(tombstone));
        Self { key, parent: None, due, encoded }
    }
}

/// A record in its stored form. The digest is taken over these bytes and the kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EncodedRecord {
    kind: Kind,
    bytes: Bytes,
}

impl EncodedRecord {
    /// Takes bytes that were stored before; whether they are a record is found when they are read.
    pub fn from_bytes(kind: Kind, bytes: Bytes) -> Self {
        Self { kind, bytes }
    }

    /// Encodes a pool.
    pub fn of_pool(pool: &Pool) -> Self {
        Self::encode(Kind::Pool, pool.spec.targeting.level(), &PoolMessage::from(pool))
    }

    /// Encodes a hold.
    pub fn of_hold(hold: &Hold) -> Self {
        Self::encode(Kind::Hold, CAPACITY_LEVEL, &HoldMessage::from(hold))
    }

    /// Encodes a tombstone.
    pub fn of_tombstone(tombstone: &Tombstone) -> Self {
        Self::encode(Kind::Tombstone, CAPACITY_LEVEL, &TombstoneMessage::from(tombstone))
    }

    fn encode(kind: Kind, needed: u8, message: &impl Message) -> Self {
        let mut bytes = BytesMut::with_capacity(1 + message.encoded_len());
        bytes.put_u8(needed.max(CAPACITY_LEVEL));
        message.encode(&mut bytes).expect("the buffer grows");
        Self { kind, bytes: bytes.freeze() }
    }

    /// Returns its kind.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// Returns its bytes.
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// Returns its bytes.
    pub fn into_bytes(self) -> Bytes {
        self.bytes
    }

    /// Returns the format level that reading it needs.
    pub fn level(&self) -> u8 {
        self.bytes.first().copied().unwrap_or(CAPACITY_LEVEL)
    }

    /// Reads a pool.
    ///
    /// # Errors
    /// It is another kind of record, damaged, or of a newer build.
    pub fn pool(&self) -> Result<Pool, Undecodable> {
        self.decode::<PoolMessage>(Kind::Pool)?.try_into()
    }

    /// Reads a hold.
    ///
    /// # Errors
    /// As for [`EncodedRecord::pool`].
    pub fn hold(&self) -> Result<Hold, Undecodable> {
        self.decode::<HoldMessage>(Kind::Hold)?.try_into()
    }

    /// Reads a tombstone.
    ///
    /// # Errors
    /// As for [`EncodedRecord::pool`].
    pub fn tombstone(&self) -> Result<Tombstone, Undecodable> {
        self.decode::<TombstoneMessage>(Kind::Tombstone)?.try_into()
    }

    fn decode<M: Message + Default>(&self, kind: Kind) -> Result<M, Undecodable> {
        if self.kind != kind {
            return Err(Undecodable::Field("kind"));
        }
        match self.bytes.first() {
            Some(&level) if level > format_level() => Err(Undecodable::TooNew(level)),
            Some(&level) if level >= CAPACITY_LEVEL => Ok(M::decode(self.bytes.slice(1..))?),
            _ => Err(Undecodable::Field("format level")),
        }
    }
}

#[derive(Clone, PartialEq, Message)]
struct PoolMessage {
    #[prost(bytes = "bytes", tag = "1")]
    id: Bytes,
    #[prost(uint64, tag = "2")]
    version: u64,
    #[prost(sfixed64, tag = "3")]
    created_at: i64,
    #[prost(string, tag = "4")]
    name: String,
    #[prost(uint64, tag = "5")]
    capacity: u64,
    #[prost(sfixed64, optional, tag = "6")]
    start_at: Option<i64>,
    #[prost(sfixed64, optional, tag = "7")]
    end_at: Option<i64>,
    /// 0: as soon as possible, 1: evenly.
    #[prost(uint32, tag = "8")]
    pacing: u32,
    #[prost(bool, tag = "9")]
    paused: bool,
    /// The fields of the dimensions, as an ad has them.
    #[prost(bytes = "bytes", tag = "10")]
    targeting: Bytes,
    #[prost(uint64, tag = "11")]
    reserved: u64,
    #[prost(uint64, tag = "12")]
    allotted: u64,
    #[prost(uint64, tag = "13")]
    used: u64,
    #[prost(uint64, tag = "14")]
    lost: u64,
}

impl From<&Pool> for PoolMessage {
    fn from(pool: &Pool) -> Self {
        let (spec, balance) = (&pool.spec, pool.balance);
        Self {
            id: id_bytes(pool.id),
            version: pool.version,
            created_at: pool.created_at.micros(),
            name: spec.name.clone(),
            capacity: spec.capacity,
            start_at: spec.start_at.map(Timestamp::micros),
            end_at: spec.end_at.map(Timestamp::micros),
            pacing: match spec.pacing {
                Pacing::Asap => 0,
                Pacing::Even => 1,
            },
            paused: spec.paused,
            targeting: spec.targeting.encode().into(),
            reserved: balance.reserved,
            allotted: balance.allotted,
            used: balance.used,
            lost: balance.lost,
        }
    }
}

impl TryFrom<PoolMessage> for Pool {
    type Error = Undecodable;

    fn try_from(pool: PoolMessage) -> Result<Self, Undecodable> {
        let optional = |micros: Option<i64>, field| micros.map(|at| stamp(at, field)).transpose();
        let start_at = optional(pool.start_at, "start_at")?;
        let end_at = optional(pool.end_at, "end_at")?;
        let window = start_at.zip(end_at);
        if window.is_some_and(|(start, end)| start >= end) {
            return Err(Undecodable::Field("end_at"));
        }
        let pacing = match pool.pacing {
            0 => Pacing::Asap,
            1 if window.is_some() => Pacing::Even,
            _ => return Err(Undecodable::Field("pacing")),
        };
        let (mut conditions, mut left) = (Stored::default(), Input(&pool.targeting));
        while !left.0.is_empty() {
            let (tag, value) = left.field().ok_or(Undecodable::Torn)?;
            conditions.take(tag, value).ok_or(Undecodable::Torn)?;
        }
        let targeting = conditions.targeting().map_err(Undecodable::Field)?;
        let (name, capacity, paused) = (pool.name, pool.capacity, pool.paused);
        let PoolMessage { reserved, allotted, used, lost, .. } = pool;
        Ok(Self {
            id: uuid(&pool.id, "id")?,
            version: pool.version,
            created_at: stamp(pool.created_at, "created_at")?,
            spec: PoolSpec { name, capacity, start_at, end_at, pacing, paused, targeting },
            balance: Balance { reserved, allotted, used, lost },
        })
    }
}

#[derive(Clone, PartialEq, Message)]
struct HoldMessage {
    #[prost(bytes = "bytes", tag = "1")]
    id: Bytes,
    #[prost(uint64, tag = "2")]
    version: u64,
    #[prost(sfixed64, tag = "3")]
    created_at: i64,
    /// The pool's id. There is one; the field can have more, for holds of several pools.
    #[prost(bytes = "bytes", repeated, tag = "4")]
    pools: Vec<Bytes>,
    #[prost(uint64, tag = "5")]
    amount: u64,
    /// The replica that holds it, 16 bytes; empty for a client's.
    #[prost(bytes = "bytes", tag = "6")]
    owner: Bytes,
    #[prost(sfixed64, optional, tag = "7")]
    expires_at: Option<i64>,
}

impl From<&Hold> for HoldMessage {
    fn from(hold: &Hold) -> Self {
        Self {
            id: id_bytes(hold.id),
            version: hold.version,
            created_at: hold.created_at.micros(),
            pools: vec![id_bytes(hold.pool)],
            amount: hold.amount,
            owner: hold.owner.map_or_else(Bytes::new, id_bytes),
            expires_at: hold.expires_at.map(Timestamp::micros),
        }
    }
}

impl TryFrom<HoldMessage> for Hold {
    type Error = Undecodable;

    fn try_from(hold: HoldMessage) -> Result<Self, Undecodable> {
        let [pool] = &hold.pools[..] else { return Err(Undecodable::Field("pools")) };
        if hold.amount == 0 {
            return Err(Undecodable::Field("amount"));
        }
        let owner = match &hold.owner[..] {
            [] => None,
            owner => Some(uuid(owner, "owner")?),
        };
        Ok(Self {
            id: uuid(&hold.id, "id")?,
            version: hold.version,
            created_at: stamp(hold.created_at, "created_at")?,
            pool: uuid(pool, "pools")?,
            amount: hold.amount,
            owner,
            expires_at: hold.expires_at.map(|at| stamp(at, "expires_at")).transpose()?,
        })
    }
}

#[derive(Clone, PartialEq, Message)]
struct TombstoneMessage {
    #[prost(bytes = "bytes", tag = "1")]
    id: Bytes,
    #[prost(uint64, tag = "2")]
    version: u64,
    #[prost(sfixed64, tag = "3")]
    until: i64,
    #[prost(uint64, tag = "4")]
    used: u64,
    /// See `CloseReason`.
    #[prost(uint32, tag = "5")]
    reason: u32,
}

impl From<&Tombstone> for TombstoneMessage {
    fn from(tombstone: &Tombstone) -> Self {
        let Tombstone { id, version, until, used, reason } = *tombstone;
        let (id, until, reason) = (id_bytes(id), until.micros(), reason.number());
        Self { id, version, until, used, reason }
    }
}

impl TryFrom<TombstoneMessage> for Tombstone {
    type Error = Undecodable;

    fn try_from(tombstone: TombstoneMessage) -> Result<Self, Undecodable> {
        let TombstoneMessage { id, version, until, used, reason } = tombstone;
        Ok(Self {
            id: uuid(&id, "id")?,
            version,
            until: stamp(until, "until")?,
            used,
            reason: CloseReason::from_number(reason).ok_or(Undecodable::Field("reason"))?,
        })
    }
}
