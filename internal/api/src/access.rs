//! Who may write: the tokens, and what a request must show.

use std::net::IpAddr;
use std::sync::Arc;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use http::header::{AUTHORIZATION, HOST, ORIGIN};
use http::uri::Authority;
use http::{HeaderMap, Uri};
use placard_model::limits;
use sha2::{Digest, Sha256};
use subtle::{Choice, ConditionallySelectable, ConstantTimeEq};

use crate::http::problem::Problem;

/// Who may write.
#[derive(Debug, Clone, Default)]
pub enum Access {
    /// Anyone.
    #[default]
    Open,
    /// Clients that have one of these tokens.
    Tokens(Tokens),
}

/// Bearer tokens, as their hashes, so that a memory dump shows nothing that grants access.
#[derive(Debug, Clone)]
pub struct Tokens(Arc<[Token]>);

#[derive(Debug)]
struct Token {
    principal: String,
    hash: [u8; 32],
}

/// What is wrong with a file of tokens. No message holds a token.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TokensError {
    /// A line's token has the wrong length.
    #[error(
        "line {0}: a token must have {min} to {max} characters",
        min = limits::TOKEN_BYTES_MIN,
        max = limits::TOKEN_BYTES_MAX
    )]
    Length(usize),
    /// A line's token cannot be sent.
    #[error("line {0}: a token may have letters, digits and -._~+/= only")]
    Characters(usize),
    /// A line's name cannot be used.
    #[error(
        "line {0}: a name must have 1 to {max} letters, digits or -._@",
        max = limits::TOKEN_NAME_BYTES_MAX
    )]
    Name(usize),
    /// A line has the token of an earlier one.
    #[error("line {0}: duplicate token")]
    Twice(usize),
    /// The file contains no token.
    #[error("it contains no token")]
    None,
    /// There are too many.
    #[error("there must not be more than {max} tokens in it", max = limits::TOKENS_MAX)]
    Many,
}

/// A line of a file of tokens.
struct Line<'a> {
    number: usize,
    name: Option<&'a str>,
    token: &'a str,
}

impl Access {
    /// Only the tokens of a file: one a line, as `name:token` or alone; several may have one name. Empty lines, and
    /// those that begin with `#`, mean nothing.
    ///
    /// # Errors
    /// A line is wrong, or the file contains no token or too many.
    pub fn from_file(text: &str) -> Result<Self, TokensError> {
        let mut tokens: Vec<Token> = Vec::new();
        for Line { number, name, token } in lines(text)? {
            let hash: [u8; 32] = Sha256::digest(token).into();
            if tokens.iter().any(|known| known.hash == hash) {
                return Err(TokensError::Twice(number));
            }
            let principal = name.map_or_else(|| fingerprint(&hash), str::to_owned);
            tokens.push(Token { principal, hash });
        }
        Ok(Self::Tokens(Tokens(tokens.into())))
    }

    /// Returns an error unless the client that sends these headers may see what is for operators. A browser sends no
    /// bearer token, so a password is accepted as well.
    pub(crate) fn admits(&self, headers: &HeaderMap) -> Result<(), Problem> {
        let Self::Tokens(tokens) = self else { return Ok(()) };
        let missing = "this needs a token: as a bearer token, or as the password of any user";
        let known = match (bearer(headers), password(headers)) {
            (Some(token), _) => tokens.principal_of(token),
            (None, Some(token)) => tokens.principal_of(&token),
            (None, None) => return Err(Problem::unauthorized(missing)),
        };
        let wrong = "unknown token";
        known.map(drop).ok_or_else(|| Problem::unauthorized(wrong))
    }

    /// Refuses what a browser sends for a page of another origin. Call it for requests that need neither a method nor a
    /// content type that makes a browser send a preflight request. Where a token is required, such a page has none.
    pub(crate) fn refuse_pages(&self, headers: &HeaderMap) -> Result<(), Problem> {
        let Some(origin) = headers.get(ORIGIN) else { return Ok(()) };
        let page = origin.to_str().ok().and_then(|origin| origin.split_once("://"));
        let own = headers.get(HOST).and_then(|host| host.to_str().ok());
        let is_own = page.is_some_and(|(_, authority)| Some(authority) == own);
        match self {
            Self::Open if !is_own => Err(Problem::foreign_page()),
            _ => Ok(()),
        }
    }

    /// Refuses what a browser sends for a page whose name resolves to this machine (DNS rebinding): the browser takes
    /// such a page and this server for one origin. Call it where only this machine reaches the listener, so that a name
    /// vouches for nothing.
    pub(crate) fn refuse_names(&self, headers: &HeaderMap, uri: &Uri) -> Result<(), Problem> {
        let is_page = headers.contains_key(ORIGIN);
        match self {
            Self::Open if is_page && !is_by_address(headers, uri) => Err(Problem::misdirected()),
            _ => Ok(()),
        }
    }

