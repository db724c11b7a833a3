//! Connects to Redis: by a URL or a set of Sentinels, with or without TLS.

use std::fmt;
use std::time::Duration;

use placard_replica::Outage;
use redis::aio::MultiplexedConnection;
use redis::io::tcp::TcpSettings;
use redis::sentinel::{SentinelClient, SentinelClientBuilder, SentinelServerType};
use redis::{
    AsyncConnectionConfig, Client, ClientTlsConfig, ConnectionAddr, ConnectionInfo,
    IntoConnectionInfo, ProtocolVersion, RedisResult, TlsCertificates, TlsMode,
};
use tokio::sync::Mutex;

use crate::secret::Secret;

/// How long it may take to connect, log in included.
const DIRECT: Duration = Duration::from_secs(1);
/// As above, when the Sentinels are to be asked first: one that does not answer costs a second.
const SENTINEL: Duration = Duration::from_millis(2_500);
/// Port of a Sentinel that is named without one.
const SENTINEL_PORT: u16 = 26_379;

/// Where the streams are, and their bound.
#[derive(Debug, Clone)]
pub struct Options {
    /// Where Redis is.
    pub server: Server,
    /// Most entries that an append leaves in the stream; `None` if only [`trim`] bounds it.
    ///
    /// [`trim`]: placard_replica::ports::Stream::trim
    pub entries_max: Option<u64>,
    /// How the two ends authenticate each other over TLS.
    pub tls: Tls,
}

/// How the two ends of a connection over TLS authenticate each other.
#[derive(Clone, Default)]
pub struct Tls {
    /// Certificates, in PEM, of the authorities that a server is checked against; `None` for the system's. Chain and name
    /// are always checked.
    pub authorities_pem: Option<Vec<u8>>,
    /// A certificate and its key, in PEM, which are shown to the server.
    pub client_pem: Option<(Vec<u8>, Vec<u8>)>,
}

/// Shows no key.
impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls")
            .field("authorities", &self.authorities_pem.is_some())
            .field("client", &self.client_pem.is_some())
            .finish()
    }
}

impl Tls {
    /// Returns the library's form; `None` if nothing is set.
    fn certificates(&self) -> Option<TlsCertificates> {
        let Self { authorities_pem, client_pem } = self.clone();
        let client_tls =
            client_pem.map(|(client_cert, client_key)| ClientTlsConfig { client_cert, client_key });
        let says_something = client_tls.is_some() || authorities_pem.is_some();
        says_something.then_some(TlsCertificates { client_tls, root_cert: authorities_pem })
    }
}

impl Options {
    /// Streams there, with no bound of their own.
    pub fn new(server: Server) -> Self {
        Self { server, entries_max: None, tls: Tls::default() }
    }
}

/// Where Redis is.
#[derive(Clone)]
pub enum Server {
    /// `redis://[user][:password]@host[:port][/database]`, or `rediss://` for TLS.
    Url(Secret),
    /// The Redis that the Sentinels call the master; they are asked again for every connection.
    Sentinel(Sentinel),
}

/// Not the URL itself, which may hold a password.
impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Url(_) => f.write_str("Url(…)"),
            Self::Sentinel(sentinel) => sentinel.fmt(f),
        }
    }
}

/// A Redis behind Sentinels.
#[derive(Clone, Default)]
pub struct Sentinel {
    /// The Sentinels, as `host:port` or `host` (port 26379).
    pub addresses: Vec<String>,
    /// The name under which they watch the master.
    pub master: String,
    /// The user that logs in to the Sentinels themselves.
    pub sentinel_username: Option<String>,
    /// The Sentinels' own password.
    pub sentinel_password: Option<Secret>,
    /// The user that logs in to the master.
    pub username: Option<String>,
    /// The master's password.
    pub password: Option<Secret>,
    /// The master's database.
    pub database: i64,
    /// Whether Sentinels and master speak TLS. The Sentinels must then name the master as its certificate does
    /// (`resolve-hostnames`, `announce-hostnames`).
    pub tls: bool,
}

/// Without the passwords, and without addresses, in whose place URLs may have been given.
impl fmt::Debug for Sentinel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sentinel")
            .field("addresses", &self.addresses.len())
            .field("master", &self.master)
            .field("username", &self.username)
            .field("database", &self.database)
            .field("tls", &self.tls)
            .finish_non_exhaustive()
    }
}

