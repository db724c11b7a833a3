//! A URL of PostgreSQL's, as libpq understands it: its hosts, and its parameters, which are honoured, or refused by name
//! with the reason. Nothing of what was not understood is shown: it may be a part of a password.

mod error;
mod percent;
mod places;
mod rules;

use std::time::Duration;

use sqlx::ConnectOptions;
use sqlx::postgres::PgConnectOptions;

use super::session;

pub use error::UrlError;
use percent::{decoded, encoded};
use places::{Place, named, places, port};
use rules::{Own, RULES, Rule, SSL_MODES};

/// The least that `connect_timeout` means, as libpq has it.
const CONNECT_MIN: u64 = 2;
/// More hosts than a cluster of PostgreSQL has.
const HOSTS_MAX: usize = 16;

/// The content of a URL.
#[derive(Debug, Clone)]
pub(super) struct Target {
    /// Where the server is; of several the one that takes writes.
    pub(super) hosts: Vec<PgConnectOptions>,
    /// How long connecting may take, if the URL says so.
    pub(super) connect_timeout: Option<Duration>,
    /// Whether an operator asks for settings as a connection begins.
    pub(super) asks_more: bool,
    /// Whether it names a user. One that does not may lack its `@`, and what looks like a port or a database may then
    /// be a password.
    pub(super) has_user: bool,
}

/// Reads a URL.
pub(super) fn parse(url: &str) -> Result<Target, UrlError> {
    let schemes = ["postgres://", "postgresql://"];
    let rest = schemes.into_iter().find_map(|scheme| url.strip_prefix(scheme));
    let rest = rest.ok_or(UrlError::Form)?;
    let (server, query) = rest.split_once('?').unwrap_or((rest, ""));
    let (authority, database) = server.split_once('/').unwrap_or((server, ""));
    // Nothing follows a `#`: it is a password's, and so may be what looks like a database.
    if rest.contains('#') || database.contains(['/', ':', '@']) {
        return Err(UrlError::Form);
    }
    let (login, hosts) = authority.rsplit_once('@').unwrap_or(("", authority));
    let (user, password) = login.split_once(':').unwrap_or((login, ""));
    let mut said = Said { hosts: places(hosts)?, ..Said::default() };
    for (name, value) in [("user", user), ("password", password), ("dbname", database)] {
        if !value.is_empty() {
            said.pass(name, &decoded(value)?);
        }
    }
    for parameter in query.split('&').filter(|parameter| !parameter.is_empty()) {
        let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
        said.take(&decoded(name)?, value, query)?;
    }
    said.target()
}

/// The parts of a URL that have been read so far.
#[derive(Default)]
struct Said {
    hosts: Vec<Place>,
    /// The parameter that names them, if one does.
    named_by: Option<&'static str>,
    /// Ports apart from hosts, which are named apart too.
    ports: Vec<u16>,
    ssl_mode: Option<String>,
    has_root: bool,
    is_system_root: bool,
    connect_timeout: Option<Duration>,
    /// The parameters that sqlx gets beside the host: names and values.
    passed: Vec<(String, String)>,
}

impl Said {
    fn pass(&mut self, name: &str, value: &str) {
        self.passed.push((name.to_owned(), value.to_owned()));
    }

    fn take(&mut self, name: &str, value: &str, query: &str) -> Result<(), UrlError> {
        if name.starts_with("options[") && name.ends_with(']') {
            self.pass(name, &decoded(value)?);
            return Ok(());
        }
        let rule = RULES.iter().find(|(known, _)| *known == name);
        let Some((name, rule)) = rule else {
            // Behind a `?` that belongs to a password there is an `@` too.
            let is_name = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
            let shown = is_name && !query.contains('@');
            return Err(UrlError::Unknown(shown.then(|| name.to_owned())));
        };
        let value = decoded(value)?;
        match rule {
            Rule::Passed => match *name {
                "options" => self.pass(name, &value.replace('+', " ")),
                "statement-cache-capacity" if value.parse::<u16>().is_err() => {
                    return Err(UrlError::Value(name, "a whole number"));
                }
                _ => self.pass(name, &value),
            },
            Rule::File(known) => self.file(name, known, &value)?,
            Rule::Needless([], _) => {}
            Rule::Needless(values, reason) => {
                if !values.contains(&&*value) {
                    return Err(UrlError::Refused(name, reason));
                }
            }
            Rule::Own(own) => self.own(own, name, &value)?,
        }
        Ok(())
    }

