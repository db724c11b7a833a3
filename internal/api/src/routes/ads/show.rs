//! One ad by its id. From memory; nothing is awaited unless the client asks for a version that is not published yet.

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, StatusCode, Uri};
use placard_model::command::Conditions;
use placard_model::fragment_with_status;
use placard_replica::Handle;

use super::AD_PATH;
use super::ad::{OPTIONAL, shown_fields};
use crate::http::entity_tag::EntityTag;
use crate::http::headers;
use crate::http::params::{self, Id};
use crate::http::problem::Problem;
use crate::http::render::{self, with_etag, with_version};
use crate::http::subject::Subject;
use crate::openapi::answers::{Answer, CLOCK, ETAG, STALE, VERSION, answers, invalid};
use crate::openapi::parameters;
use crate::openapi::schema::{object, shared};
use crate::openapi::shape::shape;
use crate::routes::answers::{not_to_be_read, unmet};
use crate::routes::freshness::{fresh, wait_for};

/// An ad, as [`fragment_with_status`] writes it.
#[derive(Debug)]
pub(super) struct AdAndStatus;

shape! {
    /// An ad, and what is true of it by the clock of the replica that answers.
    AdAndStatus as "AdAndStatus" = |_| object(&OPTIONAL, [shown_fields(), vec![("status", shared("Status", "What is true of it.", "active"))]].concat())
}

answers!([
    Answer::json::<AdAndStatus>(200, "The ad.").with(&[VERSION, STALE, CLOCK, ETAG]),
    Answer::empty(304, "The client has it: If-None-Match names its ETag.")
        .with(&[VERSION, STALE, CLOCK, ETAG]),
    invalid(),
    Answer::problem(404, "There is no ad with this id.").with(&[VERSION, STALE, CLOCK]),
    Answer::problem(412, unmet(Subject::Ad)).with(&[VERSION, STALE, CLOCK]),
    not_to_be_read(),
]);

/// Shows an ad.
///
/// It is shown until it is deleted, also before and after its window and while it is paused; its status says so.
#[utoipa::path(
    get,
    path = AD_PATH,
    operation_id = "showAd",
    tag = "ads",
    params(parameters::Id, parameters::MinVersion, parameters::Conditions),
    responses(Answers),
)]
pub(crate) async fn handle(
    State(replica): State<Handle>,
    Id(id): Id,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let min_version = params::min_version(uri.query()).map_err(Problem::invalid)?;
    let only_if = headers::conditions(&headers).map_err(|broken| Problem::invalid(vec![broken]))?;
    let asked = wait_for(&replica, min_version, &headers).await?;
    // The version is read first: the ad may then be newer than the answer says, but never older.
    let version = replica.reader().published().version;
    let Some(ad) = replica.reader().ad(id) else {
        let problem = match only_if.hold(None) {
            true => Problem::not_found(Subject::Ad),
            false => Problem::version_mismatch(Subject::Ad, &only_if, 0),
        };
        return fresh(&replica, asked, problem.at(version).into_response());
    };
    let status = ad.status(replica.clock().now());
    let tag = EntityTag::of(&ad, status);
    let mut response = match judged(&only_if, &headers, tag) {
        Judged::Shown => {
            let body = fragment_with_status(ad.fragment(), status);
            let mut response = render::json(StatusCode::OK, body);
            with_etag(&mut response, tag);
            response
        }
        Judged::Known => render::not_modified(tag),
        Judged::Refused => Problem::version_mismatch(Subject::Ad, &only_if, ad.version)
            .at(version.max(ad.version))
            .into_response(),
    };
    with_version(&mut response, version.max(ad.version));
    fresh(&replica, asked, response)
}

/// The result of a read under its preconditions.
enum Judged {
    Shown,
    /// The client has what it would be shown.
    Known,
    Refused,
}

/// Evaluates the preconditions in the order of RFC 9110, section 13.2.2.
fn judged(only_if: &Conditions, headers: &HeaderMap, tag: EntityTag) -> Judged {
    if !only_if.if_match.as_ref().is_none_or(|tags| tags.name(tag.version)) {
        Judged::Refused
    } else if headers::is_known(headers, tag) {
        Judged::Known
    } else {
        Judged::Shown
    }
}