/// Why options cannot be used, whether or not a Redis is there. No message holds a password.
#[derive(Debug, thiserror::Error)]
pub enum OptionsError {
    /// The URL is invalid, or not a Redis URL. Neither its text nor the library's message is repeated.
    #[error(
        "not a Redis URL (redis://user:password@host:port/database, or rediss:// for TLS, with what is special in a name or \
         password percent-encoded)"
    )]
    Url,
    /// The certificates of authorities cannot be used.
    #[error("cannot use the certificates that Redis is checked against")]
    Certificates(#[source] redis::RedisError),
    /// The URL asks for TLS that checks nothing.
    #[error("a Redis URL that ends in #insecure is refused: name the authority's certificate")]
    Insecure,
    /// A Sentinel's address is invalid; the number says which, from 1. The address is not repeated: a URL in its place
    /// has a password.
    #[error("Sentinel {0} of those named is not like host:port")]
    Address(usize),
    /// There is no Sentinel, or no name of the master.
    #[error("Sentinels need at least one address and the master's name")]
    Incomplete,
    /// The Sentinels cannot be used as they are described.
    #[error("cannot use the Sentinels")]
    Sentinel(#[source] redis::RedisError),
    /// Certificates are given, and TLS is not asked for.
    #[error("a certificate is given, and the connection is not over TLS: use rediss://")]
    Authorities,
}

/// Makes connections. What is needed for that is read again before each, so that a password may change.
pub(super) struct Target {
    made: Mutex<Made>,
    deadline: Duration,
}

/// The client that makes connections, and what it is made from.
struct Made {
    server: Server,
    tls: Option<TlsCertificates>,
    client: Clients,
    /// The secrets that the client was made from.
    used: Vec<String>,
    outage: Outage,
}

enum Clients {
    Direct(Client),
    /// Asking the Sentinels changes what is kept of them.
    Sentinel(SentinelClient),
}

impl Target {
    pub(super) fn new(options: &Options) -> Result<Self, OptionsError> {
        // The library leaves the choice to the process. An error says that it is made already.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let (server, tls) = (options.server.clone(), options.tls.certificates());
        let client = Clients::new(&server, tls.clone())?;
        let deadline = match server {
            Server::Url(_) => DIRECT,
            Server::Sentinel(_) => SENTINEL,
        };
        // It is read before each connection, which may be days later.
        let outage =
            Outage::of("a file of Redis' passwords cannot be used; what it said before still is")
                .tried_every(Duration::MAX);
        let used = server.secrets();
        Ok(Self { made: Mutex::new(Made { server, tls, client, used, outage }), deadline })
    }

    /// Returns how long [`Target::open`] may take.
    pub(super) fn deadline(&self) -> Duration {
        self.deadline
    }

    /// Reads again what comes from files. It is apart from connecting, so that a file that hangs takes none of the time for
    /// that.
    pub(super) async fn renew(&self) {
        self.made.lock().await.renew().await;
    }

    /// Connects, to the address that the name has now, or to the master of now.
    pub(super) async fn open(&self) -> RedisResult<MultiplexedConnection> {
        // Each call has a deadline of its own.
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(DIRECT))
            .set_response_timeout(None);
        let mut made = self.made.lock().await;
        match &mut made.client {
            Clients::Direct(client) => {
                client.get_multiplexed_async_connection_with_config(&config).await
            }
            Clients::Sentinel(client) => client.get_async_connection_with_config(&config).await,
        }
    }
}

impl Made {
    async fn renew(&mut self) {
        if let Err(error) = self.server.renew().await {
            return self.outage.failed(&error);
        }
        if self.server.secrets() == self.used {
            return self.outage.works();
        }
        match Clients::new(&self.server, self.tls.clone()) {
            Ok(client) => {
                self.client = client;
                self.used = self.server.secrets();
                self.outage.works();
                tracing::info!("Redis' URL or a password has changed in its file");
            }
            Err(error) => self.outage.failed(&error),
        }
    }
}

