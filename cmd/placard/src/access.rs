//! Turns the command line into the rule who may write: a server that others can reach must have either tokens or
//! `--insecure`. Also reads the other side of it, the token that a client sends.

use std::net::SocketAddr;

use anyhow::{Context, ensure};
use placard_node::{Access, ApiConfig, Cors, first_token};
use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderValue};

use crate::options::TokenOptions;
use crate::options::serve::AccessOptions;
use crate::secrets::text;

/// Most origins that can be named; a browser's request is compared with each.
const ORIGINS_MAX: usize = placard_model::limits::CORS_ORIGINS_MAX;

/// Returns who may write to a server that listens on `listen`, and whose pages may read.
pub(crate) fn config(listen: SocketAddr, options: AccessOptions) -> anyhow::Result<ApiConfig> {
    let AccessOptions { admin_token_file, insecure, cors_origin, trusted_proxies } = options;
    let cors: Cors = cors_origin.into_iter().collect();
    ensure!(cors.origins() <= ORIGINS_MAX, "--cors-origin takes at most {ORIGINS_MAX} origins");
    let access = match admin_token_file {
        Some(file) => {
            let access = Access::from_file(&text("--admin-token-file", &file)?);
            access.with_context(|| format!("cannot use {}", file.display()))?
        }
        None => {
            require(listen, insecure, "--admin-token-file, or --insecure")?;
            Access::Open
        }
    };
    let trusted = trusted_proxies.into_iter().collect();
    Ok(ApiConfig { access, cors, trusted, ..ApiConfig::default() })
}

/// Refuses a configuration in which any client that can reach this machine may write, unless the operator allows it.
pub(crate) fn require(listen: SocketAddr, insecure: bool, option: &str) -> anyhow::Result<()> {
    ensure!(
        insecure || listen.ip().to_canonical().is_loopback(),
        "anyone who reaches {listen} could write there; give {option}"
    );
    Ok(())
}

/// Refuses a configuration in which any client that can reach this machine sees the task board; --insecure is about ads
/// only.
pub(crate) fn require_for_board(listen: Option<SocketAddr>, access: &Access) -> anyhow::Result<()> {
    let Some(listen) = listen else { return Ok(()) };
    let guarded = matches!(access, Access::Tokens(_));
    ensure!(
        guarded || listen.ip().to_canonical().is_loopback(),
        "anyone who reaches {listen} could see the task board there; give --admin-token-file, or a loopback \
         address as --admin-listen"
    );
    Ok(())
}

/// Returns the headers that a client sends with every request.
pub(crate) fn headers(options: &TokenOptions) -> anyhow::Result<HeaderMap> {
    let mut headers = HeaderMap::new();
    if let Some(file) = &options.token_file {
        let token = first_token(&text("--token-file", file)?);
        let token = token.with_context(|| format!("cannot use {}", file.display()))?;
        let mut value = HeaderValue::from_str(&format!("Bearer {token}"));
        if let Ok(value) = &mut value {
            value.set_sensitive(true);
        }
        headers.insert(AUTHORIZATION, value.context("cannot send the token")?);
    }
    Ok(headers)
}
