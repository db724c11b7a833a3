//! The routes: one table. The router, the document, the labels of metrics, the names in traces, and what is answered
//! while there are too many connections follow from it. What a route takes and answers stands in its handler's file.

mod ads;
mod answers;
mod books_read;
mod changes;
mod cluster;
mod document;
mod freshness;
mod health;
mod metrics;
mod outcome;
mod pools;
mod receipts;
mod reservations;
mod write_request;

use std::sync::Arc;

use axum::Router;
use http::Method;
use utoipa::OpenApi;
use utoipa::openapi::path::PathItem;
use utoipa_axum::router::{OpenApiRouter, UtoipaMethodRouter};
use utoipa_axum::routes;

use crate::app::App;
use crate::http::problem::Problem;
use crate::http::requests::Identify;
use crate::http::timed::Timer;
use crate::metrics::Metrics;
use crate::openapi::{self, ui};

pub use ads::{ADS_PATH, BATCH_PATH};

/// The handlers of a path: for each method a module with a `handle`, which says the method, and its `Answers`.
macro_rules! methods {
    ($($($module:ident)::+),+) => {
        || {
            let (mut schemas, paths, handlers) = routes!($($($module)::+::handle),+);
            $($($module)::+::Answers::schemas(&mut schemas);)+
            (schemas, paths, handlers)
        }
    };
}

/// All routes, except those that are not in the document.
static ROUTES: &[Route] = &[
    route(ads::ADS_PATH, methods!(ads::search, ads::create)).timed().traced(),
    route(ads::BATCH_PATH, methods!(ads::batch)).timed().traced(),
    route(ads::AD_PATH, methods!(ads::show, ads::replace, ads::patch, ads::delete))
        .timed()
        .traced(),
    route(pools::POOLS_PATH, methods!(pools::list, pools::create)).timed().traced(),
    route(pools::POOL_PATH, methods!(pools::show, pools::replace, pools::patch, pools::delete))
        .timed()
        .traced(),
    route(reservations::RESERVATIONS_PATH, methods!(reservations::create)).timed().traced(),
    route(
        reservations::RESERVATION_PATH,
        methods!(reservations::show, reservations::change, reservations::release),
    )
    .timed()
    .traced(),
    route(changes::CHANGES_PATH, methods!(changes::follow)).timed().traced(),
    route(cluster::CLUSTER_PATH, methods!(cluster::show)),
    route(cluster::RELEASE_PATH, methods!(cluster::release)).traced(),
    route(health::LIVE_PATH, methods!(health::live)).reserved(),
    route(health::READY_PATH, methods!(health::ready)).reserved(),
    route(health::READY_OR_404_PATH, methods!(health::ready_or_404)).reserved(),
    route(metrics::METRICS_PATH, methods!(metrics)).reserved(),
    route(document::DOCUMENT_PATH, methods!(document)),
];

/// A path, and what is done with its requests.
#[derive(Clone, Copy)]
struct Route {
    path: &'static str,
    /// Returns its handlers by their methods, with their descriptions.
    methods: fn() -> UtoipaMethodRouter<App>,
    is_timed: bool,
    is_traced: bool,
    is_reserved: bool,
}

const fn route(path: &'static str, methods: fn() -> UtoipaMethodRouter<App>) -> Route {
    Route { path, methods, is_timed: false, is_traced: false, is_reserved: false }
}

impl Route {
    /// Its answers are counted and timed, by method.
    const fn timed(self) -> Self {
        Self { is_timed: true, ..self }
    }

    /// Its requests can be traced, and are named by it in traces.
    const fn traced(self) -> Self {
        Self { is_traced: true, ..self }
    }

    /// It is answered even on connections beyond the maximum.
    const fn reserved(self) -> Self {
        Self { is_reserved: true, ..self }
    }

    /// Returns true if a path is one of this route's: a part of the route in braces stands for any.
    fn has(&self, path: &str) -> bool {
        let fits = |(own, part): (&str, &str)| own == part || own.starts_with('{');
        let (own, parts) = (self.path.split('/'), path.split('/'));
        own.clone().count() == parts.clone().count() && own.zip(parts).all(fits)
    }
}

