//! What a replica knows of the others.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use placard_model::entry::Position;
use placard_model::{Timestamp, Version};
use uuid::Uuid;

use super::io::Moment;
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
    /// Which of this replica's polls it was, counted from one.
    pub poll: u64,
    /// When that poll was sent.
    sent: Moment,
    /// When each member was last seen by the journal's clock, and since when that is known here.
    seen: BTreeMap<Uuid, (Timestamp, Moment)>,
    /// The heads that the last polls saw, and when by the journal's clock; oldest first.
    heads: VecDeque<(Version, Timestamp)>,
}

/// A poll that has come back.
#[derive(Debug, Clone, Copy)]
pub(super) struct Asked {
    pub(super) poll: u64,
    pub(super) sent: Moment,
    pub(super) returned: Moment,
}

/// Heads that are remembered, so that a replica's lag can be told in time: those of a minute at the usual pause between
/// two polls, or of 6 s while somebody waits for all replicas.
const HEADS: usize = 240;

impl Cluster {
    /// As a head poll finds it; what is known of the stream stays.
    pub(super) fn polled(known: Option<&Self>, head: Head, asked: Asked) -> Self {
        let Asked { poll, sent, returned } = asked;
        let Head { position: head, now, members, .. } = head;
        let (stream, mut heads) =
            known.map_or_else(Default::default, |known| (known.stream, known.heads.clone()));
        if heads.len() == HEADS {
            heads.pop_front();
        }
        heads.push_back((head.version, now));
        let seen = members.iter().map(|member| {
            let replica = member.identity.replica;
            let before = known.and_then(|known| known.seen.get(&replica));
            let same = before.filter(|(seen_at, _)| *seen_at == member.seen_at);
            (replica, same.copied().unwrap_or((member.seen_at, returned)))
        });
        let seen = seen.collect();
        Self { head, now, members, stream, poll, sent, seen, heads }
    }

    /// Whether nobody is shown anything older than `version` by a member: it has published it, or refuses.
    pub fn confirms(&self, member: &Member, version: Version) -> bool {
        member.standing.published.version >= version || self.is_silent(member)
    }

    /// Whether a member has not been heard of for so long that it answers nobody. That is judged by how long its row
    /// was seen to stand still here, rather than by the journal's clock, which may be set, and by rows, which may be a
    /// backup's. The member counts from before it has sent what the row says, by a clock that runs at most a hundredth
    /// slower, and cannot have sent anything since without being seen in the row.
    fn is_silent(&self, member: &Member) -> bool {
        let Some(after) = member.identity.refuses_after else { return false };
        let Some((_, since)) = self.seen.get(&member.identity.replica) else { return false };
        let lease = member.lease_until.micros().saturating_sub(member.seen_at.micros());
        let answers = after + Duration::from_micros(u64::try_from(lease).unwrap_or(0));
        self.sent > *since + answers + answers / 100
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Uptime;
    use crate::ports::{Identity, Standing};

    fn at(ms: u64) -> Moment {
        Moment(Duration::from_millis(ms))
    }

    /// What a poll that was sent then finds 10 ms later: one other replica, seen when the journal's clock said so.
    fn poll(known: Option<&Cluster>, sent: u64, seen_at: i64, now: i64) -> Cluster {
        let at_second = |second| Timestamp::EPOCH.saturating_add_micros(second * 1_000_000);
        let member = Member {
            identity: Identity {
                replica: Uuid::from_u128(2),
                address: "localhost:2".to_owned(),
                build: "test".to_owned(),
                format_level: 1,
                refuses_after: Some(Duration::from_secs(3)),
            },
            standing: Standing {
                state: "ready".to_owned(),
                published: Position::START,
                clock_ahead: 0,
                tails_journal: false,
            },
            seen_at: at_second(seen_at),
            lease_until: at_second(seen_at + 2),
        };
        let head = Head {
            position: Position::START,
            chain_at: None,
            now: at_second(now),
            asked: Uptime::now(),
            answered: Uptime::now(),
            members: vec![member],
        };
        Cluster::polled(known, head, Asked { poll: 1, sent: at(sent), returned: at(sent + 10) })
    }

    #[test]
    fn silence_is_judged_by_what_was_seen_here() {
        let confirms = |cluster: &Cluster| cluster.confirms(&cluster.members[0], 1);
        // The row of a backup, or a clock that has jumped: its lease ended an hour ago.
        let first = poll(None, 0, 100, 4_000);
        assert!(!confirms(&first));
        let later = poll(Some(&first), 5_059, 100, 4_005);
        assert!(!confirms(&later));
        assert!(confirms(&poll(Some(&later), 5_061, 100, 4_005)));
        // A clock that was set back does not make it last.
        assert!(confirms(&poll(Some(&later), 5_061, 100, 50)));
        let renewed = poll(Some(&later), 5_061, 101, 4_005);
        assert!(!confirms(&renewed) && !confirms(&poll(Some(&renewed), 10_000, 101, 4_010)));
        assert!(renewed.confirms(&renewed.members[0], 0));
    }
}
