//! The routes: each path, its methods and its handlers, and which of them are timed.

use std::sync::Arc;

use axum::Router;
use http::Method;
use utoipa::OpenApi;
use utoipa_axum::router::{OpenApiRouter, UtoipaMethodRouter};
use utoipa_axum::routes;

use crate::app::App;
use crate::metrics::Metrics;
use crate::paths::{AD_PATH, ADS_PATH, BATCH_PATH};
use crate::problem::Problem;
use crate::timed::Timer;
use crate::{batch, cluster, health, openapi, read, requests, write};

impl App {
    /// Builds the routes, and describes them in the document: a server calls it once.
    pub fn router(&self) -> Router {
        let (router, document) = routes(&self.metrics).split_for_parts();
        openapi::write(document);
        let (unknown, refused) = (Arc::clone(&self.metrics), Arc::clone(&self.metrics));
        let router = router
            .merge(openapi::pages())
            .fallback(async move || {
                unknown.path_not_found();
                Problem::route_not_found()
            })
            .method_not_allowed_fallback(async move || {
                refused.method_not_allowed();
                Problem::method_not_allowed()
            });
        let router = match self.config.cors.layer() {
            Some(cors) => router.layer(cors),
            None => router,
        };
        let spans = self.spans.clone();
        // Behind the layer for browsers, which would answer every OPTIONS with 200.
        let router = router.merge(health::checks());
        let config = Arc::clone(&self.config);
        router.layer(requests::Identify { spans, config }).with_state(self.clone())
    }
}

/// Returns the routes with their description for the document.
pub(crate) fn routes(metrics: &Metrics) -> OpenApiRouter<App> {
    let timed = |route, methods: &[Method], routes: UtoipaMethodRouter<App>| {
        let (schemas, paths, handlers) = routes;
        (schemas, paths, handlers.layer(Timer(metrics.route(route, methods))))
    };
    let ads = routes!(read::search, write::create);
    let ad = routes!(read::by_id, write::replace, write::patch, write::delete);
    let on_ad = [Method::GET, Method::PUT, Method::PATCH, Method::DELETE];
    OpenApiRouter::with_openapi(openapi::Frame::openapi())
        .routes(timed(ADS_PATH, &[Method::GET, Method::POST], ads))
        .routes(timed(BATCH_PATH, &[Method::POST], routes!(batch::create)))
        .routes(timed(AD_PATH, &on_ad, ad))
        .routes(routes!(cluster::show))
        .routes(routes!(cluster::release))
        .routes(routes!(health::livez))
        .routes(routes!(health::readyz))
        .routes(routes!(health::readyz_or_404))
        .routes(routes!(health::metrics))
        .routes(routes!(openapi::show))
}