impl Server {
    /// Reads again what comes from files.
    async fn renew(&mut self) -> std::io::Result<()> {
        match self {
            Self::Url(url) => url.renew().await,
            Self::Sentinel(Sentinel { sentinel_password, password, .. }) => {
                let renew = async |secret: &mut Option<Secret>| match secret {
                    Some(secret) => secret.renew().await,
                    None => Ok(()),
                };
                // Both are read again, even if one of them fails.
                let (first, second) = tokio::join!(renew(sentinel_password), renew(password));
                first.and(second)
            }
        }
    }

    /// Returns the texts that may change.
    fn secrets(&self) -> Vec<String> {
        let all = match self {
            Self::Url(url) => [Some(url), None],
            Self::Sentinel(Sentinel { sentinel_password, password, .. }) => {
                [sentinel_password.as_ref(), password.as_ref()]
            }
        };
        all.into_iter().flatten().map(|secret| secret.text().to_owned()).collect()
    }
}

impl Clients {
    fn new(server: &Server, tls: Option<TlsCertificates>) -> Result<Self, OptionsError> {
        match server {
            Server::Url(url) => Self::direct(url.text(), tls),
            Server::Sentinel(sentinel) => Self::sentinel(sentinel, tls),
        }
    }

    fn direct(url: &str, authorities: Option<TlsCertificates>) -> Result<Self, OptionsError> {
        let info: ConnectionInfo = url.into_connection_info().map_err(|_| OptionsError::Url)?;
        let tls = match info.addr() {
            ConnectionAddr::TcpTls { insecure: true, .. } => return Err(OptionsError::Insecure),
            ConnectionAddr::Tcp(..) | ConnectionAddr::TcpTls { .. } if says_more(url) => {
                return Err(OptionsError::Url);
            }
            ConnectionAddr::TcpTls { .. } => true,
            _ => false,
        };
        // Answers are read in the older protocol's shapes.
        let login = info.redis_settings().clone().set_protocol(ProtocolVersion::RESP2);
        let info = info.set_redis_settings(login).set_tcp_settings(tcp());
        let client = match authorities {
            None => Client::open(info).map_err(|_| OptionsError::Url),
            Some(authorities) if tls => {
                Client::build_with_tls(info, authorities).map_err(OptionsError::Certificates)
            }
            Some(_) => return Err(OptionsError::Authorities),
        };
        client.map(Self::Direct)
    }

    fn sentinel(
        sentinel: &Sentinel,
        authorities: Option<TlsCertificates>,
    ) -> Result<Self, OptionsError> {
        if sentinel.addresses.is_empty() || sentinel.master.is_empty() {
            return Err(OptionsError::Incomplete);
        }
        if authorities.is_some() && !sentinel.tls {
            return Err(OptionsError::Authorities);
        }
        let address = |(number, address): (usize, &String)| {
            let (host, port) = host_and_port(address).ok_or(OptionsError::Address(number))?;
            Ok(if sentinel.tls {
                ConnectionAddr::TcpTls { host, port, insecure: false, tls_params: None }
            } else {
                ConnectionAddr::Tcp(host, port)
            })
        };
        let addresses: Vec<_> =
            (1..).zip(&sentinel.addresses).map(address).collect::<Result<_, OptionsError>>()?;
        let built = || {
            let master = SentinelServerType::Master;
            let mut builder = SentinelClientBuilder::new(addresses, &sentinel.master, master)?
                .set_client_to_redis_db(sentinel.database)
                .set_client_to_redis_tcp_settings(tcp());
            if sentinel.tls {
                builder = builder.set_client_to_redis_tls_mode(TlsMode::Secure);
            }
            if let Some(authorities) = authorities {
                builder = builder
                    .set_client_to_redis_certificates(authorities.clone())
                    .set_client_to_sentinel_certificates(authorities);
            }
            if let Some(username) = &sentinel.sentinel_username {
                builder = builder.set_client_to_sentinel_username(username);
            }
            if let Some(password) = &sentinel.sentinel_password {
                builder = builder.set_client_to_sentinel_password(password.text());
            }
            if let Some(username) = &sentinel.username {
                builder = builder.set_client_to_redis_username(username);
            }
            if let Some(password) = &sentinel.password {
                builder = builder.set_client_to_redis_password(password.text());
            }
            builder.build()
        };
        let client = built().map_err(OptionsError::Sentinel)?;
        Ok(Self::Sentinel(client))
    }
}

