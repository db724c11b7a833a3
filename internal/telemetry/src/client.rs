//! The HTTP client that spans are sent with: OpenTelemetry's, on the runtime that the server has. The exporter calls
//! it from a thread of its own, where there is no runtime.

use std::sync::Arc;

use bytes::Bytes;
use http::{Request, Response};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::connect::HttpConnector;
use opentelemetry_http::hyper::HyperClient;
use opentelemetry_http::{HttpClient, HttpError};
use placard_model::limits;
use rustls::{ClientConfig, RootCertStore};
use tokio::runtime::Handle;

use crate::error::StartError;

#[derive(Debug)]
pub(crate) struct Client {
    client: HyperClient<HttpsConnector<HttpConnector>>,
    runtime: Handle,
}

impl Client {
    /// A client for this endpoint, on this runtime.
    pub(crate) fn new(endpoint: &str) -> Result<Self, StartError> {
        let client = HyperClient::new(connector(endpoint)?, limits::EXPORT_DEADLINE, None);
        Ok(Self { client, runtime: Handle::current() })
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
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let client = self.client.clone();
        self.runtime.spawn(async move { client.send_bytes(request).await }).await?
    }
}
