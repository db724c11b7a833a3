//! Checks what a Redis says of itself when a replica starts.

/// A setting that makes the stream forget more than it must. Nothing is lost by it: the replicas read the
/// journal instead, which costs time.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Warning {
    /// Keys may be evicted, the whole stream among them.
    #[error(
        "maxmemory-policy is {0}: under memory pressure Redis may evict the stream; noeviction keeps it"
    )]
    Evicts(String),
    /// A restart forgets what was appended since the last save, or everything.
    #[error(
        "appendonly is off: a restart of Redis forgets entries, and replicas that lack them read the journal"
    )]
    NotPersistent,
    /// The stream cannot be trimmed to what replicas need.
    #[error("Redis {0} is older than 6.2, and cannot trim the stream by version")]
    TooOld(String),
    /// It holds only a part of the keys, and redirects requests for others to other nodes, which replicas do not
    /// follow.
    #[error(
        "Redis is a node of a Redis Cluster, whose redirections are not followed: name a Redis of its own, or Sentinels"
    )]
    Cluster,
}

/// Reads the answer to INFO; what it does not say is not warned of.
pub(super) fn warnings(info: &str) -> Vec<Warning> {
    let says = |name: &str| {
        let mut fields = info.lines().filter_map(|line| line.split_once(':'));
        fields.find(|(known, _)| *known == name).map(|(_, value)| value.trim())
    };
    let policy = says("maxmemory_policy").filter(|policy| *policy != "noeviction");
    let aof_off = says("aof_enabled").filter(|enabled| *enabled == "0");
    let cluster = says("cluster_enabled").filter(|enabled| *enabled == "1");
    let too_old = says("redis_version").filter(|version| is_before_6_2(version));
    [
        policy.map(|policy| Warning::Evicts(policy.to_owned())),
        aof_off.map(|_| Warning::NotPersistent),
        too_old.map(|version| Warning::TooOld(version.to_owned())),
        cluster.map(|_| Warning::Cluster),
    ]
    .into_iter()
    .flatten()
    .collect()
}

fn is_before_6_2(version: &str) -> bool {
    let mut numbers = version.split('.').map_while(|number| number.parse::<u32>().ok());
    matches!((numbers.next(), numbers.next()), (Some(major), Some(minor)) if (major, minor) < (6, 2))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_harmful_redis_settings_are_warned_of() {
        let good =
            "# Memory\r\nmaxmemory_policy:noeviction\r\naof_enabled:1\r\nredis_version:6.2.0\r\n";
        assert_eq!(warnings(good), []);
        assert_eq!(warnings("nothing that is known"), []);
        let bad = "maxmemory_policy:allkeys-lru\r\naof_enabled:0\r\nredis_version:6.0.16\r\ncluster_enabled:1\r\n";
        let expected = [
            Warning::Evicts("allkeys-lru".to_owned()),
            Warning::NotPersistent,
            Warning::TooOld("6.0.16".to_owned()),
            Warning::Cluster,
        ];
        assert_eq!(warnings(bad), expected);
    }
}