/// Shows nothing of the secrets, not even their length.
impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Target")
    }
}

fn tcp() -> TcpSettings {
    TcpSettings::default().set_nodelay(true)
}

/// Returns true if something follows the database that means nothing, and that the library passes over: it may be the
/// rest of a password with a `#` or a `?` in it, whose beginning was then taken for a port.
fn says_more(url: &str) -> bool {
    let query = url.split_once('?').map_or("", |(_, query)| query);
    let is_known = |parameter: &str| parameter.is_empty() || parameter.starts_with("protocol=");
    url.contains('#') || !query.split('&').all(is_known)
}

/// `host`, `host:port` or `[v6]:port`.
fn host_and_port(address: &str) -> Option<(String, u16)> {
    let (host, port) = match address.rsplit_once(':') {
        Some((host, port)) if !host.contains(':') || host.ends_with(']') => {
            (host, port.parse().ok()?)
        }
        _ => (address, SENTINEL_PORT),
    };
    let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    let is_host = !host.is_empty() && !host.contains(['/', '@', '[', ']', ' ']);
    is_host.then(|| (host.to_owned(), port))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sentinels_are_named_by_host_and_port() {
        let is = |host: &str, port| Some((host.to_owned(), port));
        assert_eq!(host_and_port("one:26380"), is("one", 26_380));
        assert_eq!(host_and_port("one"), is("one", SENTINEL_PORT));
        assert_eq!(host_and_port("[::1]:26380"), is("::1", 26_380));
        assert_eq!(host_and_port("::1"), is("::1", SENTINEL_PORT));
        for none in ["", ":1", "one:", "one:x", "one:99999", "redis://one:1", "user@one:1", "a b"] {
            assert_eq!(host_and_port(none), None, "{none:?}");
        }
    }

    #[test]
    fn unusable_options_are_refused_and_tell_no_password() {
        let url = |url: &str| Target::new(&Options::new(Server::Url(url.into())));
        for bad in [
            "",
            "secret",
            "one:6379",
            "http://one",
            "redis:ann:secret@one",
            "redis:/ann:secret@one",
            "redis:///ann:secret@one",
            "redis://ann:secret",
            "redis://ann:12/secret@one",
            "redis://:secret@one/x",
            "redis://:secret@:9999",
            "redis://one?protocol=secret",
            "rediss://ann:12#secret@one",
            "redis://ann:12#secret@one",
            "redis://ann:12?secret@one",
            "rediss://ann:12?secret@one",
            "redis://ann:12?protocol=2&secret@one",
            "redis://one#insecure",
        ] {
            let error = url(bad).expect_err(bad);
            assert!(matches!(error, OptionsError::Url), "{error:?}");
            assert!(!format!("{error:?}").contains("secret"), "{error:?}");
            assert!(error.to_string().contains("percent-encoded"), "{error}");
        }
        assert!(matches!(url("rediss://one/#insecure"), Err(OptionsError::Insecure)));
        assert!(url("rediss://user:secret@one:6380/3").is_ok());
        assert!(url("redis://user:secret%23%3F@one/3?protocol=resp3").is_ok());
        let mut options = Options::new(Server::Url("redis://:secret@one".into()));
        assert!(!format!("{options:?}").contains("secret"), "{options:?}");
        options.tls.authorities_pem = Some(Vec::new());
        assert!(matches!(Target::new(&options), Err(OptionsError::Authorities)));
        let mut sentinel = Sentinel { password: Some("secret".into()), ..Sentinel::default() };
        let target =
            |sentinel: &Sentinel| Target::new(&Options::new(Server::Sentinel(sentinel.clone())));
        assert!(matches!(target(&sentinel), Err(OptionsError::Incomplete)));
        sentinel.master = "main".to_owned();
        sentinel.addresses = vec!["one".to_owned(), "redis://ann:secret@two".to_owned()];
        assert!(!format!("{sentinel:?}").contains("secret"), "{sentinel:?}");
        assert!(matches!(target(&sentinel), Err(OptionsError::Address(2))));
        sentinel.addresses = vec!["one".to_owned()];
        sentinel.tls = true;
        assert!(target(&sentinel).is_ok());
        assert!(!format!("{sentinel:?}").contains("secret"), "{sentinel:?}");
    }
}
