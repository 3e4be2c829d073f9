//! Authentication in the OpenAPI description. It is the same for every route, so it is added to all of them here.

use utoipa::openapi::path::Operation;
use utoipa::openapi::response::ResponseBuilder;
use utoipa::openapi::security::{
    ApiKey, ApiKeyValue, HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme,
};
use utoipa::openapi::{ContentBuilder, OpenApi, Ref, RefOr};

use super::guard::COOKIE;
use crate::api::problem::PROBLEM_JSON;

/// Error responses of every call: of [`super::guard`], of the audit log and of time limits.
const RESPONSES: [(&str, &str); 8] = [
    ("401", "missing, unknown, revoked or expired token"),
    ("403", "insufficient role, or a call from another site"),
    ("408", "body not received in time"),
    ("413", "body too long"),
    ("429", "too many invalid tokens from this address; `Retry-After` has the wait"),
    ("500", "interrupted by an internal error"),
    ("503", "temporarily unavailable, or the call could not be recorded in the audit log"),
    ("504", "call timed out"),
];

/// Adds the authentication schemes, and the error responses of unauthenticated calls.
pub(super) fn describe(api: &mut OpenApi) {
    let bearer = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).description(Some(
        "A token of role `read` (for GET), `act` (for everything but creating tokens of roles `act` and \
         `admin`, and revoking those of `admin`) or `admin`, created by `hierophant token create`.",
    ));
    let cookie = ApiKeyValue::with_description(
        COOKIE,
        "A session, started by POST /api/v1/session. Calls other than GET also need the `Origin` of this \
         Hierophant, or `Sec-Fetch-Site: same-origin`.",
    );
    let components = api.components.get_or_insert_default();
    components.add_security_scheme("token", SecurityScheme::Http(bearer.build()));
    components.add_security_scheme("session", SecurityScheme::ApiKey(ApiKey::Cookie(cookie)));
    let none: [&str; 0] = [];
    let alternatives = vec![
        SecurityRequirement::new("token", none),
        SecurityRequirement::new("session", none),
        // No credential, for programs on the same machine.
        SecurityRequirement::default(),
    ];
    api.security = Some(alternatives);
    for path in api.paths.paths.values_mut() {
        let all = [&mut path.get, &mut path.post, &mut path.put, &mut path.patch, &mut path.delete];
        for operation in all.into_iter().flatten() {
            add_responses(operation);
        }
    }
}

fn add_responses(operation: &mut Operation) {
    for (code, description) in RESPONSES {
        let refusal = ContentBuilder::new().schema(Some(Ref::from_schema_name("Refusal")));
        let response =
            ResponseBuilder::new().description(description).content(PROBLEM_JSON, refusal.build());
        let responses = &mut operation.responses.responses;
        responses.entry(code.to_owned()).or_insert_with(|| response.build().into());
    }
    let errors =
        operation.responses.responses.iter_mut().filter(|(code, _)| code.as_str() >= "400");
    for (_, response) in errors {
        if let RefOr::T(response) = response
            && let Some(content) = response.content.shift_remove("application/json")
        {
            response.content.insert(PROBLEM_JSON.to_owned(), content);
        }
    }
}
