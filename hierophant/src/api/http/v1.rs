//! `/api/v1`: the REST API for operators. The command line uses only this API, the dashboard in addition
//! `/proof-history`.
//!
//! Its OpenAPI description is generated from this code and served at `/api/v1/openapi.json`; the page at
//! `/api/v1/docs` sends calls from a browser. Times are Unix milliseconds. Request ids are credentials (anyone
//! who knows one may poll it), so only their first 16 digits are shown; job ids are shown in full.

pub(super) mod audit;
mod commands;
pub(super) mod events;
pub(super) mod guard;
mod lists;
mod overview;
mod page;
mod programs;
pub mod proof;
pub mod render;
mod security;
mod session;
mod tasks;
mod tokens;
mod workers;

pub(super) use workers::known_with_work;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::middleware::{from_fn_with_state, map_response};
use axum::routing::any;
use hierophant_admin_model::{Notice, PATH};
use utoipa::OpenApi;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use utoipa_swagger_ui::SwaggerUi;

use super::headers;
use crate::api::{AdminContext, problem};
use page::{ErrorResponse, MAX_BODY_BYTES, not_found};

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Hierophant",
        description = "State of a Hierophant network, and commands for its operators. Programs on Hierophant's \
                       own machine need no token, unless `operators.require_token` is set; all others need a \
                       token of role `read`, `act` or `admin`. Errors are problem details (RFC 9457)."
    ),
    servers((url = "/", description = "the Hierophant that serves this description")),
    components(schemas(Notice))
)]
struct Description;

/// Routes of the API and of its description.
pub(super) fn router(context: &AdminContext) -> Router<AdminContext> {
    let (router, description) = described().split_for_parts();
    let pages = SwaggerUi::new("/api/v1/docs").url("/api/v1/openapi.json", description);
    let pages = Router::from(pages).layer(map_response(headers::of_docs));
    let router = router
        .route(PATH, any(unknown))
        .route(&format!("{PATH}/{{*rest}}"), any(unknown))
        .layer(DefaultBodyLimit::max(MAX_BODY_BYTES));
    for_operators(router.merge(pages), context).layer(map_response(problem::in_json))
}

async fn unknown() -> ErrorResponse {
    not_found("no such path of the API: see /api/v1/openapi.json")
}

/// Restricts routes to operators, and audits their calls.
pub(super) fn for_operators(
    router: Router<AdminContext>,
    context: &AdminContext,
) -> Router<AdminContext> {
    let router = router.layer(from_fn_with_state(context.clone(), audit::audited));
    router.layer(from_fn_with_state(context.clone(), guard::operators_only))
}

fn described() -> OpenApiRouter<AdminContext> {
    let api = OpenApiRouter::new()
        .routes(routes!(session::caller, session::sign_in, session::sign_out))
        .routes(routes!(audit::audit))
        .routes(routes!(overview::overview))
        .routes(routes!(events::events))
        .routes(routes!(lists::jobs))
        .routes(routes!(lists::job))
        .routes(routes!(lists::why))
        .routes(routes!(tasks::tasks))
        .routes(routes!(lists::queue))
        .routes(routes!(lists::requests))
        .routes(routes!(lists::request))
        .routes(routes!(lists::programs))
        .routes(routes!(programs::remove))
        .routes(routes!(programs::reassign))
        .routes(routes!(lists::artifacts))
        .routes(routes!(workers::workers))
        .routes(routes!(workers::worker))
        .routes(routes!(proof::proof))
        .routes(routes!(commands::cancel_request))
        .routes(routes!(commands::cancel_job))
        .routes(routes!(commands::requeue))
        .routes(routes!(commands::priority))
        .routes(routes!(commands::drain))
        .routes(routes!(commands::undrain))
        .routes(routes!(commands::drop_worker))
        .routes(routes!(commands::block))
        .routes(routes!(commands::unblock))
        .routes(routes!(commands::blocked))
        .routes(routes!(commands::pause))
        .routes(routes!(commands::resume))
        .routes(routes!(commands::clear))
        .routes(routes!(tokens::create, tokens::list))
        .routes(routes!(tokens::revoke));
    let mut described = OpenApiRouter::with_openapi(Description::openapi()).nest(PATH, api);
    security::describe(described.get_openapi_mut());
    described
}

/// The OpenAPI description, as served.
#[must_use]
pub fn openapi() -> String {
    let (_, description) = described().split_for_parts();
    description.to_pretty_json().unwrap_or_default() + "\n"
}