    fn file(
        &mut self,
        name: &'static str,
        known: &'static str,
        file: &str,
    ) -> Result<(), UrlError> {
        if known == "sslrootcert" {
            self.has_root = true;
            if file == "system" {
                self.is_system_root = true;
                return Ok(());
            }
        }
        std::fs::File::open(file).map_err(|error| UrlError::File(name, file.into(), error))?;
        self.pass(known, file);
        Ok(())
    }

    fn own(&mut self, own: &Own, name: &'static str, value: &str) -> Result<(), UrlError> {
        match own {
            Own::Hosts => {
                if self.named_by.is_some_and(|other| other != name) {
                    return Err(UrlError::Refused(name, "a host is named by host or by hostaddr"));
                }
                self.named_by = Some(name);
                let hosts: Vec<_> = value.split(',').map(named).collect::<Result<_, _>>()?;
                // As libpq has it, which names hosts and ports apart.
                let ports: Vec<_> = self.hosts.iter().map(|place| place.1).collect();
                let port = |nth: usize| match &ports[..] {
                    [one] => *one,
                    ports => ports.get(nth).copied().flatten(),
                };
                let places = hosts.into_iter().enumerate();
                self.hosts = places.map(|(nth, host)| Place(host, port(nth))).collect();
            }
            Own::Ports => {
                let ports = value.split(',').map(port).collect::<Result<_, UrlError>>();
                self.ports =
                    ports.map_err(|_| UrlError::Value(name, "a port, or as many as hosts"))?;
            }
            Own::SslMode => {
                let form = "disable, allow, prefer, require, verify-ca or verify-full";
                if !SSL_MODES.contains(&value) {
                    return Err(UrlError::Value(name, form));
                }
                self.ssl_mode = Some(value.to_owned());
            }
            Own::Ssl => {
                if value != "true" {
                    return Err(UrlError::Value(name, "true; use sslmode for anything else"));
                }
                self.ssl_mode = Some("require".to_owned());
            }
            Own::Timeout => {
                let seconds: i64 =
                    value.parse().map_err(|_| UrlError::Value(name, "a number of seconds"))?;
                let seconds = u64::try_from(seconds).unwrap_or(0);
                let timeout = Duration::from_secs(seconds.max(CONNECT_MIN));
                self.connect_timeout = (seconds > 0).then_some(timeout);
            }
            Own::Attributes => match value {
                "any" | "read-write" | "primary" => {}
                "read-only" | "standby" | "prefer-standby" => {
                    return Err(UrlError::Refused(
                        name,
                        "the journal is written to: use read-write",
                    ));
                }
                _ => return Err(UrlError::Value(name, "read-write, primary or any")),
            },
        }
        Ok(())
    }

    fn target(mut self) -> Result<Target, UrlError> {
        // With certificates to check by, libpq checks the chain.
        let asked = self.ssl_mode.as_deref();
        let ssl_mode = match (asked, self.has_root, self.is_system_root) {
            (None | Some("verify-full"), _, true) => Some("verify-full"),
            (_, _, true) => {
                return Err(UrlError::Refused(
                    "sslrootcert=system",
                    "it needs sslmode=verify-full",
                ));
            }
            (Some("require"), true, false) => Some("verify-ca"),
            (mode, ..) => mode,
        };
        if let Some(mode) = ssl_mode.map(str::to_owned) {
            self.pass("sslmode", &mode);
        }
        match &self.ports[..] {
            [] => {}
            [one] => self.hosts.iter_mut().for_each(|place| place.1 = Some(*one)),
            ports if ports.len() == self.hosts.len() => {
                self.hosts.iter_mut().zip(ports).for_each(|(place, port)| place.1 = Some(*port));
            }
            _ => return Err(UrlError::Value("port", "a port, or as many as hosts")),
        }
        if self.hosts.len() > HOSTS_MAX {
            return Err(UrlError::Value("host", "a list of at most 16 names"));
        }
        let hosts = self.hosts.iter().map(|place| self.options(place));
        let hosts: Vec<_> = hosts.collect::<Result<_, UrlError>>()?;
        let asks_more = hosts.iter().any(asks_more);
        let has_user = self.passed.iter().any(|(name, _)| name == "user");
        Ok(Target { hosts, connect_timeout: self.connect_timeout, asks_more, has_user })
    }

