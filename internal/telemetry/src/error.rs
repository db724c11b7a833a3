//! Why traces cannot be sent at all.

use std::io;

use opentelemetry_otlp::ExporterBuildError;

/// No spans can be sent.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The system's certificates, by which the collector is known, cannot be read.
    #[error("cannot read the system's certificates, by which the collector of traces is known")]
    Certificates(#[source] io::Error),
    /// TLS cannot be used.
    #[error("cannot use TLS for traces")]
    Tls(#[from] rustls::Error),
    /// The endpoint, or a variable of OpenTelemetry's in the environment, cannot be used.
    #[error("cannot send traces")]
    Exporter(#[from] ExporterBuildError),
}
