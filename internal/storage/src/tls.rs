//! Words what is wrong with TLS: the same library speaks it to PostgreSQL and to Redis.

/// Returns what the library says, or what that means for an operator.
pub(crate) fn told(said: String) -> String {
    // RFC 5280 and all before it have had version 3 since 1996.
    if said.contains("UnsupportedCertVersion") {
        return "the server's certificate is X.509 version 1, which is refused: make one of version 3".to_owned();
    }
    said
}
