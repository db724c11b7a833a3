//! The address of a request's client: the other end of its connection, or, if that is a trusted proxy, the address from
//! which the proxy says that it has the request.

use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

use http::{Extensions, HeaderMap, HeaderName};
use ipnet::IpNet;

const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// The other end of a connection, among a request's extensions.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Peer(pub(crate) IpAddr);

/// Networks of proxies whose `X-Forwarded-For` is trusted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TrustedProxies(Vec<IpNet>);

/// A text that is not a network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("must be addresses or networks, as 10.0.0.0/8 or 2001:db8::1")]
pub struct NetworkError;

/// A network or an address.
impl FromStr for TrustedProxies {
    type Err = NetworkError;

    fn from_str(text: &str) -> Result<Self, NetworkError> {
        let address = || text.parse::<IpAddr>().ok().map(IpNet::from);
        let network = text.parse().ok().or_else(address).ok_or(NetworkError)?;
        Ok(Self(vec![network]))
    }
}

impl FromIterator<TrustedProxies> for TrustedProxies {
    fn from_iter<I: IntoIterator<Item = Self>>(all: I) -> Self {
        Self(all.into_iter().flat_map(|Self(networks)| networks).collect())
    }
}

impl TrustedProxies {
    fn trusts(&self, address: IpAddr) -> bool {
        self.0.iter().any(|network| network.contains(&address))
    }

    /// Returns the last address on the request's way that is not a trusted proxy's.
    pub(crate) fn client(&self, headers: &HeaderMap, extensions: &Extensions) -> Option<IpAddr> {
        let Peer(mut last) = *extensions.get()?;
        last = last.to_canonical();
        let lines = headers.get_all(FORWARDED_FOR);
        let said = lines.iter().rev().flat_map(|line| line.to_str().unwrap_or("?").rsplit(','));
        for address in said {
            if !self.trusts(last) {
                break;
            }
            // A trusted proxy wrote something other than an address: that proxy is the last one that is known.
            let Some(address) = parse(address.trim()) else { break };
            last = address.to_canonical();
        }
        Some(last)
    }
}

/// Some proxies say the port too.
fn parse(address: &str) -> Option<IpAddr> {
    let with_port = || address.parse::<SocketAddr>().ok().map(|address| address.ip());
    address.parse().ok().or_else(with_port)
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn client_is_last_address_before_trusted_proxies() {
        let trusted: TrustedProxies =
            ["10.0.0.0/8", "2001:db8::7"].map(|one| one.parse().unwrap()).into_iter().collect();
        let client = |peer: &str, lines: &[&str]| {
            let mut headers = HeaderMap::new();
            for line in lines {
                headers.append(FORWARDED_FOR, HeaderValue::from_str(line).unwrap());
            }
            let mut extensions = Extensions::new();
            extensions.insert(Peer(peer.parse().unwrap()));
            trusted.client(&headers, &extensions).unwrap().to_string()
        };
        // What an untrusted peer says does not count.
        assert_eq!(client("192.0.2.1", &["203.0.113.9"]), "192.0.2.1");
        assert_eq!(client("10.1.1.1", &[]), "10.1.1.1");
        assert_eq!(client("10.1.1.1", &["203.0.113.9"]), "203.0.113.9");
        assert_eq!(client("::ffff:10.1.1.1", &["203.0.113.9:4711"]), "203.0.113.9");
        assert_eq!(
            client("2001:db8::7", &["203.0.113.9, [2001:db8::9]:80, 10.2.2.2"]),
            "2001:db8::9"
        );
        assert_eq!(client("10.1.1.1", &["1.1.1.1, 203.0.113.9", "10.2.2.2"]), "203.0.113.9");
        assert_eq!(client("10.1.1.1", &["203.0.113.9, unknown, 10.2.2.2"]), "10.2.2.2");
        assert!("10.0.0.0/33".parse::<TrustedProxies>().is_err());
        assert!("proxy.example".parse::<TrustedProxies>().is_err());
    }
}
