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
mod overview;
mod page;
pub mod proof;
pub mod render;
mod security;
mod session;
mod tokens;
mod workers;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::middleware::from_fn_with_state;
use utoipa::OpenApi;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use utoipa_swagger_ui::SwaggerUi;

use crate::api::AdminContext;
use hierophant_admin_model::{Notice, PATH};

/// Most bytes of a call's body: a few words each.
const MOST_BODY: usize = 64 * 1024;

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Hierophant",
        description = "What operators of a Hierophant see and do. Programs on the machine that it runs on need \
                       nothing, unless `operators.require_token` is set; others a token of role read or act."
    ),
    components(schemas(Notice))
)]
struct Described;

/// The API and its description.
pub(super) fn router(context: &AdminContext) -> Router<AdminContext> {
    let (router, description) = described().split_for_parts();
    let pages = SwaggerUi::new("/api/v1/docs").url("/api/v1/openapi.json", description);
    for_operators(router.layer(DefaultBodyLimit::max(MOST_BODY)).merge(pages), context)
}

/// Lets only operators in, and writes down what they do.
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
    let mut described = OpenApiRouter::with_openapi(Described::openapi()).nest(PATH, api);
    security::describe(described.get_openapi_mut());
    described
}

/// The description as text, as it is served.
#[must_use]
pub fn openapi() -> String {
    let (_, description) = described().split_for_parts();
    description.to_pretty_json().unwrap_or_default() + "\n"
}
