//! A collector of traces that keeps the spans that it gets: OTLP over HTTP, or over HTTPS.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::Router;
use axum::body::Bytes;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use axum::serve::Listener;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use placard_testkit::authority::Certificate;
use placard_testkit::wait::until;
use prost::Message;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::server::TlsStream;

/// A span, as far as a test asks.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Span {
    /// The replica that has made it, by its address.
    pub(crate) replica: String,
    pub(crate) name: String,
    pub(crate) trace: Vec<u8>,
    pub(crate) id: Vec<u8>,
    pub(crate) parent: Vec<u8>,
    pub(crate) attributes: Vec<(String, String)>,
    pub(crate) nanos: (u64, u64),
}

impl Span {
    pub(crate) fn attribute(&self, key: &str) -> Option<&str> {
        let found = self.attributes.iter().find(|(name, _)| name == key);
        found.map(|(_, value)| value.as_str())
    }
}

/// The collector; it ends when it is dropped.
pub(crate) struct Collector {
    pub(crate) url: String,
    kept: Arc<Kept>,
    serving: JoinHandle<()>,
}

#[derive(Default)]
struct Kept {
    spans: Mutex<Vec<Span>>,
    /// The header fields of the last request.
    headers: Mutex<HeaderMap>,
}

impl Drop for Collector {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

impl Collector {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("there is a free port");
        let address = listener.local_addr().expect("a listener has an address");
        Self::on(listener, format!("http://{address}"))
    }

    /// One that shows this certificate, which is for its address.
    pub(crate) async fn with_tls(shown: &Certificate) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("there is a free port");
        let address = listener.local_addr().expect("a listener has an address");
        let certificate = CertificateDer::from_pem_slice(shown.certificate.as_bytes());
        let key = PrivateKeyDer::from_pem_slice(shown.key.as_bytes()).expect("a key in PEM");
        let tls = ServerConfig::builder().with_no_client_auth();
        let tls = tls.with_single_cert(vec![certificate.expect("a certificate in PEM")], key);
        let acceptor = TlsAcceptor::from(Arc::new(tls.expect("a certificate with its key")));
        Self::on(WithTls { listener, acceptor }, format!("https://{address}"))
    }

    fn on<L: Listener<Addr: std::fmt::Debug>>(listener: L, url: String) -> Self {
        let kept: Arc<Kept> = Arc::default();
        let keeping = Arc::clone(&kept);
        let take = async move |headers: HeaderMap, body: Bytes| {
            assert_eq!(headers["content-type"], "application/x-protobuf");
            let sent = ExportTraceServiceRequest::decode(body).expect("a request of OTLP");
            *locked(&keeping.headers) = headers;
            locked(&keeping.spans).extend(spans_of(sent));
            StatusCode::OK
        };
        let router = Router::new().route("/v1/traces", post(take));
        let serving = tokio::spawn(async move {
            axum::serve(listener, router).await.expect("the collector serves");
        });
        Self { url, kept, serving }
    }

    /// A header field of the last request that it was sent.
    pub(crate) fn header(&self, name: &str) -> Option<String> {
        let headers = locked(&self.kept.headers);
        headers.get(name).map(|value| value.to_str().expect("a field is ASCII").to_owned())
    }

    /// Returns the spans that it has got so far.
    pub(crate) fn spans(&self) -> Vec<Span> {
        locked(&self.kept.spans).clone()
    }

    /// Waits until it has a span that this finds.
    pub(crate) async fn span(&self, what: &str, is: impl Fn(&Span) -> bool) -> Span {
        until(what, async || self.spans().into_iter().find(|span| is(span))).await
    }
}

fn locked<T>(kept: &Mutex<T>) -> MutexGuard<'_, T> {
    kept.lock().unwrap_or_else(PoisonError::into_inner)
}

struct WithTls {
    listener: TcpListener,
    acceptor: TlsAcceptor,
}

impl Listener for WithTls {
    type Io = TlsStream<TcpStream>;
    type Addr = SocketAddr;

    /// The next client that believes the certificate.
    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        loop {
            let (stream, address) = self.listener.accept().await.expect("a client can be accepted");
            if let Ok(stream) = self.acceptor.accept(stream).await {
                return (stream, address);
            }
        }
    }

    fn local_addr(&self) -> std::io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

fn spans_of(sent: ExportTraceServiceRequest) -> Vec<Span> {
    let mut spans = Vec::new();
    for of_replica in sent.resource_spans {
        let resource = of_replica.resource.expect("a resource").attributes;
        let resource = texts(&resource);
        let of = |key: &str| resource.iter().find(|(name, _)| name == key).map(|(_, text)| text);
        assert_eq!(of("service.name").map(String::as_str), Some("placard"));
        let replica = of("service.instance.id").expect("a replica says which it is").clone();
        for span in of_replica.scope_spans.into_iter().flat_map(|of_scope| of_scope.spans) {
            spans.push(Span {
                replica: replica.clone(),
                name: span.name,
                trace: span.trace_id,
                id: span.span_id,
                parent: span.parent_span_id,
                attributes: texts(&span.attributes),
                nanos: (span.start_time_unix_nano, span.end_time_unix_nano),
            });
        }
    }
    spans
}

fn texts(attributes: &[KeyValue]) -> Vec<(String, String)> {
    let text = |value: &Option<AnyValue>| match value.as_ref().and_then(|any| any.value.as_ref()) {
        Some(Value::StringValue(text)) => text.clone(),
        Some(Value::IntValue(number)) => number.to_string(),
        other => panic!("{other:?} is neither text nor a number"),
    };
    attributes.iter().map(|pair| (pair.key.clone(), text(&pair.value))).collect()
}
