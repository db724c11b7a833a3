//! What a replica knows of the others.

use std::collections::VecDeque;

use placard_model::entry::Position;
use placard_model::{Timestamp, Version};

use crate::ports::{Head, Member, StreamStatus};

/// What the replica knows of the others, as of its last poll.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cluster {
    /// The head.
    pub head: Position,
    /// The journal's clock.
    pub now: Timestamp,
    /// The register.
    pub members: Vec<Member>,
    /// The stream.
    pub stream: StreamStatus,
    /// The heads that the last polls saw, and when by the journal's clock; oldest first.
    heads: VecDeque<(Version, Timestamp)>,
}

/// Heads that are remembered, so that a replica's lag can be told in time: the last minute's.
const HEADS: usize = 240;

impl Cluster {
    /// As a head poll finds it; what is known of the stream stays.
    pub(super) fn polled(known: Option<&Self>, head: Head) -> Self {
        let Head { position: head, now, members, .. } = head;
        let (stream, mut heads) =
            known.map_or_else(Default::default, |known| (known.stream, known.heads.clone()));
        if heads.len() == HEADS {
            heads.pop_front();
        }
        heads.push_back((head.version, now));
        Self { head, now, members, stream, heads }
    }

    /// With what the stream has said of itself meanwhile.
    pub(super) fn inspected(&self, stream: StreamStatus) -> Self {
        Self { stream, ..self.clone() }
    }

    /// When a head beyond `version` was first seen; `None` if none was.
    pub fn first_seen_after(&self, version: Version) -> Option<Timestamp> {
        self.heads.iter().find(|(head, _)| *head > version).map(|(_, at)| *at)
    }
}