    /// Returns the principal that sends these headers; empty if the server has no tokens.
    pub(crate) fn principal(&self, headers: &HeaderMap) -> Result<String, Problem> {
        let tokens = match self {
            Self::Open => return Ok(String::new()),
            Self::Tokens(tokens) => tokens,
        };
        let missing = "this needs a bearer token, in one Authorization header";
        let given = bearer(headers).ok_or_else(|| Problem::unauthorized(missing))?;
        let wrong = "unknown bearer token";
        tokens.principal_of(given).ok_or_else(|| Problem::unauthorized(wrong))
    }
}

impl Tokens {
    /// Returns the principal of a token, if it is known. The comparison takes constant time: it does not show whether
    /// the token is known, or which one it is.
    fn principal_of(&self, token: &[u8]) -> Option<String> {
        let hash: [u8; 32] = Sha256::digest(token).into();
        let (mut found, mut at) = (Choice::from(0), 0);
        for (index, known) in (0u64..).zip(self.0.iter()) {
            let same = known.hash.ct_eq(&hash);
            at.conditional_assign(&index, same);
            found |= same;
        }
        let known = self.0.get(usize::try_from(at).ok()?)?;
        bool::from(found).then(|| known.principal.clone())
    }
}

/// Returns the first token of a file, for a client.
///
/// # Errors
/// A line is wrong, or the file contains no token or too many.
pub fn first_token(text: &str) -> Result<String, TokensError> {
    let lines = lines(text)?;
    lines.first().map(|line| line.token.to_owned()).ok_or(TokensError::None)
}

fn lines(text: &str) -> Result<Vec<Line<'_>>, TokensError> {
    let mut lines = Vec::new();
    // The byte order mark that some editors put before UTF-8 text.
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    for (number, line) in (1..).zip(text.lines().map(str::trim)) {
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let (name, token) = match line.split_once(':') {
            Some((name, token)) => (Some(name.trim_end()), token.trim_start()),
            None => (None, line),
        };
        let is_named = |name: &str| {
            (1..=limits::TOKEN_NAME_BYTES_MAX).contains(&name.len())
                && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._@".contains(&byte))
        };
        if !name.is_none_or(is_named) {
            return Err(TokensError::Name(number));
        }
        if !(limits::TOKEN_BYTES_MIN..=limits::TOKEN_BYTES_MAX).contains(&token.len()) {
            return Err(TokensError::Length(number));
        }
        // The characters that RFC 6750, section 2.1, lets a client send.
        let can_be_sent = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~+/=".contains(&byte);
        if !token.bytes().all(can_be_sent) {
            return Err(TokensError::Characters(number));
        }
        lines.push(Line { number, name, token });
        if lines.len() > limits::TOKENS_MAX {
            return Err(TokensError::Many);
        }
    }
    if lines.is_empty() { Err(TokensError::None) } else { Ok(lines) }
}

/// Returns true if the request names this server by an address, or as `localhost`, and not by a name that any DNS zone
/// may give it.
pub(crate) fn is_by_address(headers: &HeaderMap, uri: &Uri) -> bool {
    let host = headers.get(HOST).and_then(|host| host.to_str().ok());
    let host = host.and_then(|host| host.parse::<Authority>().ok());
    host.as_ref().or_else(|| uri.authority()).is_some_and(|authority| {
        let host = authority.host();
        let address = host.trim_start_matches('[').trim_end_matches(']');
        host.eq_ignore_ascii_case("localhost") || address.parse::<IpAddr>().is_ok()
    })
}

/// Returns a part of a hash: enough to tell tokens apart, and too little to find one by.
fn fingerprint(hash: &[u8; 32]) -> String {
    let [first, second, third, fourth, ..] = hash;
    format!("token-{first:02x}{second:02x}{third:02x}{fourth:02x}")
}

/// Returns the token of the one Authorization header, if its scheme is Bearer.
fn bearer(headers: &HeaderMap) -> Option<&[u8]> {
    credentials(headers, b"Bearer ")
}

/// Returns the password in the one Authorization header, if it is of the Basic scheme (RFC 7617), for any user name.
fn password(headers: &HeaderMap) -> Option<Vec<u8>> {
    let mut pair = BASE64_STANDARD.decode(credentials(headers, b"Basic ")?).ok()?;
    let colon = pair.iter().position(|byte| *byte == b':')?;
    Some(pair.split_off(colon + 1))
}

