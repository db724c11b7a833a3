//! Values of options: how each is read, and what is said of one that cannot be.

use std::net::{SocketAddr, ToSocketAddrs};
use std::time::Duration;

use placard_model::limits;
use placard_node::Cors;
use reqwest::Url;

/// Where to listen. Of a name's addresses the first of IPv4 is taken, or else its first.
pub(super) fn place(text: &str) -> Result<SocketAddr, String> {
    let text = if text.starts_with(':') { &format!("0.0.0.0{text}") } else { text };
    let form = "must be like 127.0.0.1:8080, [::1]:8080, localhost:8080 or :8080";
    let is_port = |port: &str| port.bytes().all(|byte| byte.is_ascii_digit());
    if !text.rsplit_once(':').is_some_and(|(_, port)| is_port(port)) {
        return Err(form.to_owned());
    }
    let addresses = text.to_socket_addrs().map_err(|error| format!("{form}: {error}"))?;
    let addresses: Vec<_> = addresses.collect();
    let first = addresses.iter().find(|address| address.is_ipv4()).or(addresses.first());
    first.copied().ok_or_else(|| form.to_owned())
}

pub(super) fn milliseconds(text: &str) -> Result<Duration, String> {
    const MOST: u64 = 600_000;
    match text.parse() {
        Ok(ms) if ms <= MOST => Ok(Duration::from_millis(ms)),
        _ => Err(format!("must be a whole number of milliseconds up to {MOST}")),
    }
}

pub(super) fn connections_max(text: &str) -> Result<usize, String> {
    const MOST: usize = 1_000_000;
    match text.parse() {
        Ok(max) if (1..=MOST).contains(&max) => Ok(max),
        _ => Err(format!("must be a whole number from 1 to {MOST}")),
    }
}

pub(super) fn collector(text: &str) -> Result<Url, String> {
    // The path below which spans are taken is added to it; twice it would lead nowhere.
    let is_base = |url: &Url| !url.path().trim_end_matches('/').ends_with("/v1/traces");
    let form =
        "must be like http://127.0.0.1:4318, without /v1/traces, a user, a query or a fragment";
    server(text, &["http", "https"]).filter(is_base).ok_or_else(|| form.to_owned())
}

/// A balancer's page of metrics; of a bare server it is the one at `/metrics`.
pub(super) fn balancer(text: &str) -> Result<Url, String> {
    let form = "must be like http://127.0.0.1:8404/metrics, without a user, a query or a fragment";
    let mut url = server(text, &["http"]).ok_or_else(|| form.to_owned())?;
    if url.path() == "/" {
        url.set_path("/metrics");
    }
    Ok(url)
}

pub(super) fn target(text: &str) -> Result<Url, String> {
    let form = "must be like http://127.0.0.1:8080, without a user, a path, a query or a fragment";
    let is_root = |url: &Url| url.path() == "/";
    server(text, &["http"]).filter(is_root).ok_or_else(|| form.to_owned())
}

/// A server's URL of one of these schemes, without what is not sent to it, or would lead somewhere else.
fn server(text: &str, schemes: &[&str]) -> Option<Url> {
    let url: Url = text.parse().ok()?;
    let is_plain = schemes.contains(&url.scheme())
        && (url.username(), url.password()) == ("", None)
        && (url.query(), url.fragment()) == (None, None);
    is_plain.then_some(url)
}

/// A place that others can be sent to: an address, or a host's name (RFC 1123, with what containers' names have), and a
/// port.
pub(super) fn advertised(text: &str) -> Result<String, String> {
    let is_label = |label: &str| {
        (1..=63).contains(&label.len())
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
    };
    // A name whose last label is a number would be taken for an address (WHATWG URL, 3.5), and is not accepted here.
    let is_name = |host: &str| {
        let is_number = |label: &str| label.bytes().all(|byte| byte.is_ascii_digit());
        host.split('.').all(is_label) && !host.rsplit('.').next().is_some_and(is_number)
    };
    let is_port = |port: &str| {
        port.starts_with(|first| matches!(first, '1'..='9')) && port.parse::<u16>().is_ok()
    };
    let is_place = text.rsplit_once(':').is_some_and(|(host, port)| {
        let is_host = match text.parse::<SocketAddr>() {
            Ok(address) => !address.ip().to_canonical().is_unspecified(),
            Err(_) => is_name(host),
        };
        is_host && is_port(port)
    });
    let fits = text.len() <= limits::ADDRESS_BYTES_MAX;
    (fits && is_place).then(|| text.to_owned()).ok_or_else(|| {
        let most = limits::ADDRESS_BYTES_MAX;
        format!("must be like ads-1.example:8080 or [2001:db8::1]:8080, of up to {most} bytes")
    })
}

/// Origins between commas; what is empty between two, or behind the last, is none.
pub(super) fn origins(text: &str) -> Result<Cors, String> {
    let origins = text.split(',').map(str::trim).filter(|origin| !origin.is_empty());
    origins.map(str::parse::<Cors>).collect::<Result<_, _>>().map_err(|error| error.to_string())
}