/// Returns the route of a path, among those whose requests can be traced.
pub(crate) fn traced(path: &str) -> Option<&'static str> {
    let traced = || ROUTES.iter().filter(|route| route.is_traced);
    // As in the router, a path that is spelt out comes before one with a part in braces.
    let exact = traced().find(|route| route.path == path);
    exact.or_else(|| traced().find(|route| route.has(path))).map(|route| route.path)
}

/// Returns true for a path that is answered even on connections beyond the maximum.
pub(crate) fn is_reserved(path: &str) -> bool {
    ROUTES.iter().any(|route| route.is_reserved && route.path == path)
}

impl App {
    /// Builds the routes, and describes them in the document: a server calls it once.
    pub fn router(&self) -> Router {
        let (router, document) = described(&self.metrics).split_for_parts();
        openapi::write(document);
        let (unknown, refused) = (Arc::clone(&self.metrics), Arc::clone(&self.metrics));
        let router = router
            .merge(ui::pages())
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
        router.layer(Identify { spans, config, route_of: traced }).with_state(self.clone())
    }
}

/// Returns the routes of the table, with their description for the document.
pub(crate) fn described(metrics: &Metrics) -> OpenApiRouter<App> {
    let all = OpenApiRouter::with_openapi(openapi::Frame::openapi());
    ROUTES.iter().fold(all, |all, route| {
        let (schemas, paths, mut handlers) = (route.methods)();
        if route.is_timed {
            let methods: Vec<_> = paths.paths.values().flat_map(methods_of).collect();
            handlers = handlers.layer(Timer(metrics.route(route.path, &methods)));
        }
        all.routes((schemas, paths, handlers))
    })
}

/// Returns the methods that a path of the document has.
fn methods_of(item: &PathItem) -> impl Iterator<Item = Method> {
    let PathItem { get, post, put, patch, delete, .. } = item;
    [
        (Method::GET, get),
        (Method::POST, post),
        (Method::PUT, put),
        (Method::PATCH, patch),
        (Method::DELETE, delete),
    ]
    .into_iter()
    .filter_map(|(method, operation)| operation.as_ref().map(|_| method))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_row_has_the_path_of_its_handlers() {
        for route in ROUTES {
            let (_, paths, _) = (route.methods)();
            let described: Vec<_> = paths.paths.keys().collect();
            assert_eq!(described, [route.path]);
        }
    }

    #[test]
    fn route_is_found_by_its_path() {
        for (path, route) in [
            ("/api/v1/ad", Some(ads::ADS_PATH)),
            ("/api/v1/ad/batch", Some(ads::BATCH_PATH)),
            ("/api/v1/ad/7", Some(ads::AD_PATH)),
            ("/api/v1/ad/7/8", None),
            ("/api/v1/ads", None),
            ("/api/v1/admin/expiry/release", Some(cluster::RELEASE_PATH)),
            ("/livez", None),
        ] {
            assert_eq!(traced(path), route, "{path}");
        }
    }

    #[test]
    fn timed_routes_count_their_methods() {
        let timed = ROUTES.iter().filter(|route| route.is_timed).map(|route| {
            let (_, paths, _) = (route.methods)();
            let methods = paths.paths.values().flat_map(methods_of);
            (route.path, methods.map(|method| method.to_string()).collect::<Vec<_>>().join(" "))
        });
        let labels = [
            ("/api/v1/ad", "GET POST"),
            ("/api/v1/ad/batch", "POST"),
            ("/api/v1/ad/{id}", "GET PUT PATCH DELETE"),
            ("/api/v1/pool", "GET POST"),
            ("/api/v1/pool/{id}", "GET PUT PATCH DELETE"),
            ("/api/v1/reservation", "POST"),
            ("/api/v1/reservation/{id}", "GET PATCH DELETE"),
            ("/api/v1/changes", "GET"),
        ];
        assert!(timed.eq(labels.map(|(path, methods)| (path, methods.to_owned()))));
    }

    #[test]
    fn only_health_and_metrics_are_reserved() {
        let reserved = ROUTES.iter().map(|route| route.path).filter(|path| is_reserved(path));
        let health = ["/livez", "/readyz", "/readyz/404", "/metrics"];
        assert_eq!(reserved.collect::<Vec<_>>(), health);
    }
}