    /// As sqlx has it, which adds what the environment and the file of passwords say.
    fn options(&self, Place(host, port): &Place) -> Result<PgConnectOptions, UrlError> {
        let mut url = "postgres:///?".to_owned();
        let own = [("host", host.clone()), ("port", port.map(|port| port.to_string()))];
        let own = own.iter().filter_map(|(name, value)| Some((*name, value.as_deref()?)));
        let passed = self.passed.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        for (name, value) in passed.chain(own) {
            url += &format!("{}={}&", encoded(name), encoded(value));
        }
        let options: PgConnectOptions = url.parse().map_err(|_| UrlError::Form)?;
        // A pooler need not know of a parameter that no PostgreSQL from 12 on needs.
        let options = options.extra_float_digits(None).disable_statement_logging();
        let options = if asks_more(&options) { options.options([session::ASKED]) } else { options };
        Ok(match options.get_application_name() {
            Some(_) => options,
            None => options.application_name("placard"),
        })
    }
}

/// Returns true if an operator asks for settings as a connection begins. A provider's `endpoint=…` does not count.
fn asks_more(options: &PgConnectOptions) -> bool {
    let is_one = |word: &str| word.starts_with("-c") || word.starts_with("--");
    options.get_options().is_some_and(|options| options.split_ascii_whitespace().any(is_one))
}

#[cfg(test)]
mod tests {
    use sqlx::postgres::PgSslMode;

    use super::*;

    fn one(url: &str) -> PgConnectOptions {
        let mut hosts = parse(url).unwrap_or_else(|error| panic!("{url}: {error}")).hosts;
        assert_eq!(hosts.len(), 1, "{url}");
        hosts.remove(0)
    }

    #[test]
    fn urls_as_providers_hand_them_out_are_understood() {
        let options =
            one("postgresql://ann:p%40ss@db-1.example:6432/ads?sslmode=require&connect_timeout=10");
        assert_eq!((options.get_host(), options.get_port()), ("db-1.example", 6432));
        assert_eq!((options.get_username(), options.get_database()), ("ann", Some("ads")));
        assert!(matches!(options.get_ssl_mode(), PgSslMode::Require));
        assert!(matches!(one("postgres://h/d?ssl=true").get_ssl_mode(), PgSslMode::Require));
        for same in [
            "channel_binding=prefer",
            "target_session_attrs=read-write",
            "keepalives=1&keepalives_idle=30&keepalives_interval=10&keepalives_count=3",
            "gssencmode=disable",
            "gssencmode=prefer",
            "sslnegotiation=postgres",
            "tcp_user_timeout=5000",
            "client_encoding=UTF8",
            "options=endpoint%3Dadverts-1",
        ] {
            assert_eq!(one(&format!("postgres://ann:secret@h/d?{same}")).get_host(), "h", "{same}");
        }
    }

    #[test]
    fn settings_are_distinguished_from_proxy_options() {
        for (options, asks_more) in [
            ("endpoint%3Dep-cool-darkness-1", false),
            ("-c%20geqo%3Doff", true),
            ("endpoint%3Dep-1%20--geqo%3Doff", true),
        ] {
            let target = parse(&format!("postgres://h/d?options={options}")).unwrap();
            assert_eq!(target.asks_more, asks_more, "{options}");
        }
    }

    #[test]
    fn a_socket_is_named_by_its_directory() {
        for url in
            ["postgresql://u:p@/db?host=/run/postgresql", "postgres://u:p@%2Frun%2Fpostgresql/db"]
        {
            let options = one(url);
            let socket = options.get_socket().and_then(|socket| socket.to_str());
            assert_eq!(socket, Some("/run/postgresql"), "{url}");
            assert_eq!((options.get_username(), options.get_database()), ("u", Some("db")));
        }
    }

    #[test]
    fn each_of_several_hosts_has_its_own_port() {
        let of = |url: &str| -> Vec<(String, u16)> {
            let hosts = parse(url).unwrap_or_else(|error| panic!("{url}: {error}")).hosts;
            hosts.iter().map(|host| (host.get_host().to_owned(), host.get_port())).collect()
        };
        let is = |places: &[(&str, u16)]| -> Vec<(String, u16)> {
            places.iter().map(|(host, port)| ((*host).to_owned(), *port)).collect()
        };
        let two = is(&[("h1", 5432), ("h2", 5433)]);
        for url in [
            "postgres://u@h1,h2:5433/db?target_session_attrs=read-write",
            "postgres://u@h1:5432,h2:5433/db",
            "postgres:///db?host=h1,h2&port=5432,5433",
        ] {
            assert_eq!(of(url), two, "{url}");
        }
        assert_eq!(of("postgres://:5433/db?host=h1"), is(&[("h1", 5433)]));
        assert_eq!(of("postgres:///db?host=h1,h2&port=7"), is(&[("h1", 7), ("h2", 7)]));
        assert_eq!(of("postgres://[::1]:7,h2/db"), is(&[("::1", 7), ("h2", 5432)]));
        assert!(matches!(
            parse("postgres:///d?host=a,b,c&port=1,2"),
            Err(UrlError::Value("port", _))
        ));
    }

