//! What each parameter of a URL means, by libpq's names and by sqlx's.

/// The rule for a parameter.
pub(super) enum Rule {
    /// sqlx knows it by the same name.
    Passed,
    /// It names a file, and sqlx knows it by this name.
    File(&'static str),
    /// With one of these values it asks for nothing that is not so anyway; without any, whatever it says. Or else the
    /// reason why it is refused.
    Needless(&'static [&'static str], &'static str),
    /// It is read here.
    Own(Own),
}

pub(super) enum Own {
    Hosts,
    Ports,
    SslMode,
    Ssl,
    Timeout,
    Attributes,
}

pub(super) const SSL_MODES: [&str; 6] =
    ["disable", "allow", "prefer", "require", "verify-ca", "verify-full"];

/// The parameters that mean something, by libpq's names and by sqlx's.
pub(super) const RULES: &[(&str, Rule)] = &[
    ("host", Rule::Own(Own::Hosts)),
    ("hostaddr", Rule::Own(Own::Hosts)),
    ("port", Rule::Own(Own::Ports)),
    ("sslmode", Rule::Own(Own::SslMode)),
    ("ssl-mode", Rule::Own(Own::SslMode)),
    ("ssl", Rule::Own(Own::Ssl)),
    ("connect_timeout", Rule::Own(Own::Timeout)),
    ("target_session_attrs", Rule::Own(Own::Attributes)),
    ("user", Rule::Passed),
    ("password", Rule::Passed),
    ("dbname", Rule::Passed),
    ("application_name", Rule::Passed),
    ("options", Rule::Passed),
    ("statement-cache-capacity", Rule::Passed),
    ("sslrootcert", Rule::File("sslrootcert")),
    ("ssl-root-cert", Rule::File("sslrootcert")),
    ("ssl-ca", Rule::File("sslrootcert")),
    ("sslcert", Rule::File("sslcert")),
    ("ssl-cert", Rule::File("sslcert")),
    ("sslkey", Rule::File("sslkey")),
    ("ssl-key", Rule::File("sslkey")),
    // A server that is silent is noticed within 2 s, whatever these say.
    ("keepalives", Rule::Needless(&[], "")),
    ("keepalives_idle", Rule::Needless(&[], "")),
    ("keepalives_interval", Rule::Needless(&[], "")),
    ("keepalives_count", Rule::Needless(&[], "")),
    ("tcp_user_timeout", Rule::Needless(&[], "")),
    ("fallback_application_name", Rule::Needless(&[], "")),
    ("client_encoding", Rule::Needless(&["auto", "UTF8", "utf8", "UTF-8", "utf-8"], "it is UTF8")),
    (
        "channel_binding",
        Rule::Needless(
            &["disable", "prefer"],
            "a login is not bound to the TLS channel; leave it out, and have the server checked by sslmode=verify-full",
        ),
    ),
    (
        "gssencmode",
        Rule::Needless(&["disable", "prefer"], "there is no encryption by GSSAPI; use TLS"),
    ),
    ("sslnegotiation", Rule::Needless(&["postgres"], "TLS begins as PostgreSQL's protocol has it")),
    ("sslcompression", Rule::Needless(&["0"], "TLS does not compress")),
    ("sslsni", Rule::Needless(&["1"], "the server's name is always sent")),
    (
        "ssl_min_protocol_version",
        Rule::Needless(&["", "TLSv1", "TLSv1.1", "TLSv1.2"], "versions from 1.2 on are spoken"),
    ),
    ("ssl_max_protocol_version", Rule::Needless(&["", "TLSv1.3"], "versions up to 1.3 are spoken")),
    (
        "sslcertmode",
        Rule::Needless(&["allow"], "a certificate is sent if one is named and asked for"),
    ),
    ("load_balance_hosts", Rule::Needless(&["disable"], "the host that takes writes is used")),
    ("require_auth", Rule::Needless(&[""], "the server chooses how it lets in")),
    ("replication", Rule::Needless(&["false", "off", "no", "0"], "the journal is no standby")),
    ("passfile", Rule::Needless(&[""], "name the file in PGPASSFILE")),
    ("service", Rule::Needless(&[""], "files of services are not read")),
    ("servicefile", Rule::Needless(&[""], "files of services are not read")),
    ("sslcrl", Rule::Needless(&[""], "lists of revoked certificates are not read")),
    ("sslcrldir", Rule::Needless(&[""], "lists of revoked certificates are not read")),
    ("sslpassword", Rule::Needless(&[""], "encrypted keys are not read")),
    ("requirepeer", Rule::Needless(&[""], "the owner of a server's socket is not checked")),
    ("krbsrvname", Rule::Needless(&[""], "there is no login by GSSAPI")),
    ("gsslib", Rule::Needless(&[""], "there is no login by GSSAPI")),
    ("gssdelegation", Rule::Needless(&["0"], "there is no login by GSSAPI")),
];