/// Returns what the one Authorization header says after its scheme, if it is of that scheme.
fn credentials<'a>(headers: &'a HeaderMap, scheme: &[u8]) -> Option<&'a [u8]> {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let (of, rest) = values.next()?.as_bytes().split_at_checked(scheme.len())?;
    (values.next().is_none() && of.eq_ignore_ascii_case(scheme)).then(|| rest.trim_ascii())
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: &str = "0123456789abcdef";
    const OTHER: &str = "fedcba9876543210";

    fn tokens(text: &str) -> Tokens {
        match Access::from_file(text) {
            Ok(Access::Tokens(tokens)) => tokens,
            other => panic!("{text:?} is read as {other:?}"),
        }
    }

    fn error(text: &str) -> TokensError {
        Access::from_file(text).expect_err(text)
    }

    #[test]
    fn tokens_have_names_or_fingerprints() {
        let text = format!("# writers\n\n  ann: {ONE} \r\n{OTHER}\nann:{OTHER}{ONE}\n");
        let tokens = tokens(&text);
        let name = |token: &str| tokens.principal_of(token.as_bytes());
        assert_eq!(name(ONE).as_deref(), Some("ann"));
        assert_eq!(name(&format!("{OTHER}{ONE}")).as_deref(), Some("ann"));
        let unnamed = name(OTHER).unwrap();
        assert!(unnamed.starts_with("token-") && unnamed.len() == 14, "{unnamed}");
        for wrong in ["", "0123456789abcde", "0123456789abcdeF", "0123456789abcdef0"] {
            assert_eq!(name(wrong), None, "{wrong}");
        }
        assert!(!format!("{tokens:?}").contains(ONE));
        assert_eq!(first_token(&text).as_deref(), Ok(ONE));
    }

    #[test]
    fn token_file_ignores_bom_crlf_and_blank_lines() {
        for text in [
            format!("\u{feff}ann:{ONE}\r\n\r\nbob:{OTHER}\r\n"),
            format!("\u{feff}# writers\r\nann:{ONE}\r\nbob:{OTHER}"),
        ] {
            let tokens = tokens(&text);
            assert_eq!(tokens.principal_of(ONE.as_bytes()).as_deref(), Some("ann"), "{text:?}");
            assert_eq!(tokens.principal_of(OTHER.as_bytes()).as_deref(), Some("bob"), "{text:?}");
            assert_eq!(first_token(&text).as_deref(), Ok(ONE), "{text:?}");
        }
        assert_eq!(
            tokens(&format!("\u{feff}{ONE}\r\n")).principal_of(ONE.as_bytes()),
            Some(fingerprint(&Sha256::digest(ONE).into()))
        );
        // It is one only at the beginning.
        assert_eq!(error(&format!("{ONE}\n\u{feff}ann:{OTHER}")), TokensError::Name(2));
    }

    #[test]
    fn invalid_token_file_is_reported_by_its_line() {
        assert_eq!(error(""), TokensError::None);
        assert_eq!(error("# nothing\n"), TokensError::None);
        assert_eq!(error("\nshort"), TokensError::Length(2));
        assert_eq!(error("name:"), TokensError::Length(1));
        assert_eq!(error(&"x".repeat(limits::TOKEN_BYTES_MAX + 1)), TokensError::Length(1));
        assert_eq!(error("with spaces in between"), TokensError::Characters(1));
        assert_eq!(error(&format!(":{ONE}")), TokensError::Name(1));
        assert_eq!(error(&format!("a b:{ONE}")), TokensError::Name(1));
        assert_eq!(error(&format!("{ONE}\nann:{ONE}")), TokensError::Twice(2));
        let many =
            |count: usize| (0..count).map(|number| format!("{ONE}{number}\n")).collect::<String>();
        assert!(Access::from_file(&many(limits::TOKENS_MAX)).is_ok());
        assert_eq!(error(&many(limits::TOKENS_MAX + 1)), TokensError::Many);
    }

    #[test]
    fn the_header_is_read_strictly() {
        let read = |values: &[&'static str]| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(AUTHORIZATION, value.parse().unwrap());
            }
            bearer(&headers).map(<[u8]>::to_vec)
        };
        assert_eq!(read(&["Bearer abc"]).as_deref(), Some(&b"abc"[..]));
        assert_eq!(read(&["bEARER  abc "]).as_deref(), Some(&b"abc"[..]));
        let read_password = |value: &'static str| {
            let headers = HeaderMap::from_iter([(AUTHORIZATION, value.parse().unwrap())]);
            password(&headers)
        };
        // "ann:a:bc", ":a", "ann:"; then no colon, no Base64, another scheme.
        assert_eq!(read_password("Basic YW5uOmE6YmM=").as_deref(), Some(&b"a:bc"[..]));
        assert_eq!(read_password("bASIC OmE=").as_deref(), Some(&b"a"[..]));
        assert_eq!(read_password("Basic YW5uOg==").as_deref(), Some(&b""[..]));
        for other in ["Basic YW5u", "Basic ann:a", "Basic", "Bearer YW5uOmE6YmM="] {
            assert_eq!(read_password(other), None, "{other}");
        }
        for other in [&[][..], &["Bearer"], &["Basic abcdef"], &["Bearerabc"], &["Bearer a"; 2]] {
            assert_eq!(read(other), None, "{other:?}");
        }
    }
}