pub(super) fn ratio(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(ratio) if (0.0..=1.0).contains(&ratio) => Ok(ratio),
        _ => Err("must be a number from 0 to 1".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn advertised_address_must_be_host_and_port() {
        let label = "x".repeat(63);
        let longest = format!("{label}.{label}.{label}.{}", &label[..58]);
        for place in [
            "ads-1.example:8080",
            "placard_1:1",
            "localhost:65535",
            "192.0.2.1:8080",
            "1.ads-1:8080",
            "7a:8080",
            "[::ffff:192.0.2.1]:8080",
            "[2001:db8::1]:8080",
            &format!("{longest}:8080"),
        ] {
            assert_eq!(advertised(place).as_deref(), Ok(place));
        }
        for other in [
            "",
            "ads-1",
            "ads-1:",
            ":8080",
            "ads-1:0",
            "ads-1:+80",
            "ads-1:65536",
            "ads-1:http",
            "ads 1:8080",
            "ads-1..example:8080",
            "http://ads-1:8080",
            "ads-1:8080/",
            "ann@ads-1:8080",
            "2001:db8::1:8080",
            "[2001:db8::1]",
            "0.0.0.0:8080",
            "192.0.2.1:0",
            "999.1.1.1:80",
            "1.2.3.4.5:80",
            "0:80",
            "ads-1.7:80",
            "-a-:80",
            "ads-1.-example:80",
            "ads-:80",
            "a:00080",
            "192.0.2.1:080",
            "[::]:80",
            "[::ffff:0.0.0.0]:80",
            &format!("{longest}x:8080"),
            &format!("{label}x:8080"),
        ] {
            assert!(advertised(other).is_err(), "{other}");
        }
    }

    #[test]
    fn listen_address_may_be_an_ip_a_name_or_a_port() {
        for (text, address) in [
            ("127.0.0.1:8080", "127.0.0.1:8080"),
            ("[::1]:0", "[::1]:0"),
            ("localhost:8080", "127.0.0.1:8080"),
            (":8080", "0.0.0.0:8080"),
        ] {
            assert_eq!(place(text).map(|place| place.to_string()).as_deref(), Ok(address));
        }
        for other in [
            "",
            "here",
            "8080",
            "127.0.0.1",
            "127.0.0.1:",
            "127.0.0.1:70000",
            "::1",
            ":http",
            "a b:80",
        ] {
            assert!(place(other).is_err(), "{other}");
        }
    }

    #[test]
    fn collector_url_must_be_a_plain_base_url() {
        for base in [
            "http://127.0.0.1:4318",
            "https://collector.example/",
            "https://collector.example/otlp/",
            "https://collector.example/v1/traces/of/ours",
        ] {
            assert!(collector(base).is_ok(), "{base}");
        }
        for other in [
            "",
            "127.0.0.1:4318",
            "collector:4318",
            "grpc://collector:4317",
            "http://",
            "http://collector:4318/v1/traces",
            "http://collector:4318/otlp/v1/traces/",
            "http://collector:4318?key=1",
            "http://collector:4318/?",
            "http://collector:4318/#spans",
            "http://ann@collector:4318",
            "http://ann:secret@collector:4318",
            "http://:secret@collector:4318",
        ] {
            assert!(collector(other).is_err(), "{other}");
        }
    }

    #[test]
    fn balancer_url_leads_to_its_metrics() {
        for (text, page) in [
            ("http://127.0.0.1:8404", "http://127.0.0.1:8404/metrics"),
            ("http://lb-1.example:8404/", "http://lb-1.example:8404/metrics"),
            ("http://[::1]/haproxy/metrics", "http://[::1]/haproxy/metrics"),
        ] {
            assert_eq!(balancer(text).map(String::from).as_deref(), Ok(page));
        }
        for other in
            ["", "127.0.0.1:8404", "https://lb", "http://ann:secret@lb", "http://lb/?scope=server"]
        {
            assert!(balancer(other).is_err(), "{other}");
        }
    }

    #[test]
    fn target_must_be_a_bare_http_server_url() {
        for server in ["http://127.0.0.1:8080", "http://ads.example/", "http://[::1]:80"] {
            assert!(target(server).is_ok(), "{server}");
        }
        for other in [
            "",
            "127.0.0.1:8080",
            "https://ads.example",
            "http://ann:secret@127.0.0.1:8080",
            "http://ann@127.0.0.1:8080",
            "http://:secret@127.0.0.1:8080",
            "http://127.0.0.1:8080/api/v1/ad",
            "http://127.0.0.1:8080/?x",
            "http://127.0.0.1:8080/#x",
        ] {
            assert!(target(other).is_err(), "{other}");
        }
    }

    #[test]
    fn origins_may_end_in_a_comma() {
        let both: Cors = ["https://a.org", "https://b.org"]
            .map(|one| one.parse().unwrap())
            .into_iter()
            .collect();
        for text in ["https://a.org,https://b.org", ",https://a.org,, https://b.org,"] {
            assert_eq!(origins(text).as_ref(), Ok(&both), "{text}");
        }
        assert_eq!(origins(","), Ok(Cors::default()));
        assert!(origins("https://a.org,b.org").is_err());
    }
}
