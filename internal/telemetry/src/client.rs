//! The HTTP client that spans are sent with, on the runtime that the server has. The exporter calls it from a thread of
//! its own, where there is no runtime. OpenTelemetry's own client would bring HTTP/2, which nothing here speaks.

use std::sync::Arc;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full, Limited};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use opentelemetry_http::{HttpClient, HttpError};
use placard_model::limits;
use rustls::{ClientConfig, RootCertStore};
use tokio::runtime::Handle;
use tokio::time::timeout;

use crate::error::StartError;

/// The most that is read of a collector's answer, which is a few bytes.
const ANSWER_BYTES_MAX: usize = 4 << 20;

type Https = legacy::Client<HttpsConnector<HttpConnector>, Full<Bytes>>;

#[derive(Debug)]
pub(crate) struct Client {
    https: Https,
    runtime: Handle,
}

impl Client {
    /// A client for this endpoint, on this runtime.
    pub(crate) fn new(endpoint: &str) -> Result<Self, StartError> {
        let https = legacy::Client::builder(TokioExecutor::new()).build(connector(endpoint)?);
        Ok(Self { https, runtime: Handle::current() })
    }
}

/// The system's certificates are read only if they are needed: a small image may have none.
fn connector(endpoint: &str) -> Result<HttpsConnector<HttpConnector>, StartError> {
    let ring = rustls::crypto::ring::default_provider();
    let builder = HttpsConnectorBuilder::new();
    let builder = if endpoint.starts_with("https:") {
        builder.with_provider_and_native_roots(ring).map_err(StartError::Certificates)?
    } else {
        let tls = ClientConfig::builder_with_provider(Arc::new(ring))
            .with_safe_default_protocol_versions()?
            .with_root_certificates(RootCertStore::empty());
        builder.with_tls_config(tls.with_no_client_auth())
    };
    Ok(builder.https_or_http().enable_http1().build())
}

#[async_trait::async_trait]
impl HttpClient for Client {
    #[expect(clippy::disallowed_methods, reason = "the exporter's own thread waits for the task")]
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let sent = self.https.request(request.map(Full::new));
        let answer = async {
            let (head, body) = sent.await?.into_parts();
            let body = Limited::new(body, ANSWER_BYTES_MAX).collect().await?;
            Ok(Response::from_parts(head, body.to_bytes()))
        };
        // The timer is made on the runtime too.
        self.runtime.spawn(async { timeout(limits::EXPORT_DEADLINE, answer).await }).await??
    }
}
