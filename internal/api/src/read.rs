//! The reads: which ads fit, and one ad by its id. From memory; nothing is awaited unless the client asks
//! for a version that is not published yet.

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, StatusCode, Uri};
use placard_model::command::Conditions;
use placard_model::{Version, fragment_with_status, limits};
use placard_replica::Leave;
use placard_replica::core::Verdict;

use crate::app::App;
use crate::entity_tag::EntityTag;
use crate::headers::{self, Unconditional};
use crate::openapi::{answers, parameters};
use crate::params::{self, Id, Search};
use crate::paths::{AD_PATH, ADS_PATH};
use crate::problem::Problem;
use crate::render::{self, with_etag, with_own_clock, with_stale, with_version};

/// Lists the ads that fit.
///
/// A filter that is absent does not filter; one that is present keeps the ads that target its value, or leave that
/// condition open. `unknown`, for a value that is not known, keeps only the ads that leave it open.
#[utoipa::path(
    get,
    path = ADS_PATH,
    operation_id = "searchAds",
    tag = "ads",
    params(parameters::Search, parameters::MinVersion),
    responses(answers::Listed),
)]
pub(crate) async fn search(
    State(app): State<App>,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    Unconditional::of(&headers)?;
    let Search { query, min_version } = params::search(uri.query()).map_err(Problem::invalid)?;
    let asked = wait_for(&app, min_version, &headers).await?;
    let page = render::page(app.replica.reader(), &query, app.replica.clock().now());
    fresh(&app, asked, page)
}

/// Shows an ad.
///
/// It is shown until it is deleted, also before and after its window; its status says where that stands.
#[utoipa::path(
    get,
    path = AD_PATH,
    operation_id = "showAd",
    tag = "ads",
    params(parameters::Id, parameters::MinVersion, parameters::Conditions),
    responses(answers::Shown),
)]
pub(crate) async fn by_id(
    State(app): State<App>,
    Id(id): Id,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let min_version = params::min_version(uri.query()).map_err(Problem::invalid)?;
    let only_if = headers::conditions(&headers).map_err(|broken| Problem::invalid(vec![broken]))?;
    let asked = wait_for(&app, min_version, &headers).await?;
    // The version is read first: the ad may then be newer than the answer says, but never older.
    let version = app.replica.reader().published().version;
    let Some(ad) = app.replica.reader().ad(id) else {
        let problem = match only_if.hold(None) {
            true => Problem::ad_not_found(),
            false => Problem::version_mismatch(&only_if, 0),
        };
        return fresh(&app, asked, problem.at(version).into_response());
    };
    let status = ad.status(app.replica.clock().now());
    let tag = EntityTag::of(&ad, status);
    let mut response = match judged(&only_if, &headers, tag) {
        Judged::Shown => {
            let body = fragment_with_status(ad.fragment(), status);
            let mut response = render::json(StatusCode::OK, body);
            with_etag(&mut response, tag);
            response
        }
        Judged::Known => render::not_modified(tag),
        Judged::Refused => Problem::version_mismatch(&only_if, ad.version)
            .at(version.max(ad.version))
            .into_response(),
    };
    with_version(&mut response, version.max(ad.version));
    fresh(&app, asked, response)
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
    let Conditions { if_match, if_none_match } = only_if;
    if !if_match.as_ref().is_none_or(|tags| tags.name(tag.version)) {
        Judged::Refused
    } else if if_none_match.is_some() && headers::is_known(headers, tag) {
        Judged::Known
    } else {
        Judged::Shown
    }
}

/// What is known about an answer before it is made.
struct Asked {
    leave: Leave,
    /// Whether the time that it will be judged at is the journal's.
    is_anchored: bool,
}

/// Says how old an answer may be, and whose clock it was judged by if not the journal's; or takes it back. Asked last:
/// the process may have been paused while the answer was made.
fn fresh(app: &App, asked: Asked, mut answer: Response) -> Result<Response, Problem> {
    match app.replica.freshness().verdict_since(asked.leave) {
        Verdict::Current => {}
        Verdict::Old(lag) => with_stale(&mut answer, lag.age),
        Verdict::Refused(_) | Verdict::NoState => return Err(Problem::stale()),
    }
    if !asked.is_anchored {
        with_own_clock(&mut answer);
    }
    Ok(answer)
}

/// Makes sure that there is a state to read, that it is as new as the client asks, and that clients may see it. The
/// permission is taken before the state is read, since the replica may catch up between that and the answer.
async fn wait_for(
    app: &App,
    parameter: Option<Version>,
    headers: &HeaderMap,
) -> Result<Asked, Problem> {
    let header = headers::min_version(headers).map_err(|broken| Problem::invalid(vec![broken]))?;
    if let Some(version) = parameter.max(header)
        && !app.replica.published(version, limits::MIN_VERSION_WAIT).await
    {
        let published = app.replica.reader().published().version;
        return Err(Problem::version_not_reached().at(published));
    }
    let leave = app.replica.freshness().leave().map_err(|verdict| match verdict {
        Verdict::NoState => Problem::not_ready(),
        _ => Problem::stale(),
    })?;
    Ok(Asked { leave, is_anchored: app.replica.clock().is_anchored() })
}