    #[test]
    fn unsupported_parameter_is_refused_by_its_name() {
        for (query, name) in [
            ("sslmode=bogus", "sslmode"),
            ("channel_binding=require", "channel_binding"),
            ("gssencmode=require", "gssencmode"),
            ("sslnegotiation=direct", "sslnegotiation"),
            ("target_session_attrs=standby", "target_session_attrs"),
            ("connect_timeout=soon", "connect_timeout"),
            ("sslrootcert=system&sslmode=require", "sslrootcert"),
            ("sslmode=verify-full&sslrootcert=/nowhere/root.crt", "/nowhere/root.crt"),
            ("service=ads", "service"),
            ("port=http", "port"),
            ("host=a&hostaddr=192.0.2.1", "hostaddr"),
            ("sslmod=verify-full", "sslmod"),
            ("host=a,b,c,d,e,f,g,h,i,j,k,l,m,n,o,p,q", "host must be a list of at most 16 names"),
        ] {
            let refused = parse(&format!("postgres://ann:s3cret@h/d?{query}")).expect_err(query);
            let told = refused.to_string();
            assert!(told.contains(name) && !told.contains("s3cret"), "{query}: {told}");
            assert!(!told.contains("bogus") && !told.contains("soon"), "{told}");
        }
    }

    #[test]
    fn a_root_certificate_has_the_chain_checked() {
        let root = tempfile::NamedTempFile::new().unwrap();
        let with = |mode: &str| {
            let root = root.path().display();
            one(&format!("postgres://h/d?sslmode={mode}&sslrootcert={root}")).get_ssl_mode()
        };
        assert!(matches!(with("require"), PgSslMode::VerifyCa));
        assert!(matches!(with("verify-full"), PgSslMode::VerifyFull));
        assert!(matches!(with("prefer"), PgSslMode::Prefer));
        let system = one("postgres://h/d?sslrootcert=system").get_ssl_mode();
        assert!(matches!(system, PgSslMode::VerifyFull));
    }

    #[test]
    fn urls_of_another_form_are_refused_unseen() {
        for other in [
            "",
            "s3cret",
            "postgres:ann:s3cret@h/db",
            "postgres:/ann:s3cret@h/db",
            "postgres:///ann:s3cret@h/db",
            "postgres:///ann:s3cret",
            "postgres://ann:s3cret/db",
            "postgres://ann:12/s3cret@h/db",
            "postgres://ann:12#s3cret@h/db",
            "postgres://ann:s3cret@h:port/db",
            "postgres://ann:s3cret@h/db/more",
            "postgres://ann:s3cret%4@h/db",
            "postgres://ann:s3cret%zz@h/db",
            "postgres://ann%3As3cret%40h/ads",
            "postgres://h/?host=ann:s3cret@h&dbname=ads",
            "jdbc:postgresql://ann:s3cret@h/db",
            "mysql://ann:s3cret@h/db",
            " postgres://ann:s3cret@h/db",
            "host=h user=ann password=s3cret",
        ] {
            let refused = parse(other).expect_err(other);
            assert!(matches!(refused, UrlError::Form), "{other}: {refused:?}");
            assert!(!format!("{refused} {refused:?}").contains("s3cret"), "{refused:?}");
            assert!(refused.to_string().contains("percent-encoded"), "{refused}");
        }
        let refused = parse("postgres://ann:12?s3cret@h/db").expect_err("no parameter");
        assert!(matches!(refused, UrlError::Unknown(None)), "{refused:?}");
        assert!(refused.to_string().contains("percent-encoded"), "{refused}");
    }

    #[test]
    fn passwords_arrive_as_they_are() {
        // sqlx does not give the password away; the user's name goes the same way.
        for name in ["ann", "a+b", "a%2Bb c", "ä&=?#/:@", "{}[]\"\\"] {
            let options = one(&format!("postgres://{}@h/d", encoded(name)));
            assert_eq!(options.get_username(), name);
            let options = one(&format!("postgres://h/d?user={}", encoded(name)));
            assert_eq!(options.get_username(), name);
        }
    }
}
