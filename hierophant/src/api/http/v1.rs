//! `/api/v1`: what operators see and do, for programs. The command line uses nothing
//! else, the dashboard only `/proof-history` beside it.
//!
//! Described by OpenAPI, which is made from this code and served at `/api/v1/openapi.json`; the page at
//! `/api/v1/docs` tries it out. Times are Unix milliseconds. Request ids are credentials (whoever knows one may
//! poll it), so only their first 16 digits are shown; jobs are named by whole ids.

mod acts;
pub(super) mod audit;
pub(super) mod events;
pub(super) mod guard;
mod lists;
pub mod model;
mod overview;
mod page;
pub mod proof;
mod tokens;
mod workers;

use axum::Router;
use axum::middleware::from_fn;
use utoipa::OpenApi;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use utoipa_swagger_ui::SwaggerUi;

use crate::api::Context;

/// Where the API lies.
pub const PATH: &str = "/api/v1";

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Hierophant",
        description = "What operators of a Hierophant see and do. Only from the machine that it runs on."
    ),
    components(schemas(model::Notice))
)]
struct Described;

/// The API and its description.
pub(super) fn router() -> Router<Context> {
    let (router, description) = described().split_for_parts();
    let pages = SwaggerUi::new("/api/v1/docs").url("/api/v1/openapi.json", description);
    let router = router.merge(pages).layer(from_fn(audit::audited));
    router.layer(from_fn(guard::operators_only))
}

fn described() -> OpenApiRouter<Context> {
    let api = OpenApiRouter::new()
        .routes(routes!(overview::overview))
        .routes(routes!(events::events))
        .routes(routes!(lists::jobs))
        .routes(routes!(lists::job))
        .routes(routes!(lists::why))
        .routes(routes!(lists::queue))
        .routes(routes!(lists::requests))
        .routes(routes!(lists::request))
        .routes(routes!(lists::programs))
        .routes(routes!(lists::artifacts))
        .routes(routes!(workers::workers))
        .routes(routes!(workers::worker))
        .routes(routes!(proof::proof))
        .routes(routes!(acts::cancel_request))
        .routes(routes!(acts::cancel_job))
        .routes(routes!(acts::requeue))
        .routes(routes!(acts::priority))
        .routes(routes!(acts::drain))
        .routes(routes!(acts::undrain))
        .routes(routes!(acts::drop_worker))
        .routes(routes!(acts::block))
        .routes(routes!(acts::unblock))
        .routes(routes!(acts::blocked))
        .routes(routes!(acts::pause))
        .routes(routes!(acts::resume))
        .routes(routes!(acts::clear))
        .routes(routes!(tokens::create, tokens::list))
        .routes(routes!(tokens::revoke));
    OpenApiRouter::with_openapi(Described::openapi()).nest(PATH, api)
}

/// The description as text, as it is served.
#[must_use]
pub fn openapi() -> String {
    let (_, description) = described().split_for_parts();
    description.to_pretty_json().unwrap_or_default() + "\n"
}
